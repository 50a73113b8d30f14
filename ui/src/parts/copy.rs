//! Buttons that copy text to the clipboard. They are hidden without JavaScript.

use maud::{Markup, html};

/// Button that copies a text. `what` completes the label "copy …".
pub fn button(text: &str, what: &str) -> Markup {
    html! {
        button.copy type="button" data-copy=(text) aria-label=(format!("copy {what}")) title=(format!("copy {what}")) {
            svg.icon viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" focusable="false" {
                path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" fill="none" stroke="currentColor" stroke-width="1.3" stroke-linejoin="round" {}
            }
        }
    }
}

/// Command in a box with a copy button.
pub fn command(text: &str) -> Markup {
    html! { div.command { code { (text) } (button(text, "command")) } }
}

/// Several lines in a box with a copy button.
pub fn block(text: &str, what: &str) -> Markup {
    html! { div.command.block { pre tabindex="0" { code { (text) } } (button(text, what)) } }
}
