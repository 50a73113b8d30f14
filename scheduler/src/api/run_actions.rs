//! Actions on a run: cancel, retry, force, prioritise.

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, Json, Path};
use super::run_detail::head;
use super::show;
use crate::audit::{Deed, Operator};
use axum::extract::State;
use axum::http::StatusCode;
use millwork_api::{ErrorBody, ErrorCode, PriorityChange, Run};
use millwork_manifest::{ManifestId, RunState};
use millwork_tracking::{Run as StoredRun, TrackingError};
use std::fmt::Display;

/// Answer to an accepted action: the run after it was recorded.
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
pub(super) async fn cancel_run(State(api): State<Api>, Asker(who): Asker, Path(id): Path<ManifestId>) -> Accepted {
    let service = api.service.clone();
    act(&api, &who, "cancel", "cancelled".to_owned(), &id.clone(), async move { service.cancel(&id).await }).await
}

/// Queues a run that failed or was cancelled once more. One that is queued stays so.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 202, description = "It is queued", body = Run),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: it neither failed nor was cancelled, or some of its files are in another manifest by now", body = ErrorBody)
))]
pub(super) async fn retry_run(State(api): State<Api>, Asker(who): Asker, Path(id): Path<ManifestId>) -> Accepted {
    let service = api.service.clone();
    act(&api, &who, "retry", "queued".to_owned(), &id.clone(), async move { service.retry(&id).await }).await
}

/// Queues a completed run once more, for an output that takes the place of the one it has. One that is queued stays so.
#[utoipa::path(post, path = "/api/v1/runs/{id}/force", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 202, description = "It is queued", body = Run),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: it is not completed", body = ErrorBody)
))]
pub(super) async fn force_run(State(api): State<Api>, Asker(who): Asker, Path(id): Path<ManifestId>) -> Accepted {
    let service = api.service.clone();
    act(
        &api,
        &who,
        "force",
        "queued, for another output".to_owned(),
        &id.clone(),
        async move { service.force(&id).await },
    )
    .await
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
    Asker(who): Asker,
    Path(id): Path<ManifestId>,
    Json(change): Json<PriorityChange>,
) -> Accepted {
    let (service, to) = (api.service.clone(), change.priority.0);
    let id_of_it = id.clone();
    let set = async move {
        let id = id_of_it;
        let run = service.prioritise(&id, to).await.map_err(ApiError::from)?;
        if run.state != RunState::Queued {
            let message = format!("run `{id}` is {}; only a queued run has a place in the queue", run.state);
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        Ok(run)
    };
    act(&api, &who, "priority", format!("priority {to}"), &id, set).await
}

/// Applies an action to an existing run, with an audit record.
async fn act<E: Into<ApiError> + From<TrackingError> + Display + Send + 'static>(
    api: &Api,
    who: &Operator,
    action: &'static str,
    after: String,
    id: &ManifestId,
    effect: impl Future<Output = Result<StoredRun, E>> + Send + 'static,
) -> Accepted {
    let before = Some(head(api, id).await?.state.to_string());
    let deed = Deed { action, subject: id.to_string(), before, after, reason: None };
    accepted(api.service.audited(who, deed, effect).await.map_err(Into::into)?)
}
