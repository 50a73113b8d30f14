//! Access checks: requests need a token with a sufficient role. Requests caused by foreign web pages are refused,
//! whatever token they carry.

use super::error::ApiError;
use super::headers::bearer;
use super::options::HttpOptions;
use super::pages::Hosts;
use super::sessions::{cookies, link_path};
use super::tokens::Tokens;
use crate::access::{Begun, Below, Caller, Role, Sessions, Wrong, WrongTries};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use millwork_api::ErrorCode;
use millwork_net::Peer;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Routes that the role `operate` may use. All other routes that change something need `admin`, so that a new route is
/// closed by default.
const OPERATED: [(Method, &str); 9] = [
    (Method::POST, "/api/v1/manifests"),
    (Method::POST, "/api/v1/runs/{id}/cancel"),
    (Method::POST, "/api/v1/runs/{id}/retry"),
    (Method::POST, "/api/v1/runs/{id}/force"),
    (Method::PUT, "/api/v1/runs/{id}/priority"),
    (Method::POST, "/api/v1/runs/{id}/mended"),
    (Method::POST, "/api/v1/dates/{date}/recount"),
    (Method::POST, "/api/v1/plans"),
    (Method::POST, "/api/v1/plans/{id}/apply"),
];

/// Interval at which the token of a long-lived request, such as an event stream, is checked again.
const LOOK_AT_TOKEN: Duration = Duration::from_secs(2);

/// Route of the metrics, which can be made public.
const METRICS: &str = "/metrics";

/// Access to the API: accepted tokens, sessions and host names, and counts of wrong tokens.
#[derive(Clone)]
pub(crate) struct Access(Arc<Inner>);

struct Inner {
    tokens: Tokens,
    hosts: Hosts,
    open_metrics: bool,
    tries: WrongTries,
    sessions: Sessions,
    /// Rate limit for wrong tokens in the sign-in form.
    sign_ins: WrongTries,
    cookie: String,
    has_tls: bool,
    /// True if pages are below a secret path prefix that is derived from the token.
    is_hidden: bool,
    is_owners: bool,
}

impl Access {
    /// Creates the checks. `port` is the listening port; `is_owners` tells whether the only token was created for the
    /// user who started the process.
    pub(crate) fn new(tokens: Tokens, options: &HttpOptions, port: u16, is_owners: bool) -> anyhow::Result<Self> {
        let (has_tls, at_root) = (options.http_tls_cert.is_some(), options.http_base_path.is_empty());
        // Another user of the host has no certificate for its name, but browsers treat plain HTTP on loopback as
        // secure.
        let is_hidden = at_root && (!has_tls || options.address.ip().is_loopback());
        let prefix = match (has_tls, at_root && !is_hidden) {
            (true, true) => "__Host-",
            (true, false) => "__Secure-",
            (false, _) => "",
        };
        Ok(Self(Arc::new(Inner {
            tokens,
            hosts: Hosts::of(options),
            open_metrics: options.open_metrics,
            tries: WrongTries::default(),
            sessions: Sessions::new()?,
            sign_ins: WrongTries::default(),
            // Cookies do not distinguish ports: without the port in the name, two schedulers on one host would end each
            // other's sessions.
            cookie: format!("{prefix}millwork_session_{port}"),
            has_tls,
            is_hidden,
            is_owners,
        })))
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Name of the session cookie.
    pub(crate) fn cookie_name(&self) -> &str {
        &self.0.cookie
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.0.has_tls
    }

    /// Creates the checks for a single plain-text token.
    #[cfg(test)]
    pub(crate) fn of_plain(token: &str, options: &HttpOptions) -> Self {
        Self::new(Tokens::Fixed(Arc::new(crate::access::TokenSet::of_plain(token))), options, 8080, false).unwrap()
    }

    /// Path prefix of this name, if it belongs to an accepted token.
    pub(crate) fn below(&self, name: &str) -> Option<Below> {
        self.0.tokens.current().below(name)
    }

    /// Tells whether pages are below a secret path prefix.
    pub(crate) fn is_hidden(&self) -> bool {
        self.0.is_hidden
    }

    /// Tells whether the only token is that of the user who started the process.
    pub(crate) fn is_owners(&self) -> bool {
        self.0.is_owners
    }

    /// Refuses requests for foreign host names, and requests caused by foreign web pages.
    pub(crate) fn check_host(&self, request: &Request) -> Result<(), ApiError> {
        self.0.hosts.check_origin(request.method(), request.headers())
    }

    /// Finds the caller by the token of the request, or by its session cookie.
    pub(crate) fn find_caller(&self, request: &Request) -> Result<Caller, ApiError> {
        let Some(shown) = bearer(request.headers()) else {
            let caller = self.of_session(request.headers(), request.extensions().get());
            let caller = caller.ok_or_else(|| unauthorized("send the header `Authorization: Bearer TOKEN`"))?;
            // A request with a session must come from the same site.
            super::origin::check_same_site(request.method(), request.headers())?;
            return Ok(caller);
        };
        self.of_token(shown, peer(request))
    }

    /// Creates a session for the sender of a token in the sign-in form.
    pub(crate) fn begin_session(&self, shown: &str, address: IpAddr) -> Result<Begun, ApiError> {
        let (set, now) = (self.0.tokens.current(), Instant::now());
        let wait = |time| ApiError::wait(time, ErrorCode::TooManyTries, TOO_MANY_SIGN_INS);
        let to_wait = self.0.sign_ins.to_wait_after(MAX_SIGN_INS, address, now);
        match (set.find(shown, Utc::now()), to_wait) {
            (Ok((caller, can_be_guessed)), to_wait) => match to_wait.filter(|_| can_be_guessed) {
                Some(time) => Err(wait(time)),
                None => self
                    .0
                    .sessions
                    .begin(&set, &caller, shown, Utc::now())
                    .map_err(|error| ApiError::new(ErrorCode::Bug, error)),
            },
            (Err(_), Some(time)) => Err(wait(time)),
            (Err(wrong), None) => {
                self.0.sign_ins.note(address, now);
                tracing::warn!(%address, "a token that is not taken was given to sign in");
                Err(match wrong {
                    Wrong::Unknown => unauthorized("that is not a token of this scheduler"),
                    expired @ Wrong::Expired { .. } => refused(expired),
                })
            }
        }
    }

    /// Path of a one-time sign-in link, for the holder of a token of this scheduler.
    pub(crate) fn owner_link(&self, shown: &str, time: Duration) -> anyhow::Result<String> {
        let set = self.0.tokens.current();
        let (caller, _) =
            set.find(shown, Utc::now()).map_err(|_| anyhow::anyhow!("the token is none of this scheduler's"))?;
        Ok(link_path(&self.0.sessions.link(&set, &caller, shown, time)?))
    }

    /// Code of a one-time sign-in link, for the sender of a token; a session does not suffice.
    pub(crate) fn sign_in_link(&self, request: &Request, time: Duration) -> Result<String, ApiError> {
        let caller = match bearer(request.headers()) {
            Some(_) => self.find_caller(request)?,
            None => return Err(unauthorized("send the header `Authorization: Bearer TOKEN`")),
        };
        let shown = bearer(request.headers()).unwrap_or_default();
        let link = self.0.sessions.link(&self.0.tokens.current(), &caller, shown, time);
        link.map_err(|error| ApiError::new(ErrorCode::Bug, error))
    }

    /// Checks that a request is allowed, and returns its caller; `None` for public metrics.
    fn check(&self, request: &Request) -> Result<Option<Caller>, ApiError> {
        let headers = request.headers();
        self.0.hosts.check(request.method(), headers)?;
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        if self.0.open_metrics && route == Some(METRICS) {
            return Ok(None);
        }
        let caller = self.find_caller(request)?;
        let needed = role_for(request.method(), route);
        if caller.role < needed {
            return Err(ApiError::wrong_role(&caller, "this", needed));
        }
        Ok(Some(caller))
    }

    fn of_token(&self, shown: &str, address: IpAddr) -> Result<Caller, ApiError> {
        let now = Instant::now();
        let wrong = match self.0.tokens.current().find(shown, Utc::now()) {
            Ok((caller, false)) => return Ok(caller),
            // A token chosen by a person could be found by trying: after too many wrong ones, even the right one has to
            // wait.
            Ok((caller, true)) => match self.0.tries.to_wait(address, now) {
                None => return Ok(caller),
                Some(time) => return Err(ApiError::wait(time, ErrorCode::TooManyTries, TOO_MANY_TRIES)),
            },
            Err(wrong) => wrong,
        };
        if let Some(time) = self.0.tries.note(address, now) {
            return Err(ApiError::wait(time, ErrorCode::TooManyTries, TOO_MANY_TRIES));
        }
        tracing::warn!(%address, "a request shows a token that is not taken");
        Err(refused(wrong))
    }

    /// Waits until the token or session of an admitted request is no longer valid.
    pub(super) async fn until_it_ends(self, headers: HeaderMap, below: Option<Below>) {
        while self.is_taken(&headers, below.as_ref()) {
            tokio::time::sleep(LOOK_AT_TOKEN).await;
        }
    }

    fn is_taken(&self, headers: &HeaderMap, below: Option<&Below>) -> bool {
        match bearer(headers) {
            Some(shown) => self.0.tokens.current().find(shown, Utc::now()).is_ok(),
            None => self.of_session(headers, below).is_some(),
        }
    }

    /// Ends the sessions whose cookies a browser sends.
    pub(crate) fn end_sessions(&self, headers: &HeaderMap, below: Option<&Below>) {
        let (set, now) = (self.0.tokens.current(), Utc::now());
        for note in cookies(headers, &self.0.cookie) {
            self.0.sessions.end(&set, note, below, now);
        }
    }

    /// Finds the caller by a session cookie, which is valid only below its own path prefix, if there is one. Servers on
    /// other ports of the host can set cookies of the same name, so that each is tried.
    fn of_session(&self, headers: &HeaderMap, below: Option<&Below>) -> Option<Caller> {
        if self.0.is_hidden && below.is_none() {
            return None;
        }
        let (set, now) = (self.0.tokens.current(), Utc::now());
        cookies(headers, &self.0.cookie).find_map(|note| self.0.sessions.caller(&set, note, below, now))
    }
}

fn refused(wrong: Wrong) -> ApiError {
    match wrong {
        Wrong::Unknown => unauthorized("the token is none of this scheduler's"),
        Wrong::Expired { id, at } => {
            unauthorized(&format!("the token `{id}` has expired at {}", at.format("%Y-%m-%dT%H:%M:%SZ")))
        }
    }
}

/// Limit of the wrong tokens per address in the sign-in form, per minute.
const MAX_SIGN_INS: u32 = 5;
const TOO_MANY_SIGN_INS: &str = "this address has tried 5 wrong tokens within a minute: wait, then give the right one";

const TOO_MANY_TRIES: &str =
    "this address has shown more than 10 wrong tokens within a minute: correct the token, then wait";

/// Role that a request needs. Without a known route, read access suffices, since the answer is 404.
fn role_for(method: &Method, route: Option<&str>) -> Role {
    if method.is_safe() {
        return Role::Read;
    }
    match OPERATED.iter().any(|(of, path)| of == method && Some(*path) == route) {
        true => Role::Operate,
        false => Role::Admin,
    }
}

/// Admits authorised requests, attaches their caller for later handlers, and logs requests that change something.
pub(super) async fn check_access(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let caller = match access.check(&request) {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let Some(caller) = caller else { return next.run(request).await };
    let asked = (!request.method().is_safe()).then(|| (request.method().clone(), request.uri().path().to_owned()));
    let (id, address) = (caller.id.clone(), peer(&request));
    request.extensions_mut().insert(caller);
    let answer = next.run(request).await;
    if let Some((method, path)) = asked {
        tracing::info!(token = %id, %address, %method, path, status = answer.status().as_u16(), "was asked for a change");
    }
    answer
}

/// The address that a request came from.
pub(crate) fn peer(request: &Request) -> IpAddr {
    request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::NewToken;
    use crate::access::TokenSet;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::http::{HeaderName, header};

    fn access(set: TokenSet) -> Access {
        Access::new(Tokens::Fixed(Arc::new(set)), &HttpOptions::default(), 8080, false).unwrap()
    }

    fn request(method: Method, headers: &[(HeaderName, &str)]) -> Request {
        let mut request = Request::builder().method(method).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn shows(access: &Access, method: Method, value: &str) -> Result<Option<Caller>, StatusCode> {
        access.check(&request(method, &[(header::AUTHORIZATION, value)])).map_err(|error| error.status())
    }

    #[test]
    fn the_scheme_is_written_in_any_case() {
        let access = access(TokenSet::of_plain("secret"));
        let takes = |value| shows(&access, Method::GET, value).is_ok();
        assert!(takes("Bearer secret") && takes("bearer secret") && takes("BEARER  secret"));
        assert!(!takes("Basic secret") && !takes("secret") && !takes("Bearer secre") && !takes("Bearer"));
    }

    #[test]
    fn a_role_may_do_what_it_says_and_new_routes_are_closed() {
        let route = "/api/v1/runs/{id}/retry";
        assert_eq!(role_for(&Method::GET, Some("/api/v1/anything")), Role::Read);
        assert_eq!(role_for(&Method::HEAD, None), Role::Read);
        assert_eq!(role_for(&Method::POST, Some(route)), Role::Operate);
        assert_eq!(role_for(&Method::DELETE, Some(route)), Role::Admin);
        assert_eq!(role_for(&Method::POST, Some("/api/v1/new")), Role::Admin);
        let new = NewToken::new("ci".parse().unwrap(), Role::Operate, None).unwrap();
        let access = access(TokenSet::of_one(new.record));
        let shown = format!("Bearer {}", new.text);
        let caller = Caller { id: "ci".into(), role: Role::Operate };
        assert_eq!(shows(&access, Method::GET, &shown), Ok(Some(caller)));
        assert_eq!(shows(&access, Method::POST, &shown), Err(StatusCode::FORBIDDEN), "no route of an operator's");
    }

    #[test]
    fn a_cookie_has_the_path_of_its_token_where_others_may_listen_beside() {
        for (address, tls, base, prefix, is_hidden) in [
            ("127.0.0.1:8080", false, "", "", true),
            ("0.0.0.0:8080", false, "", "", true),
            ("0.0.0.0:8080", true, "", "__Host-", false),
            ("[::1]:8080", true, "", "__Secure-", true),
            ("127.0.0.1:8080", false, "/ops", "", false),
            ("0.0.0.0:8080", true, "/ops", "__Secure-", false),
        ] {
            let options = HttpOptions {
                address: address.parse().unwrap(),
                http_tls_cert: tls.then(|| "tls.crt".into()),
                http_base_path: base.parse().unwrap(),
                ..HttpOptions::default()
            };
            let access = Access::of_plain("secret", &options);
            assert_eq!(access.cookie_name(), format!("{prefix}millwork_session_8080"), "{address} {tls} {base}");
            assert_eq!(access.is_hidden(), is_hidden, "{address} {tls} {base}");
            let Begun { note, below } = access.begin_session("secret", Ipv4Addr::LOCALHOST.into()).unwrap();
            let cookie = format!("{}=x; {0}={note}", access.cookie_name());
            let mut request = request(Method::GET, &[(header::COOKIE, &cookie)]);
            assert_eq!(access.find_caller(&request).is_ok(), !is_hidden, "without the path");
            request.extensions_mut().insert(below);
            assert!(access.find_caller(&request).is_ok());
        }
    }

    #[tokio::test]
    async fn what_goes_on_ends_with_its_token() {
        let end = Utc::now() + chrono::Duration::milliseconds(50);
        let new = NewToken::new("ci".parse().unwrap(), Role::Read, Some(end)).unwrap();
        let access = access(TokenSet::of_one(new.record));
        let shown = format!("Bearer {}", new.text);
        let headers = request(Method::GET, &[(header::AUTHORIZATION, &shown)]).headers().clone();
        assert!(access.is_taken(&headers, None));
        std::thread::sleep(Duration::from_millis(60));
        access.clone().until_it_ends(headers, None).await;
        assert!(!access.is_taken(&HeaderMap::new(), None), "nothing was shown");
    }

    #[test]
    fn who_guesses_has_to_wait_but_keeps_nobody_out_who_has_a_long_token() {
        let new = NewToken::new("ci".parse().unwrap(), Role::Read, None).unwrap();
        let long = access(TokenSet::of_one(new.record));
        let short = access(TokenSet::of_plain("secret"));
        for access in [&long, &short] {
            for _ in 0..10 {
                assert_eq!(shows(access, Method::GET, "Bearer guess"), Err(StatusCode::UNAUTHORIZED));
            }
            assert_eq!(shows(access, Method::GET, "Bearer guess"), Err(StatusCode::TOO_MANY_REQUESTS));
        }
        assert!(shows(&long, Method::GET, &format!("Bearer {}", new.text)).is_ok());
        assert_eq!(shows(&short, Method::GET, "Bearer secret"), Err(StatusCode::TOO_MANY_REQUESTS));
    }
}
