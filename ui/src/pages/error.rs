//! Error pages.

use crate::parts::{link, states};
use crate::text;
use maud::{Markup, html};

/// Error to show.
pub struct ErrorPage<'a> {
    /// HTTP status of the response.
    pub status: u16,
    /// Error code of the API.
    pub code: &'a str,
    /// Error message.
    pub message: &'a str,
    /// Address for another attempt.
    pub again: &'a str,
}

/// Prefix of the id of an unknown run, for a search of similar ids.
fn unknown_run<'a>(error: &ErrorPage<'a>) -> Option<&'a str> {
    const BEGINNING: usize = 16;
    let id = error.again.strip_prefix("/ui/runs/").filter(|_| error.code == "no-such-run")?;
    let id = id.split(['/', '?']).next()?;
    Some(id.get(..BEGINNING).unwrap_or(id))
}

/// Renders the page.
pub fn page(error: &ErrorPage<'_>) -> Markup {
    let title = match error.status {
        404 if error.code == "no-such-run" => "There is no such run",
        404 => "There is no such page",
        403 => "Not allowed",
        429 => "Too many tries",
        503 => "It does not answer now",
        _ => "That did not work",
    };
    html! {
        div.head { h1 { (title) } @if error.status < 500 { p { (text::sentence(error.message)) " " span.tag { (error.code) } } } }
        @if error.status >= 500 { (states::failed(title, error.code, error.message, error.again)) }
        @if let Some(id) = unknown_run(error) {
            p { "It was never submitted here, or is one of another state. " a href=(link::query("/ui/find", &[("q", Some(id))])) { "Find what is called so" } }
        }
        p.after-head { a.button href="/ui/" { "Overview" } }
    }
}
