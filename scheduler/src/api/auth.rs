//! Who may ask: whoever shows the token; without one, programs on this machine, but no web page.

use super::error::ApiError;
use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// What clients must show, if anything.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<Arc<str>>,
    any_host: bool,
}

impl Access {
    /// To an API that listens here: beyond this machine only with a token, or where the operator takes the risk.
    pub fn new(address: SocketAddr, token: Option<String>, insecure: bool) -> anyhow::Result<Self> {
        anyhow::ensure!(
            address.ip().is_loopback() || token.is_some() || insecure,
            "refusing to listen on {address}, which others can reach, without a token: set MILLWORK_TOKEN or \
             --token-file, or take the risk with --insecure"
        );
        Ok(Self { token: token.map(Into::into), any_host: insecure })
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        match &self.token {
            Some(token) => check_token(headers, token),
            None => self.check_page(method, headers),
        }
    }

    /// A browser asks for any page that is open in it. It says which in `Origin`, but not where a page's name was made to
    /// lead to this machine: then the page's name is in `Host`.
    fn check_page(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        let forbidden = |code, message| Err(ApiError::new(StatusCode::FORBIDDEN, code, message));
        let host = text(headers, &header::HOST).unwrap_or_default();
        if !self.any_host && !is_loopback(host) {
            return forbidden(
                "foreign-host",
                format!(
                    "without a token, a scheduler answers requests to `localhost` or a loopback address, not to `{host}`: \
                     start it with a token, or with --insecure"
                ),
            );
        }
        if !method.is_safe() && headers.contains_key(header::ORIGIN) {
            let origin = text(headers, &header::ORIGIN).unwrap_or_default();
            let page = origin.split_once("://").map_or("", |(_, authority)| authority);
            if !page.eq_ignore_ascii_case(host) {
                return forbidden(
                    "foreign-origin",
                    format!("without a token, a scheduler changes nothing for web pages of `{origin}`"),
                );
            }
        }
        Ok(())
    }
}

/// The token in a file, or else in `MILLWORK_TOKEN`: what a scheduler asks for, and what its clients show.
pub fn read_token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let (place, text) = match file {
        Some(path) => {
            let place = format!("the token file `{}`", path.display());
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {place}"))?;
            (place, Some(text))
        }
        None => ("MILLWORK_TOKEN".to_owned(), std::env::var("MILLWORK_TOKEN").ok()),
    };
    let token = text.map(|text| text.trim().to_owned());
    anyhow::ensure!(token.as_deref() != Some(""), "{place} is empty: put a token there, or name none");
    Ok(token)
}

pub(super) async fn check_access(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn check_token(headers: &HeaderMap, token: &str) -> Result<(), ApiError> {
    let given = text(headers, &header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let shown = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    if shown.is_some_and(|shown| same(shown.as_bytes(), token.as_bytes())) {
        return Ok(());
    }
    let message = "send the header `Authorization: Bearer TOKEN`";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Compares in a time that does not depend on where the texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, insecure: bool) -> Access {
        Access::new(([127, 0, 0, 1], 8080).into(), token.map(str::to_owned), insecure).unwrap()
    }

    fn allows(access: &Access, method: Method, headers: &[(HeaderName, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        access.check(&method, &headers).is_ok()
    }

    #[test]
    fn without_a_token_only_this_machine_is_answered() {
        let (open, insecure) = (access(None, false), access(None, true));
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:8080"] {
            assert!(allows(&open, Method::GET, &[(header::HOST, host)]), "{host}");
        }
        for host in ["", "rebound.example:8080", "localhost.example", "10.0.0.1", "[::2]:8080", "127.0.0.1.example"] {
            assert!(!allows(&open, Method::GET, &[(header::HOST, host)]), "{host}");
            assert!(allows(&insecure, Method::GET, &[(header::HOST, host)]), "{host}");
        }
        assert!(!allows(&open, Method::GET, &[]));
    }

    #[test]
    fn without_a_token_web_pages_change_nothing() {
        let host = (header::HOST, "localhost:8080");
        let writes = |origin| {
            [access(None, false), access(None, true)]
                .map(|access| allows(&access, Method::POST, &[host.clone(), (header::ORIGIN, origin)]))
        };
        assert_eq!(writes("http://localhost:8080"), [true, true]);
        for origin in ["https://page.example", "http://localhost:3000", "null", "http://localhost:8080.example"] {
            assert_eq!(writes(origin), [false, false], "{origin}");
        }
        let origin = (header::ORIGIN, "https://page.example");
        assert!(
            allows(&access(None, false), Method::GET, &[host.clone(), origin.clone()]),
            "no page can read the answer"
        );
        let token = (header::AUTHORIZATION, "Bearer secret");
        assert!(allows(&access(Some("secret"), false), Method::POST, &[host, origin, token]), "no page knows it");
    }

    #[test]
    fn the_scheme_is_written_in_any_case() {
        let access = access(Some("secret"), false);
        let shows = |value| allows(&access, Method::GET, &[(header::AUTHORIZATION, value)]);
        assert!(shows("Bearer secret") && shows("bearer secret") && shows("BEARER  secret"));
        assert!(!shows("Basic secret") && !shows("secret") && !shows("Bearer secre") && !shows("Bearer"));
    }

    #[test]
    fn an_empty_token_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = read_token(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
        std::fs::write(file.path(), " secret\n").unwrap();
        assert_eq!(read_token(Some(file.path())).unwrap().as_deref(), Some("secret"));
    }

    #[test]
    fn others_are_listened_to_only_with_a_token_or_at_a_risk() {
        let new =
            |token: Option<&str>, insecure| Access::new(([0, 0, 0, 0], 0).into(), token.map(str::to_owned), insecure);
        assert!(new(None, false).is_err() && new(Some("secret"), false).is_ok() && new(None, true).is_ok());
    }
}
