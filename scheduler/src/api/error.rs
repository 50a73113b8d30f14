//! Errors in the API's common format: `{"error": {"code": "…", "message": "…"}}`.

use crate::access::{Caller, Role};
use crate::documents::ReadError;
use crate::mended::PutBackError;
use crate::plans::PlanError;
use crate::service::SubmitError;
use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use millwork_api::{ErrorBody, ErrorCode, ErrorDetail};
use millwork_manifest::InvalidManifestId;
use millwork_queue::BadReason;
use millwork_tracking::TrackingError;
use std::any::Any;
use std::fmt;
use std::time::Duration;

/// Limit of an error's message, in bytes: messages quote input of the request.
const MAX_MESSAGE_BYTES: usize = 4096;

/// An error with its HTTP representation.
#[derive(Debug)]
pub(crate) struct ApiError {
    error: ErrorDetail,
    /// Pause before a retry, if a retry can help.
    after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl std::fmt::Display) -> Self {
        let mut message = message.to_string();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        Self { error: ErrorDetail { code, message, hint: None }, after: None }
    }

    /// Code, message and hint that are sent to the client.
    pub(crate) fn detail(&self) -> &ErrorDetail {
        &self.error
    }

    /// Error for too many requests, with the time after which a retry is allowed.
    pub(super) fn wait(time: Duration, code: ErrorCode, message: impl std::fmt::Display) -> Self {
        Self::new(code, message).again_after(time)
    }

    /// Sets the time after which a retry is worthwhile.
    pub(crate) fn again_after(self, time: Duration) -> Self {
        Self { after: Some(time), ..self }
    }

    /// Error for something that a caller's role does not allow.
    pub(crate) fn wrong_role(caller: &Caller, thing: &str, needed: Role) -> Self {
        let message = format!(
            "the token `{}` has the role {}; {thing} needs {needed}: ask whoever keeps the scheduler's tokens",
            caller.id, caller.role
        );
        Self::new(ErrorCode::WrongRole, message)
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Error for a body that cannot be read, on a route that accepts up to `limit` bytes.
    pub(super) fn of_body(refused: &BytesRejection, limit: usize) -> Self {
        match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(ErrorCode::TooLarge, format!("the body has more than {limit} bytes, the limit here"))
            }
            status => Self::refused(status, ErrorCode::BadBody, refused.body_text()),
        }
    }

    /// Error for a rejection by axum: with this code, or `bug` if the status is a server error.
    fn refused(status: StatusCode, code: ErrorCode, message: String) -> Self {
        Self::new(if status.is_server_error() { ErrorCode::Bug } else { code }, message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail().message)
    }
}

impl From<TrackingError> for ApiError {
    fn from(error: TrackingError) -> Self {
        match &error {
            TrackingError::Taken { .. } | TrackingError::Conflict { .. } => Self::new(ErrorCode::Conflict, error),
            TrackingError::BadCursor(_) => Self::new(ErrorCode::BadQuery, format!("cursor: {error}")),
            _ => {
                tracing::warn!(%error, "a request cannot be answered");
                Self::new(ErrorCode::State, error)
            }
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Tracking(error) => error.into(),
            foreign @ SubmitError::Foreign { .. } => Self::new(ErrorCode::ForeignObject, foreign),
            twice @ SubmitError::Twice { .. } => Self::new(ErrorCode::BadManifest, twice),
        }
    }
}

impl From<PutBackError> for ApiError {
    fn from(error: PutBackError) -> Self {
        let code = match error {
            PutBackError::TooLarge { .. } => ErrorCode::TooLarge,
            PutBackError::Empty | PutBackError::Bad { .. } => ErrorCode::BadLines,
            PutBackError::NoneRejected { .. } | PutBackError::NoPlace => ErrorCode::Conflict,
            PutBackError::Id(_) | PutBackError::Uri(_) => ErrorCode::Bug,
            PutBackError::Storage(_) | PutBackError::Other { .. } => ErrorCode::Storage,
            PutBackError::Tracking(error) => return error.into(),
            PutBackError::Submit(error) => return error.into(),
        };
        Self::new(code, error)
    }
}

impl From<InvalidManifestId> for ApiError {
    fn from(error: InvalidManifestId) -> Self {
        Self::new(ErrorCode::Bug, error)
    }
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        let code = match error {
            PlanError::Bad(_) => ErrorCode::BadPlan,
            PlanError::Unknown(_) => ErrorCode::NoSuchPlan,
            PlanError::OfAnother { .. } => ErrorCode::PlanOfAnother,
            PlanError::Expired { .. } => ErrorCode::PlanExpired,
            PlanError::Used { .. } => ErrorCode::PlanUsed,
            PlanError::Busy { .. } => ErrorCode::PlanBusy,
            PlanError::AllChanged { .. } => ErrorCode::Changed,
            PlanError::TooMany { until, .. } => {
                // At least a second, since a plan may have expired just now and made room.
                let seconds = (until - Utc::now()).num_seconds().max(1).unsigned_abs();
                return Self::wait(Duration::from_secs(seconds), ErrorCode::TooManyPlans, error);
            }
            PlanError::Crowded => return Self::wait(Duration::from_secs(1), ErrorCode::TooManyPlans, error),
            PlanError::Tracking(error) => return error.into(),
        };
        Self::new(code, error)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error.reason() {
            Some(BadReason::ForeignObject) => Self::new(ErrorCode::ForeignObject, error),
            Some(_) => Self::new(ErrorCode::BadManifest, error),
            None => {
                tracing::warn!(%error, "a manifest that is submitted cannot be read now");
                Self::new(ErrorCode::Storage, error)
            }
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(refused: QueryRejection) -> Self {
        Self::refused(refused.status(), ErrorCode::BadQuery, refused.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(refused: PathRejection) -> Self {
        Self::refused(refused.status(), ErrorCode::BadPath, refused.body_text())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(refused: JsonRejection) -> Self {
        Self::refused(refused.status(), ErrorCode::BadJson, refused.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let challenge = (status == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        // Rounded up to whole seconds.
        let after = self.after.map(|time| [(header::RETRY_AFTER, (time.as_secs() + 1).to_string())]);
        (status, challenge, after, Json(ErrorBody { error: self.error })).into_response()
    }
}

/// Answer for a handler that panicked. The panic message goes only to the log.
pub(super) fn of_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("no message"), "a request's handler panicked");
    let message = "a defect of Millwork's: the scheduler's log says more";
    ApiError::new(ErrorCode::Bug, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::read_manifest;
    use millwork_storage::{MemoryObjects, StorageError};

    #[tokio::test]
    async fn a_manifest_that_cannot_be_read_now_is_not_called_bad() {
        let uri = "s3://m/gone.json".parse().unwrap();
        let gone = ApiError::from(
            read_manifest(&MemoryObjects::default(), &uri, &"s3://m".parse().unwrap()).await.unwrap_err(),
        );
        assert_eq!((gone.status(), gone.error.code), (StatusCode::BAD_REQUEST, ErrorCode::BadManifest));
        let away = ApiError::from(ReadError::Storage(StorageError::on_read(&uri)(std::io::ErrorKind::TimedOut.into())));
        assert_eq!((away.status(), away.error.code), (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Storage));
    }
}
