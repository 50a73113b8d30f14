//! Context of a page request, and construction of the response.

use crate::access::{Caller, Role};
use crate::api::{Access, Api, ApiError, cookies, load_stats};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use millwork_api::{AnyOf, ErrorCode, Stats, Word};
use millwork_diagnosis::shell_word;
use millwork_ui::frame::{Process, Right, Section, Theme, Tone, Viewer};
use millwork_ui::pages::error::{self, ErrorPage};
use millwork_ui::{Frame, Markup, Notice, frame};
use std::collections::HashMap;

/// Cookie with a message that the next page shows once.
const SAID: &str = "millwork_said";
/// Limit of the message, in bytes.
const MAX_SAID_BYTES: usize = 700;

/// An authenticated request for a page.
pub(super) struct Asked {
    pub(super) viewer: Viewer,
    pub(super) caller: Caller,
    pub(super) now: DateTime<Utc>,
    /// Path and query of the request.
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) stats: Stats,
    theme: Theme,
    said: Option<String>,
    access: Access,
}

/// A page built by a handler.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) title: String,
    pub(super) section: Section,
    pub(super) body: Markup,
    /// Path and query of the API request with the same content.
    pub(super) json: Option<String>,
    /// Command with the same content.
    pub(super) command: Option<String>,
    pub(super) counted_at: Option<DateTime<Utc>>,
    pub(super) is_live: bool,
    pub(super) tone: Tone,
    pub(super) status: StatusCode,
}

impl Shown {
    pub(super) fn new(title: impl Into<String>, section: Section, body: Markup) -> Self {
        Self {
            title: title.into(),
            section,
            body,
            json: None,
            command: None,
            counted_at: None,
            is_live: true,
            tone: Tone::Plain,
            status: StatusCode::OK,
        }
    }
}

/// Command for a shell, with those options that have a value.
pub(super) fn command(words: &str, options: &[(&str, Option<&str>)]) -> String {
    let given = options.iter().filter_map(|(option, value)| Some((option, value.filter(|value| !value.is_empty())?)));
    given.fold(words.to_owned(), |command, (option, value)| {
        // A value that looks like an option must not be taken for one.
        let mark = if value.starts_with('-') { '=' } else { ' ' };
        format!("{command} {option}{mark}{}", shell_word(value))
    })
}

impl FromRequestParts<Api> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, "sign in"))?;
        let uri = &parts.uri;
        let path = uri.path_and_query().map_or("/ui/", |path| path.as_str()).to_owned();
        let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned();
        let query = query.filter(|(_, value)| !value.is_empty()).collect();
        // Other sites can set a cookie with this name, but cannot sign its text.
        let access = parts.extensions.get::<Access>().cloned();
        let access = access.ok_or_else(|| ApiError::new(ErrorCode::Bug, "a page is not guarded"))?;
        let said = cookies(&parts.headers, SAID).filter(|said| said.len() <= MAX_SAID_BYTES).find_map(|said| {
            let sealed: String = url::form_urlencoded::parse(format!("said={said}").as_bytes())
                .map(|(_, text)| text.into_owned())
                .collect();
            access.sessions().unseal(&caller.id, &sealed).map(str::to_owned)
        });
        Ok(Self {
            viewer: Viewer { name: caller.id.to_string(), right: right_of(caller.role) },
            caller,
            now: Utc::now(),
            path,
            query,
            stats: load_stats(api).await,
            theme: Theme::of(cookie(&parts.headers, "millwork_theme").unwrap_or_default()),
            said,
            access,
        })
    }
}

impl Asked {
    /// Value of a query parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Parses a query parameter; an invalid value is reported on the page.
    pub(super) fn parse<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        let refused = |error: T::Err| ApiError::new(ErrorCode::BadQuery, format!("{name}: {error}"));
        self.get(name).map(|text| text.parse().map_err(refused)).transpose()
    }

    /// Parses a parameter with several words, any of which matches.
    pub(super) fn any_of<T: Word>(&self, name: &str) -> Result<AnyOf<T>, ApiError> {
        let text = self.get(name).unwrap_or_default();
        if text.is_empty() {
            return Ok(AnyOf::default());
        }
        AnyOf::parse(text).map_err(|error| ApiError::new(ErrorCode::BadQuery, format!("{name}: {error}")))
    }

    /// Header that makes the next page show a message once.
    pub(super) fn say_next(&self, text: &str) -> (HeaderName, String) {
        let cut: String = text.chars().take(180).collect();
        let sealed = self.access.sessions().seal(&self.caller.id, &cut);
        let escaped: String = url::form_urlencoded::byte_serialize(sealed.as_bytes()).collect();
        (header::SET_COOKIE, format!("{SAID}={escaped}; Path=/ui/; Max-Age=60; HttpOnly; SameSite=Lax"))
    }

    /// Renders the page, or the error in its place.
    pub(super) fn answer(self, section: Section, made: Result<Shown, ApiError>) -> Response {
        let shown = made.unwrap_or_else(|error| {
            let (status, detail) = (error.status(), error.detail());
            let body = error::page(&ErrorPage {
                status: status.as_u16(),
                code: detail.code.as_str(),
                message: &detail.message,
                again: &self.path,
            });
            Shown { status, tone: Tone::Bad, is_live: status.is_server_error(), ..Shown::new("Error", section, body) }
        });
        let mut notices = Vec::new();
        if let Some(text) = &self.said {
            notices.push(Notice { tone: Tone::Plain, text: text.clone(), link: None });
        }
        let slots = self.stats.leads.then_some((self.stats.slots_used, self.stats.slots));
        let frame = Frame {
            title: shown.title,
            section: shown.section,
            viewer: Some(self.viewer),
            process: Process { leads: self.stats.leads, slots, version: self.stats.version },
            path: self.path,
            theme: self.theme,
            now: self.now,
            json: shown.json,
            command: shown.command,
            counted_at: shown.counted_at,
            notices,
            is_live: shown.is_live,
            tone: shown.tone,
        };
        let mut answer = respond(shown.status, &frame::page(&frame, &shown.body));
        if self.said.is_some()
            && let Ok(gone) = format!("{SAID}=; Path=/ui/; Max-Age=0; HttpOnly; SameSite=Lax").parse()
        {
            answer.headers_mut().append(header::SET_COOKIE, gone);
        }
        answer
    }
}

/// Response with a page.
pub(super) fn respond(status: StatusCode, page: &Markup) -> Response {
    (status, [(header::CACHE_CONTROL, "private, no-cache"), (header::VARY, "Cookie")], Html(page.0.clone()))
        .into_response()
}

/// Value of a cookie; if there are several, that of the longest path.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &'a str) -> Option<&'a str> {
    cookies(headers, name).next()
}

fn right_of(role: Role) -> Right {
    match role {
        Role::Read => Right::Read,
        Role::Operate => Right::Operate,
        Role::Admin => Right::Admin,
    }
}
