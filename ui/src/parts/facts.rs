//! Lists of named values, and panels.

use maud::{Markup, html};

/// List of names and values.
pub fn facts(items: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in items { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// Panel with a heading; `more` is placed beside it.
pub fn panel(id: &str, title: &str, more: Option<Markup>, body: &Markup) -> Markup {
    html! {
        section.panel aria-labelledby=(id) {
            header { h2 id=(id) { (title) } @if let Some(more) = more { div.more { (more) } } }
            (body)
        }
    }
}
