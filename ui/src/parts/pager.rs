//! Links between the pages of a listing.

use super::link;
use maud::{Markup, html};

/// Links to the first and the next page. Cursors only lead forwards; the browser's back button leads to the previous
/// page.
pub fn pager(path: &str, parameters: &[(&str, Option<&str>)], next: Option<&str>, shown: usize, noun: &str) -> Markup {
    let base: Vec<_> = parameters.iter().filter(|(name, _)| *name != "cursor").copied().collect();
    let is_first = !parameters.iter().any(|(name, value)| *name == "cursor" && value.is_some());
    html! {
        nav.pager aria-label="Pages of the list" {
            span.muted { (crate::format::counted(shown as u64, noun)) " on this page" }
            span.push {}
            @if !is_first { a.button.quiet data-key="p" href=(link::query(path, &base)) { "⇤ newest" } }
            @if let Some(next) = next {
                @let with_next: Vec<_> = base.iter().copied().chain([("cursor", Some(next))]).collect();
                a.button data-key="n" rel="next" href=(link::query(path, &with_next)) { "older →" }
            } @else { span.muted { "end of the list" } }
        }
    }
}
