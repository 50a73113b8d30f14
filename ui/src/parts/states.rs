//! Placeholders for pages, and parts of pages, without content.

use crate::parts::copy;
use crate::text;
use maud::{Markup, html};

/// Placeholder for an empty list: its purpose, and a command that fills it.
pub fn empty(title: &str, body: &str, command: Option<&str>) -> Markup {
    html! {
        div.empty {
            p.title { (title) }
            p { (body) }
            @if let Some(command) = command { (copy::command(command)) }
        }
    }
}

/// Error in place of one part of a page; the rest of the page is shown.
pub fn failed(what: &str, code: &str, message: &str, again: &str) -> Markup {
    html! {
        div.banner.bad role="alert" {
            p { strong { (what) } " " span.tag { (code) } }
            p { (text::prose(message)) }
            p { a href=(again) { "Try again" } }
        }
    }
}

/// Notice in place of data that only the active scheduler has.
pub fn standby(what: &str) -> Markup {
    html! {
        div.banner.warn role="status" {
            strong { "This scheduler stands by. " }
            (what) " is known only to the one that runs the manifests: open its page, or wait until this one takes over."
        }
    }
}

/// Notice about a missing right.
pub fn forbidden(what: &str, needed: &str, has: &str) -> Markup {
    html! {
        div.banner.warn role="status" {
            (what) " needs the role " strong { (needed) } "; the token of this session has " strong { (has) } ". Ask whoever keeps the scheduler's tokens."
        }
    }
}
