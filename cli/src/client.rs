//! Client of the scheduler's HTTP API, for the commands.

use crate::failure::usage;
use crate::trouble::{OTHER_ADDRESS, Trouble};
use anyhow::Context;
use clap::Args;
use millwork_api::{ErrorBody, ErrorCode, EventData, Page, PagedQuery, path};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time limit for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for silence on an event stream: a scheduler sends something every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Time for which commands with retries wait for an unreachable scheduler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// First and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Address of the scheduler, and the right to ask it.
#[derive(Args)]
pub(crate) struct ClientOptions {
    /// The scheduler's HTTP address: http://… or https://…
    #[arg(long, env = "MILLWORK_SCHEDULER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    scheduler: String,

    /// File with a token, as `millwork token new` prints it; MILLWORK_TOKEN in the environment does the same. Without either,
    /// the one is shown that a scheduler of this user on this machine has left for its user
    #[arg(long, env = "MILLWORK_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Certificates of the authorities that may have signed the scheduler's, in PEM [default: those of the system]
    #[arg(long, env = "MILLWORK_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Token,
}

/// Source of the token.
enum Token {
    /// Token given by the user.
    Given(String),
    /// Token file that a scheduler on this machine wrote for its user, changing with each start.
    OfOwner { address: Option<SocketAddr> },
}

impl Client {
    pub(crate) fn new(options: &ClientOptions) -> anyhow::Result<Self> {
        let base = options.scheduler.trim_end_matches('/').to_owned();
        let url = scheduler_url(&base)?;
        let mut http = reqwest::Client::builder();
        let token = match millwork_scheduler::read_token(options.token_file.as_deref())? {
            Some(token) => Token::Given(token),
            None => {
                let place = url.host_str().zip(url.port_or_known_default());
                let address = place.and_then(|(host, port)| millwork_scheduler::owner_address(host, port));
                if let (Some((host, _)), Some(address)) = (place, address) {
                    // Connects to the token's own address: the name could resolve to one where another user listens.
                    http = http.resolve(host, address);
                }
                if address.is_some_and(|address| address.ip().is_loopback()) {
                    // The token must not leave this machine.
                    http = http.no_proxy();
                }
                Token::OfOwner { address }
            }
        };
        if let Some(path) = &options.ca_file {
            let place = || format!("cannot use the authorities' file `{}`", path.display());
            let pem = std::fs::read(path).with_context(place)?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).with_context(place)?;
            anyhow::ensure!(!authorities.is_empty(), "{}: there is no certificate in it", place());
            http = http.tls_built_in_root_certs(false);
            http = authorities.into_iter().fold(http, reqwest::ClientBuilder::add_root_certificate);
        }
        Ok(Self { http: http.build()?, base, token })
    }

    /// URL of the scheduler.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).header("millwork-via", "cli")
    }

    /// Current token.
    fn token(&self) -> anyhow::Result<Option<String>> {
        match &self.token {
            Token::Given(token) => Ok(Some(token.clone())),
            Token::OfOwner { address } => address.map_or(Ok(None), millwork_scheduler::find_owner_token),
        }
    }

    /// Sends a request with the token. Retries with the new token if a scheduler that just started has replaced it.
    async fn send_with_token(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let token = self.token()?;
        let again = request.try_clone();
        let response = self.send_once(request, token.as_deref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(again) = again
            && let Some(newer) = self.token()?.filter(|newer| token.as_ref() != Some(newer))
        {
            return self.send_once(again, Some(&newer)).await;
        }
        Ok(response)
    }

    async fn send_once(&self, request: RequestBuilder, token: Option<&str>) -> anyhow::Result<Response> {
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.map_err(|error| match error.is_builder() {
            true => error.into(),
            false => Trouble::Unreachable { base: self.base.clone(), reason: reason_of(&error) }.into(),
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> anyhow::Result<T> {
        self.answer(self.request(Method::GET, path).query(query)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.answer(self.request(Method::POST, path).query(query).json(body)).await
    }

    /// Sends a body that is JSON already, otherwise like [`Self::post`].
    pub(crate) async fn post_text<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
        body: String,
    ) -> anyhow::Result<T> {
        self.post_text_patiently(path, query, body, Duration::ZERO).await
    }

    /// Sends JSON text that may safely arrive twice; retries for the given time while the scheduler is unreachable.
    pub(crate) async fn post_text_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
        body: String,
        patience: Duration,
    ) -> anyhow::Result<T> {
        let mut away = Away::new(patience);
        loop {
            let request = self.request(Method::POST, path).query(query).header(CONTENT_TYPE, "application/json");
            match self.answer(request.body(body.clone())).await {
                Err(error) => away.wait(error).await?,
                answer => return answer,
            }
        }
    }

    /// Loads up to `limit` items of a listing, over several pages, and tells whether there are more.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        mut query: impl PagedQuery + Serialize,
        limit: usize,
    ) -> anyhow::Result<(Vec<T>, bool)> {
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            query.set_page((limit - items.len()).min(1000), cursor);
            let page: Page<T> = self.get(path, &query).await?;
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() || items.len() >= limit {
                return Ok((items, cursor.is_some()));
            }
        }
    }

    /// Requests like [`Self::get`], and retries while the scheduler is unreachable.
    pub(crate) async fn get_patiently<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut away = Away::new(PATIENCE);
        loop {
            match self.get(path, &()).await {
                Err(error) => away.wait(error).await?,
                answer => return answer,
            }
        }
    }

    /// Passes on the scheduler's events without end. Reconnects when the scheduler goes away.
    pub(crate) async fn watch(&self, mut each: impl FnMut(&EventData)) -> anyhow::Result<()> {
        let mut away: Option<Away> = None;
        loop {
            let error = self.events(&mut away, &mut each).await;
            match &mut away {
                // Never connected: the error is returned at once.
                None => return Err(error),
                Some(away) => away.wait(error).await?,
            }
        }
    }

    /// Passes on the scheduler's events until the stream ends. Prints nothing.
    pub(crate) async fn listen(&self, mut each: impl FnMut(&EventData)) -> anyhow::Error {
        self.events(&mut None, &mut each).await
    }

    /// Passes on events while they arrive. Returns the reason for the end.
    async fn events(&self, away: &mut Option<Away>, each: &mut impl FnMut(&EventData)) -> anyhow::Error {
        let connected = tokio::time::timeout(TIMEOUT, self.send(self.request(Method::GET, path::EVENTS))).await;
        let mut response = match connected {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return error,
            Err(_) => return Trouble::Silent(TIMEOUT).into(),
        };
        if away.replace(Away::new(PATIENCE)).is_some_and(|away| away.since.is_some()) {
            eprintln!("millwork: the scheduler is back; `millwork runs` shows what changed meanwhile");
        }
        let mut text = Vec::new();
        loop {
            match tokio::time::timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(chunk))) => text.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Trouble::Ended.into(),
                Ok(Err(error)) => {
                    return Trouble::BrokeOff { base: self.base.clone(), reason: reason_of(&error) }.into();
                }
                Err(_) => return Trouble::Silent(SILENCE).into(),
            }
            while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = text.drain(..end + 2).collect();
                if let Some(event) = event_in(&String::from_utf8_lossy(&block)) {
                    each(&event);
                }
            }
        }
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let base = || self.base.clone();
        let text = self.send(request.timeout(TIMEOUT)).await?.text().await;
        let text = text.map_err(|error| Trouble::BrokeOff { base: base(), reason: reason_of(&error) })?;
        serde_json::from_str(&text).map_err(|error| Trouble::Unreadable { base: base(), reason: error }.into())
    }

    /// Sends a request. An unsuccessful answer becomes an error with the scheduler's reason.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = self.send_with_token(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await;
        let text = text.map_err(|error| Trouble::BrokeOff { base: self.base.clone(), reason: reason_of(&error) })?;
        let (code, mut reason, hint) = match serde_json::from_str::<ErrorBody>(&text) {
            Ok(ErrorBody { error }) => (error.code, error.message, error.hint),
            Err(_) if status.is_client_error() && text.trim().is_empty() => {
                let reason = format!("without a word, so that what answers at {} may be no scheduler", self.base);
                (ErrorCode::Unknown, reason, Some(OTHER_ADDRESS.to_owned()))
            }
            // The answer is from a proxy between here and the scheduler.
            Err(_) => (ErrorCode::Unknown, text, None),
        };
        if code == ErrorCode::Unauthorized && self.token()?.is_none() {
            reason = "this command found no token: a scheduler leaves one only for the user who started it, on the same machine".to_owned();
        }
        Err(Trouble::Refused { status, code, reason, hint }.into())
    }
}

/// Parses the URL of a scheduler's API. A bare `localhost:8080` would be read as a URL with the scheme `localhost`, and
/// is refused.
fn scheduler_url(text: &str) -> anyhow::Result<Url> {
    let wrong = |why: String| usage(format!("the scheduler's address `{text}` {why}"));
    if !text.contains("://") {
        return Err(wrong(format!(
            "has no scheme: say http://{text}, or https://{text}; an address for executors, in the environment, belongs into \
             MILLWORK_EXECUTOR_SCHEDULER"
        )));
    }
    let url = Url::parse(text).map_err(|error| wrong(format!("is no URL: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(wrong("is neither http://HOST:PORT nor https://HOST:PORT".to_owned())),
    }
}

/// Short reason why a scheduler is unreachable: the root causes, without error numbers.
fn reason_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer came in time".to_owned();
    }
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    match root.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => "nothing listens there".to_owned(),
        _ => {
            // Texts of rustls and hyper, which have no other way to be known here.
            let text = root.to_string();
            if text.starts_with("received corrupt message") {
                return "it speaks no TLS: say http:// instead of https://, or the address where it does".to_owned();
            }
            if text.starts_with("received unexpected message") || text.starts_with("invalid HTTP version") {
                return format!(
                    "no plain HTTP is spoken there: say https:// if it has a certificate; else {OTHER_ADDRESS}"
                );
            }
            text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).to_owned()
        }
    }
}

/// Tells whether a retry may succeed.
fn can_pass(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Trouble>() {
        Some(Trouble::Refused { status, .. }) => *status == StatusCode::SERVICE_UNAVAILABLE,
        Some(Trouble::Unreachable { .. } | Trouble::BrokeOff { .. } | Trouble::Ended | Trouble::Silent(_)) => true,
        Some(Trouble::Unreadable { .. }) => false,
        None => error.downcast_ref::<reqwest::Error>().is_some_and(|error| !error.is_builder()),
    }
}

/// An unreachable scheduler, since when, and the time limit for waiting.
struct Away {
    since: Option<Instant>,
    pause: Duration,
    patience: Duration,
}

impl Away {
    fn new(patience: Duration) -> Self {
        Self { since: None, pause: Duration::ZERO, patience }
    }

    /// Pauses, longer each time. Fails with the error if a retry cannot help, or the time limit is reached.
    async fn wait(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        if !can_pass(&error) || waited >= self.patience {
            return Err(error);
        }
        if self.since.is_none() {
            eprintln!("millwork: {error:#}; waiting for it");
            self.since = Some(Instant::now());
        }
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        tokio::time::sleep(self.pause).await;
        Ok(())
    }
}

/// Parses the event in a block of lines; `None` for a comment, or an event that this version does not know.
fn event_in(block: &str) -> Option<EventData> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let data = field("data")?;
    match field("event")? {
        "role" => serde_json::from_str(data).map(EventData::Role).ok(),
        "run" => serde_json::from_str(data).map(|change| EventData::Run(Box::new(change))).ok(),
        "lagged" => serde_json::from_str(data).map(EventData::Lagged).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_pass_is_waited_for() {
        let refused = |status| {
            anyhow::Error::from(Trouble::Refused {
                status,
                code: ErrorCode::Unknown,
                reason: String::new(),
                hint: None,
            })
        };
        assert!(can_pass(&refused(StatusCode::SERVICE_UNAVAILABLE).context("asking")));
        assert!(can_pass(&Trouble::Ended.into()) && can_pass(&Trouble::Silent(SILENCE).into()));
        assert!(!can_pass(&refused(StatusCode::UNAUTHORIZED)) && !can_pass(&anyhow::anyhow!("no JSON")));
    }

    #[test]
    fn an_address_without_a_scheme_is_told_with_one() {
        assert!(scheduler_url("https://s.example:8080").is_ok());
        for (bad, told) in [
            ("localhost:8080", "say http://localhost:8080"),
            ("10.0.0.1", "say http://10.0.0.1"),
            ("ftp://s", "neither http://"),
            ("http://", "no URL"),
        ] {
            let error = scheduler_url(bad).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn comments_are_no_events() {
        assert_eq!(event_in(":\n\n"), None);
        let event = EventData::Role(millwork_api::Role { leads: true });
        assert_eq!(event_in("event: role\ndata: {\"leads\":true}\n\n"), Some(event));
    }
}
