//! Answers that are no page of their own: errors.

use crate::parts::states;
use crate::text;
use maud::{Markup, html};

/// Error that the page tells.
pub struct ErrorPage<'a> {
    /// The status of the answer.
    pub status: u16,
    /// The code of the API.
    pub code: &'a str,
    /// The sentence.
    pub message: &'a str,
    /// Address at which to try again.
    pub again: &'a str,
}

/// The page.
pub fn page(error: &ErrorPage<'_>) -> Markup {
    let title = match error.status {
        404 => "There is no such page",
        403 => "Not allowed",
        429 => "Too many tries",
        503 => "It does not answer now",
        _ => "That did not work",
    };
    html! {
        h1 { (title) }
        @if error.status >= 500 { (states::failed(title, error.code, error.message, error.again)) }
        @else { p { (text::shown(error.message)) " " span.tag { (error.code) } } }
        p { a href="/ui/" { "Overview" } }
    }
}
