//! Cookies and links by which browsers show their sessions.

use axum::http::{HeaderMap, header};

/// Path of the one-time sign-in link with this code.
pub(crate) fn link_path(code: &str) -> String {
    format!("/ui/enter?code={code}")
}

/// Values of all cookies with this name.
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(known, _)| *known == name)
        .map(|(_, value)| value)
}
