//! Sign-in with a token or a one-time link, sign-out, and display preferences.

use super::asked::{cookie, respond};
use super::forms::{self, Form};
use crate::access::{Begun, Below, Sessions};
use crate::api::{Access, ApiError, link_path, peer};
use axum::Json;
use axum::extract::{Extension, FromRequest, Query, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use chrono::Utc;
use millwork_api::ErrorCode;
use millwork_ui::frame::{Process, Section, Theme, Tone};
use millwork_ui::pages::sign_in::{SignIn, page};
use millwork_ui::{Frame, frame};
use std::collections::HashMap;
use std::time::Duration;

/// Path of the sign-in page.
pub(super) const PATH: &str = "/ui/sign-in";
/// Validity of a sign-in link that a command requested.
pub(crate) const LINK_TIME: Duration = Duration::from_secs(120);
/// Limit of a submitted token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// Shows the sign-in form.
pub(super) async fn get_sign_in(
    Extension(access): Extension<Access>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    show(&access, &headers, forms::back(query.get("back").map(String::as_str)), None, StatusCode::OK)
}

/// Checks a token, and starts a session. The body is there already, within the limits for strangers.
pub(super) async fn post_sign_in(Extension(access): Extension<Access>, request: Request) -> Response {
    let (address, headers) = (peer(&request), request.headers().clone());
    let form = match Form::from_request(request, &()).await {
        Ok(form) => form,
        Err(error) => return error.into_response(),
    };
    let back = forms::back(form.get("back")).to_owned();
    let token = form.get("token").unwrap_or_default().trim();
    let begun = match token.len() {
        0 => Err(ApiError::new(ErrorCode::Unauthorized, "there is no token in the field")),
        n if n > MAX_TOKEN_BYTES => {
            Err(ApiError::new(ErrorCode::Unauthorized, "that is not a token of this scheduler"))
        }
        _ => access.begin_session(token, address),
    };
    match begun {
        Ok(begun) => enter(&access, begun, &back),
        Err(error) => {
            let (status, detail) = (error.status(), error.detail().clone());
            let mut answer = show(&access, &headers, &back, Some(&detail.message), status);
            if let Some(after) = error.into_response().headers_mut().remove(header::RETRY_AFTER) {
                answer.headers_mut().insert(header::RETRY_AFTER, after);
            }
            answer
        }
    }
}

/// Creates a one-time sign-in link for the sender of a token.
pub(super) async fn post_link(Extension(access): Extension<Access>, request: Request) -> Response {
    match access.sign_in_link(&request, LINK_TIME) {
        Ok(code) => {
            let body = serde_json::json!({ "path": link_path(&code), "expires_in": LINK_TIME.as_secs() });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// Redeems the code of a one-time sign-in link, and starts a session.
pub(super) async fn get_enter(
    Extension(access): Extension<Access>,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    // Prefetches by programs that follow links, and images embedded in other pages, must not use up the link.
    let is_visit = headers.get("sec-fetch-dest").is_none_or(|what| what == "document");
    let begun = match method {
        Method::GET if is_visit => query.get("code").and_then(|code| access.sessions().redeem(code, Utc::now())),
        _ => return StatusCode::NO_CONTENT.into_response(),
    };
    let back = forms::back(query.get("back").map(String::as_str));
    match begun {
        Some(begun) => enter(&access, begun, back),
        None => {
            let refusal = "this link was used already, or is too old: ask for another with `millwork open`";
            show(&access, &headers, back, Some(refusal), StatusCode::UNAUTHORIZED)
        }
    }
}

/// Redirects to a page, with the session's cookie.
fn enter(access: &Access, begun: Begun, back: &str) -> Response {
    let cookie = set(access, &begun.note, Sessions::SECONDS);
    (Extension(begun.below), AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(back)).into_response()
}

/// Ends the session, here and wherever its cookie was taken to.
pub(super) async fn post_sign_out(
    Extension(access): Extension<Access>,
    headers: HeaderMap,
    below: Option<Extension<Below>>,
) -> Response {
    access.end_sessions(&headers, below.as_ref().map(|Extension(below)| below));
    (AppendHeaders([(header::SET_COOKIE, set(&access, "", 0))]), Redirect::to(PATH)).into_response()
}

/// Stores the colour scheme, for browsers without scripts.
pub(super) async fn post_preferences(form: Form) -> Response {
    let theme = Theme::of(form.get("theme").unwrap_or_default()).as_str();
    let cookie = format!("millwork_theme={theme}; Path=/ui/; Max-Age=31536000; SameSite=Lax");
    (AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(forms::back(form.get("back")))).into_response()
}

/// Header that sets a cookie for some seconds, inaccessible to scripts.
fn set(access: &Access, note: &str, seconds: i64) -> String {
    let secure = if access.has_tls() { "; Secure" } else { "" };
    format!("{}={note}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", access.cookie_name())
}

fn show(access: &Access, headers: &HeaderMap, back: &str, refusal: Option<&str>, status: StatusCode) -> Response {
    let theme = Theme::of(cookie(headers, "millwork_theme").unwrap_or_default());
    let frame = Frame {
        title: "Sign in".to_owned(),
        section: Section::Other,
        viewer: None,
        process: Process::default(),
        path: PATH.to_owned(),
        theme,
        now: Utc::now(),
        json: None,
        command: None,
        counted_at: None,
        notices: Vec::new(),
        is_live: false,
        tone: Tone::Plain,
    };
    let body = page(&SignIn { back, refusal, is_owners: access.is_owners() });
    respond(status, &frame::page(&frame, &body))
}
