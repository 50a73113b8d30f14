//! What can be asked of a run.

use super::Api;
use super::error::{ApiError, ErrorBody};
use super::extract::{Json, Path};
use super::run_detail::check_known;
use super::runs::Run;
use axum::extract::State;
use axum::http::StatusCode;
use millwork_manifest::ManifestId;
use millwork_tracking::RunState;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::fmt::Display;
use utoipa::ToSchema;

/// What is asked is noted; the run as it is now.
type Accepted = Result<(StatusCode, axum::Json<Run>), ApiError>;

fn accepted(run: millwork_tracking::Run) -> Accepted {
    Ok((StatusCode::ACCEPTED, axum::Json(run.into())))
}

/// Ends a run: at once if it waits, else as soon as its attempt has stopped (`cancel_requested` until then).
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 202, description = "It is cancelled, or will be", body = Run),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: it is committed, has ended, or is not queued yet", body = ErrorBody)
))]
pub(super) async fn cancel_run(State(api): State<Api>, Path(id): Path<ManifestId>) -> Accepted {
    check_known(&api, &id).await?;
    accepted(api.service.cancel(&id).await?)
}

/// Queues a run that failed or was cancelled once more. One that is queued stays so.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 202, description = "It is queued", body = Run),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: it neither failed nor was cancelled, or some of its files are in another manifest by now", body = ErrorBody)
))]
pub(super) async fn retry_run(State(api): State<Api>, Path(id): Path<ManifestId>) -> Accepted {
    check_known(&api, &id).await?;
    accepted(api.service.retry(&id).await?)
}

/// Queues a completed run once more, for an output that takes the place of the one it has. One that is queued stays so.
#[utoipa::path(post, path = "/api/v1/runs/{id}/force", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 202, description = "It is queued", body = Run),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: it is not completed", body = ErrorBody)
))]
pub(super) async fn force_run(State(api): State<Api>, Path(id): Path<ManifestId>) -> Accepted {
    check_known(&api, &id).await?;
    accepted(api.service.force(&id).await?)
}

/// The place of a run in the queue.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Priority(pub(super) i32);

impl Priority {
    const LIMIT: i64 = 1000;

    /// One that stands in a query.
    pub(super) fn of_query<'de, D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let text = String::deserialize(text)?;
        let priority = text.parse().ok().and_then(|given: i64| Self::try_from(given).ok());
        priority.ok_or_else(|| D::Error::custom(Self::refusal(&text)))
    }

    fn refusal(given: impl Display) -> String {
        format!("a priority is -{0} to {0}, not `{given}`", Self::LIMIT)
    }
}

impl TryFrom<i64> for Priority {
    type Error = String;

    fn try_from(given: i64) -> Result<Self, String> {
        let is_allowed = (-Self::LIMIT..=Self::LIMIT).contains(&given);
        let priority = i32::try_from(given).ok().filter(|_| is_allowed);
        priority.map(Self).ok_or_else(|| Self::refusal(given))
    }
}

/// A change of priority.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PriorityChange {
    /// Runs of higher priority start first; of the same, the oldest. 0 unless told.
    #[schema(value_type = i32, minimum = -1000, maximum = 1000)]
    priority: Priority,
}

/// Changes the priority of a queued run.
#[utoipa::path(put, path = "/api/v1/runs/{id}/priority", tag = "runs", request_body = PriorityChange,
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 202, description = "It has this priority", body = Run),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: it is not queued", body = ErrorBody),
    (status = 413, description = "`too-large`: the body has more than 1 MiB", body = ErrorBody),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody)
))]
pub(super) async fn prioritise_run(
    State(api): State<Api>,
    Path(id): Path<ManifestId>,
    Json(change): Json<PriorityChange>,
) -> Accepted {
    check_known(&api, &id).await?;
    let run = api.service.prioritise(&id, change.priority.0).await?;
    if run.state != RunState::Queued {
        let message = format!("run `{id}` is {}; only a queued run has a place in the queue", run.state);
        return Err(ApiError::new(StatusCode::CONFLICT, "conflict", message));
    }
    accepted(run)
}
