//! Links to what the UI has a page of.

use crate::format;
use crate::text;
use maud::{Markup, html};
use std::fmt::Write;

/// A text as the value of a parameter of a query, or as a segment of a path.
pub fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            // A `String` takes all that is written to it.
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// A path with parameters; those without a value are left out.
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

/// The path of a run's page.
pub fn run_path(id: &str) -> String {
    format!("/ui/runs/{}", escaped(id))
}

/// A run.
pub fn run(id: &str) -> Markup {
    html! { a.id href=(run_path(id)) { (text::shown(id)) } }
}

/// The path of a file's page.
pub fn file_path(uri: &str) -> String {
    format!("/ui/file?uri={}", escaped(uri))
}

/// A file: its name is what one looks for, its place stands behind.
pub fn file(uri: &str) -> Markup {
    let (place, name) = split(uri);
    html! { a.uri href=(file_path(uri)) { span.name { (text::shown(name)) } @if !place.is_empty() { span.place { (text::shown(place)) } } } }
}

/// Splits a URI into its place and its name.
pub fn split(uri: &str) -> (&str, &str) {
    uri.rfind('/').map_or(("", uri), |at| uri.split_at(at + 1))
}

/// The path of a date's page.
pub fn date_path(date: &str) -> String {
    format!("/ui/dates/{}", escaped(date))
}

/// A date of data.
pub fn date(date: &str) -> Markup {
    html! { a.num href=(date_path(date)) { (date) } }
}

/// Bytes, exact in the title.
pub fn size(bytes: u64) -> Markup {
    html! { span.num title=(format!("{} bytes", format::count(bytes))) { (format::bytes(bytes)) } }
}

/// Bytes of the input of a run; none where its manifest tells no sizes.
pub fn input_size(bytes: Option<u64>) -> Markup {
    let unknown = || html! { span.muted title="the manifest tells no sizes; they are known when the run is committed" { "unknown" } };
    bytes.map_or_else(unknown, size)
}

/// A number, exact.
pub fn count(n: u64) -> Markup {
    html! { span.num { (format::count(n)) } }
}
