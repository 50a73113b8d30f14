//! Extractors for parts of a request, as in axum, but with errors in the API's format.

use super::error::ApiError;
use super::pages::is_json;
use crate::access::Caller;
use crate::audit::Operator;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use millwork_api::ErrorCode;
use millwork_tracking::Via;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Query parameters.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(axum::extract::Query::from_request_parts(parts, state).await?.0))
    }
}

/// Path parameters.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(axum::extract::Path::from_request_parts(parts, state).await?.0))
    }
}

/// Header by which the web UI and the command line identify themselves: `ui` or `cli`. Recorded in audit records; has
/// no other effect.
const VIA: HeaderName = HeaderName::from_static("millwork-via");

/// Caller of a change, for its audit record.
pub(super) struct Asker(pub(super) Operator);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, "nobody is known to ask for this"))?;
        let via = match parts.headers.get(VIA).map(HeaderValue::as_bytes) {
            Some(b"cli") => Via::Cli,
            Some(b"ui") => Via::Ui,
            _ => Via::Api,
        };
        Ok(Self(Operator { actor: caller.id.to_string(), via }))
    }
}

/// Limit of a body: 1 MiB, except for manifests and mended lines.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Time limit for receiving a body: 25 s, enough for 32 MiB at 1.3 MB/s, so that slow senders do not hold a request
/// slot for long.
const BODY_TIME: Duration = Duration::from_secs(25);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let JsonText::<MAX_BODY_BYTES>(body) = JsonText::from_request(request, state).await?;
        Ok(Self(axum::Json::from_bytes(&body)?.0))
    }
}

/// Text of a JSON body of at most `LIMIT` bytes.
pub(super) struct JsonText<const LIMIT: usize>(pub(super) Bytes);

impl<S: Send + Sync, const LIMIT: usize> FromRequest<S> for JsonText<LIMIT> {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            let message = "send the body with `Content-Type: application/json`";
            return Err(ApiError::new(ErrorCode::WrongContentType, message));
        }
        DefaultBodyLimit::max(LIMIT).apply(&mut request);
        let late = || {
            let message = format!("the body did not come within {} s", BODY_TIME.as_secs());
            ApiError::new(ErrorCode::SlowBody, message)
        };
        let body = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await.map_err(|_| late())?;
        body.map(Self).map_err(|refused| ApiError::of_body(&refused, LIMIT))
    }
}

/// A page of a list in memory, whose cursors are indexes.
pub(super) fn part_of<'a, T>(
    list: &'a [T],
    cursor: Option<&str>,
    limit: usize,
) -> Result<(&'a [T], Option<String>), ApiError> {
    let bad = |cursor: &str| millwork_tracking::TrackingError::BadCursor(cursor.to_owned());
    let begin = match cursor {
        None => 0,
        Some(cursor) => cursor.parse().ok().filter(|at| *at <= list.len()).ok_or_else(|| bad(cursor))?,
    };
    let end = begin.saturating_add(limit).min(list.len());
    Ok((&list[begin..end], (end < list.len()).then(|| end.to_string())))
}
