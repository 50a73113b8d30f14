//! Errors, in their one shape: `{"error": {"code": "…", "message": "…"}}`.

use crate::intake::ReadError;
use crate::service::SubmitError;
use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use millwork_queue::BadReason;
use millwork_tracking::TrackingError;
use serde::Serialize;
use std::any::Any;
use std::time::Duration;
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
    /// When to ask again, if that helps.
    after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl std::fmt::Display) -> Self {
        Self { status, error: ErrorDetail { code, message: message.to_string() }, after: None }
    }

    pub(super) fn not_found(code: &'static str, message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Something that a client has asked for too often, and may ask for again after a time.
    pub(super) fn wait(time: Duration, code: &'static str, message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message).again_after(time)
    }

    /// The same, which is worth asking for again after a time.
    pub(super) fn again_after(self, time: Duration) -> Self {
        Self { after: Some(time), ..self }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// A body that cannot be taken, by a path that takes so many bytes.
    pub(super) fn of_body(refused: &BytesRejection, limit: usize) -> Self {
        match refused.status() {
            status @ StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(status, "too-large", format!("the body has more than {limit} bytes, the limit here"))
            }
            status => Self::refused(status, "bad-body", refused.body_text()),
        }
    }

    /// What axum refused, as a bad request of this kind.
    fn refused(status: StatusCode, code: &'static str, message: String) -> Self {
        match status.is_server_error() {
            true => Self::new(status, "bug", message),
            false => Self::new(StatusCode::BAD_REQUEST, code, message),
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

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Tracking(error) => error.into(),
            foreign @ SubmitError::Foreign { .. } => Self::new(StatusCode::BAD_REQUEST, "foreign-object", foreign),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error.reason() {
            Some(BadReason::ForeignObject) => Self::new(StatusCode::BAD_REQUEST, "foreign-object", error),
            Some(_) => Self::new(StatusCode::BAD_REQUEST, "bad-manifest", error),
            None => {
                tracing::warn!(%error, "a manifest that is submitted cannot be read now");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage", error)
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let challenge = (self.status == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        // Whole seconds, of which the last has passed.
        let after = self.after.map(|time| [(header::RETRY_AFTER, (time.as_secs() + 1).to_string())]);
        (self.status, challenge, after, Json(ErrorBody { error: self.error })).into_response()
    }
}

/// The answer to a request whose handler panicked. What it said goes to the log only.
pub(super) fn of_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("without a word"), "a request's handler panicked");
    let message = "a defect of Millwork's: the scheduler's log says more";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::read_manifest;
    use millwork_storage::{MemoryObjects, StorageError};

    #[tokio::test]
    async fn a_manifest_that_cannot_be_read_now_is_not_called_bad() {
        let uri = "s3://m/gone.json".parse().unwrap();
        let gone = ApiError::from(
            read_manifest(&MemoryObjects::default(), &uri, &"s3://m".parse().unwrap()).await.unwrap_err(),
        );
        assert_eq!((gone.status, gone.error.code), (StatusCode::BAD_REQUEST, "bad-manifest"));
        let away = ApiError::from(ReadError::Storage(StorageError::on_read(&uri)(std::io::ErrorKind::TimedOut.into())));
        assert_eq!((away.status, away.error.code), (StatusCode::SERVICE_UNAVAILABLE, "storage"));
    }
}
