//! Numbers with their names.

use maud::{Markup, html};

/// A list of names and values.
pub fn facts(items: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in items { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// A panel with its heading; `more` stands beside that.
pub fn panel(id: &str, title: &str, more: Option<Markup>, body: &Markup) -> Markup {
    html! {
        section.panel aria-labelledby=(id) {
            header { h2 id=(id) { (title) } @if let Some(more) = more { div.more { (more) } } }
            (body)
        }
    }
}
