//! Errors, in their one shape: `{"error": {"code": "…", "message": "…"}}`.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use millwork_tracking::TrackingError;
use serde::Serialize;
use std::any::Any;
use utoipa::ToSchema;

/// What an answer that is no success says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// For programs: one of the codes named beside the status.
    #[schema(example = "no-such-run", pattern = "^[a-z-]+$")]
    code: &'static str,
    /// For people.
    message: String,
}

/// An error as the API tells it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    error: ErrorDetail,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl std::fmt::Display) -> Self {
        Self { status, error: ErrorDetail { code, message: message.to_string() } }
    }

    pub(super) fn not_found(code: &'static str, message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// What axum refused, as a bad request of this kind, unless it is something of its own.
    fn refused(status: StatusCode, code: &'static str, message: String) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(status, "too-large", message),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(status, "wrong-content-type", message),
            status if status.is_server_error() => Self::new(status, "bug", message),
            _ => Self::new(StatusCode::BAD_REQUEST, code, message),
        }
    }
}

impl From<TrackingError> for ApiError {
    fn from(error: TrackingError) -> Self {
        match &error {
            TrackingError::Taken { .. } | TrackingError::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, "conflict", error)
            }
            TrackingError::BadCursor(_) => Self::new(StatusCode::BAD_REQUEST, "bad-query", format!("cursor: {error}")),
            _ => {
                tracing::warn!(%error, "a request cannot be answered");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "state", error)
            }
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(refused: QueryRejection) -> Self {
        Self::refused(refused.status(), "bad-query", refused.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(refused: PathRejection) -> Self {
        Self::refused(refused.status(), "bad-path", refused.body_text())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(refused: JsonRejection) -> Self {
        Self::refused(refused.status(), "bad-json", refused.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(refused: BytesRejection) -> Self {
        Self::refused(refused.status(), "bad-body", refused.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.error })).into_response()
    }
}

/// The answer to a request whose handler panicked. What it said goes to the log only.
pub(super) fn of_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("without a word"), "a request's handler panicked");
    let message = "a defect of Millwork's: the scheduler's log says more";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", message).into_response()
}
