//! Protection against requests from foreign web pages, whatever token they carry: any page open in a browser can
//! make it send requests. The header `Origin` names the page. A page whose host name was rebound to this machine (DNS
//! rebinding) is recognised by its name in `Host`.

use super::error::ApiError;
use super::headers::text;
use super::options::HttpOptions;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, header};
use millwork_api::ErrorCode;
use std::net::IpAddr;

/// Host names under which the API answers.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Names configured by the operator, such as that of a proxy.
    named: Vec<String>,
    /// True if other names are accepted, too: only the operator knows all names of an address that other hosts can
    /// reach.
    any: bool,
    /// True if pages are served over TLS: a page without TLS is then foreign, even under the same name.
    has_tls: bool,
}

impl Hosts {
    pub(super) fn of(options: &HttpOptions) -> Self {
        let any = !options.address.ip().is_loopback() && options.http_host.is_empty();
        Self { named: options.http_host.clone(), any, has_tls: options.http_tls_cert.is_some() }
    }

    /// Refuses requests that a foreign page may have caused.
    pub(super) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        self.check_origin(method, headers)?;
        if method.is_safe() { Ok(()) } else { check_content(headers) }
    }

    /// Checks like [`Self::check`], except for the content type of the body.
    pub(super) fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        let forbidden = |code, message| Err(ApiError::new(code, message));
        let host = text(headers, &header::HOST).unwrap_or_default();
        let hosts = headers.get_all(header::HOST).iter().count();
        if hosts > 1 || !(self.any || self.is_ours(host)) {
            return forbidden(
                ErrorCode::ForeignHost,
                format!(
                    "a scheduler answers requests to `localhost`, a loopback address or a name of --http-host, not to `{host}`"
                ),
            );
        }
        if method.is_safe() {
            return Ok(());
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = text(headers, &header::ORIGIN).unwrap_or_default();
            // Without TLS here, a proxy may add it, so that pages with `https` are accepted.
            let page = match origin.split_once("://") {
                Some(("https", authority)) => authority,
                Some(("http", authority)) if !self.has_tls => authority,
                _ => "",
            };
            if !page.eq_ignore_ascii_case(host) {
                return forbidden(
                    ErrorCode::ForeignOrigin,
                    format!("a scheduler changes nothing for web pages of `{origin}`"),
                );
            }
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        // A host must not contain a user name, and its port must be a number.
        let port = authority.port().map(|port| port.as_str().parse::<u16>());
        let has_end = authority.as_str().rsplit(']').next().is_some_and(|end| end.contains(':'));
        if authority.as_str().contains('@') || port.as_ref().is_some_and(Result::is_err) || has_end != port.is_some() {
            return false;
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.named.iter().any(|named| named.eq_ignore_ascii_case(name))
    }
}

/// Refuses content types that a page can send without a CORS preflight: a form, or plain text.
fn check_content(headers: &HeaderMap) -> Result<(), ApiError> {
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || text(headers, &header::CONTENT_LENGTH).is_some_and(|length| length.trim() != "0");
    if is_json(headers) || !(has_body || headers.contains_key(header::CONTENT_TYPE)) {
        return Ok(());
    }
    let message = "send the body with `Content-Type: application/json`";
    Err(ApiError::new(ErrorCode::WrongContentType, message))
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let given = text(headers, &header::CONTENT_TYPE).unwrap_or_default();
    given.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn hosts(address: &str, named: &[&str]) -> Hosts {
        let http_host = named.iter().map(|&name| name.to_owned()).collect();
        Hosts::of(&HttpOptions { address: address.parse().unwrap(), http_host, ..HttpOptions::default() })
    }

    fn allows(hosts: &Hosts, method: Method, headers: &[(HeaderName, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        hosts.check(&method, &headers).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_answered_on_loopback() {
        let (loopback, named) = (hosts("127.0.0.1:1", &[]), hosts("127.0.0.1:1", &["rebound.example"]));
        let (all, some) = (hosts("0.0.0.0:1", &[]), hosts("0.0.0.0:1", &["millwork.example"]));
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:8080"] {
            assert!(allows(&loopback, Method::GET, &[(header::HOST, host)]), "{host}");
        }
        for host in [
            "",
            "rebound.example:8080",
            "localhost.example",
            "10.0.0.1",
            "[::2]:8080",
            "127.0.0.1.example",
            "evil@localhost",
            "localhost:evil",
            "localhost:",
            "localhost:99999",
        ] {
            assert!(!allows(&loopback, Method::GET, &[(header::HOST, host)]), "{host}");
            assert!(allows(&all, Method::GET, &[(header::HOST, host)]), "{host}");
            assert!(!allows(&some, Method::GET, &[(header::HOST, host)]), "{host}");
        }
        assert!(allows(&named, Method::GET, &[(header::HOST, "Rebound.Example:8080")]));
        assert!(!allows(&loopback, Method::GET, &[]));
    }

    #[test]
    fn two_hosts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "page.example".parse().unwrap());
        assert!(hosts("127.0.0.1:1", &[]).check(&Method::GET, &headers).is_err());
    }

    #[test]
    fn web_pages_change_nothing() {
        let host = (header::HOST, "localhost:8080");
        let writes = |origin| {
            let all = [hosts("127.0.0.1:1", &[]), hosts("0.0.0.0:1", &[])];
            all.map(|hosts| allows(&hosts, Method::POST, &[host.clone(), (header::ORIGIN, origin)]))
        };
        assert_eq!(writes("http://localhost:8080"), [true, true]);
        for origin in ["https://page.example", "http://localhost:3000", "null", "http://localhost:8080.example"] {
            assert_eq!(writes(origin), [false, false], "{origin}");
        }
        let origin = (header::ORIGIN, "https://page.example");
        assert!(allows(&hosts("127.0.0.1:1", &[]), Method::GET, &[host, origin]), "no page can read the answer");
    }

    #[test]
    fn a_page_without_tls_is_none_of_a_scheduler_with_it() {
        let options = HttpOptions {
            address: "127.0.0.1:1".parse().unwrap(),
            http_tls_cert: Some("cert.pem".into()),
            ..HttpOptions::default()
        };
        let writes = |hosts: Hosts, origin| {
            allows(&hosts, Method::POST, &[(header::HOST, "localhost"), (header::ORIGIN, origin)])
        };
        assert!(writes(Hosts::of(&options), "https://localhost") && !writes(Hosts::of(&options), "http://localhost"));
        assert!(writes(hosts("127.0.0.1:1", &[]), "https://localhost"), "of a proxy with TLS");
        assert!(!writes(hosts("127.0.0.1:1", &[]), "ftp://localhost"));
    }

    #[test]
    fn what_a_form_can_send_is_refused() {
        let sends = |headers: &[(HeaderName, &str)]| {
            let headers: Vec<_> = [(header::HOST, "localhost")].iter().chain(headers).cloned().collect();
            allows(&hosts("127.0.0.1:1", &[]), Method::POST, &headers)
        };
        let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
        assert!(sends(&[]) && sends(&[(header::CONTENT_LENGTH, "0")]));
        assert!(sends(&[json.clone(), (header::CONTENT_LENGTH, "2")]) && sends(&[json]));
        assert!(!sends(&[(header::CONTENT_LENGTH, "2")]) && !sends(&[(header::TRANSFER_ENCODING, "chunked")]));
        assert!(!sends(&[(header::CONTENT_TYPE, "text/plain")]));
    }
}
