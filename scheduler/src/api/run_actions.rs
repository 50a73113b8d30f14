//! What can be asked of a run.

use super::Api;
use super::error::ApiError;
use super::extract::{Json, Path};
use super::run_detail::check_known;
use super::show;
use axum::extract::State;
use axum::http::StatusCode;
use millwork_api::{ErrorBody, ErrorCode, PriorityChange, Run};
use millwork_manifest::ManifestId;
use millwork_tracking::RunState;

/// What is asked is noted; the run as it is now.
type Accepted = Result<(StatusCode, axum::Json<Run>), ApiError>;

fn accepted(run: millwork_tracking::Run) -> Accepted {
    Ok((StatusCode::ACCEPTED, axum::Json(show::run(run))))
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
        return Err(ApiError::new(ErrorCode::Conflict, message));
    }
    accepted(run)
}
