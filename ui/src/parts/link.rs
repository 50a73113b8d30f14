//! Links to pages of the UI.

use crate::format;
use crate::text;
use maud::{Markup, html};
use std::fmt::Write;

/// Text, percent-encoded for the value of a query parameter or a path segment.
pub fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            // Infallible: writing to a `String` cannot fail.
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// Path with query parameters; those without a value are omitted.
pub fn query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    let mut mark = '?';
    for (name, value) in parameters {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push(mark);
            text.push_str(name);
            text.push('=');
            text.push_str(&escaped(value));
            mark = '&';
        }
    }
    text
}

/// Path of the page of a run.
pub fn run_path(id: &str) -> String {
    format!("/ui/runs/{}", escaped(id))
}

/// Link to a run.
pub fn run(id: &str) -> Markup {
    html! { a.id href=(run_path(id)) { (text::shown(id)) } }
}

/// Path of the page of a file.
pub fn file_path(uri: &str) -> String {
    format!("/ui/file?uri={}", escaped(uri))
}

/// Link to a file: the name first, because users look for it, then the prefix.
pub fn file(uri: &str) -> Markup {
    let (place, name) = split(uri);
    html! { a.uri href=(file_path(uri)) { span.name { (text::shown(name)) } @if !place.is_empty() { span.place { (text::shown(place)) } } } }
}

/// Splits a URI into its prefix and the file name.
pub fn split(uri: &str) -> (&str, &str) {
    uri.rfind('/').map_or(("", uri), |at| uri.split_at(at + 1))
}

/// Path of the page of a date.
pub fn date_path(date: &str) -> String {
    format!("/ui/dates/{}", escaped(date))
}

/// Link to a date of data.
pub fn date(date: &str) -> Markup {
    html! { a.num href=(date_path(date)) { (date) } }
}

/// Size in bytes, with the exact number in the title.
pub fn size(bytes: u64) -> Markup {
    html! { span.num.zero[bytes == 0] title=(format!("{} bytes", format::count(bytes))) { (format::bytes(bytes)) } }
}

/// Size of the input of a run; unknown if the manifest contains no sizes.
pub fn input_size(bytes: Option<u64>) -> Markup {
    let unknown = || html! { span.muted title="the manifest tells no sizes; they are known when the run is committed" { "unknown" } };
    bytes.map_or_else(unknown, size)
}

/// A number, exact. Zeros are quiet, so that the others are seen.
pub fn count(n: u64) -> Markup {
    html! { span.num.zero[n == 0] { (format::count(n)) } }
}

/// Sign for a value that is not known, or that there is none of.
pub fn none() -> Markup {
    html! { span.none { "–" } }
}
