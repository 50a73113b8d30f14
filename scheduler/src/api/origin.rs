//! Pages that cause a request: those of this scheduler, and those of others.

use super::ApiError;
use super::headers::bearer;
use axum::http::{HeaderMap, Method, header};
use millwork_api::ErrorCode;

/// Header by which browsers tell the origin of a request. Scripts cannot set it.
const FETCH_SITE: &str = "sec-fetch-site";

/// Refuses a state-changing request unless the browser states that a page of the same origin caused it, by
/// `Sec-Fetch-Site` or else by `Origin`.
pub(crate) fn check_same_site(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    if method.is_safe() || bearer(headers).is_some() {
        return Ok(());
    }
    let refused = |found: &str| {
        Err(ApiError::new(
            ErrorCode::ForeignOrigin,
            format!(
                "a session of the web UI changes nothing for other pages: the request is `{found}`, not of the same origin"
            ),
        ))
    };
    if let Some(site) = headers.get(FETCH_SITE) {
        return match site.to_str() {
            Ok("same-origin") => Ok(()),
            Ok(site) => refused(site),
            Err(_) => refused("of a site that is no text"),
        };
    }
    let read = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = read(header::ORIGIN) else { return refused("without an origin") };
    match origin.split_once("://").zip(read(header::HOST)) {
        Some(((_, authority), host)) if !host.is_empty() && authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => refused(origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn takes(method: Method, headers: &[(&'static str, &str)]) -> bool {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        check_same_site(&method, &headers).is_ok()
    }

    #[test]
    fn only_a_page_of_the_same_origin_changes_something() {
        let host = ("host", "localhost:8080");
        assert!(takes(Method::GET, &[host, (FETCH_SITE, "cross-site")]));
        assert!(takes(Method::POST, &[host, (FETCH_SITE, "same-origin")]));
        for site in ["cross-site", "same-site", "none", "", "same-origin, cross-site"] {
            assert!(!takes(Method::POST, &[host, (FETCH_SITE, site)]), "{site}");
        }
        assert!(takes(Method::POST, &[host, ("origin", "http://localhost:8080")]));
        for origin in ["null", "http://localhost:9090", "http://evil.example", "localhost:8080", ""] {
            assert!(!takes(Method::POST, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!takes(Method::POST, &[host]) && !takes(Method::POST, &[("origin", "http://")]));
        assert!(!takes(Method::DELETE, &[host, (FETCH_SITE, "cross-site"), ("origin", "http://localhost:8080")]));
        assert!(
            takes(Method::POST, &[host, ("authorization", "Bearer x"), (FETCH_SITE, "cross-site")]),
            "a token is no cookie"
        );
    }
}
