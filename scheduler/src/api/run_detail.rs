//! Details of a run, without the parts that grow with its files.

use super::Api;
use super::error::ApiError;
use super::extract::Path;
use super::show;
use crate::commit::RunResult;
use axum::Json;
use axum::extract::State;
use millwork_api::{ErrorBody, ErrorCode, RunDetail};
use millwork_manifest::ManifestId;

/// Run by its id: its attempts, its timeline, what it produced, and how far it is.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")),
    responses(
        (status = 200, description = "The run", body = RunDetail),
        (status = 404, description = "`no-such-run`", body = ErrorBody)
    ))]
pub(super) async fn get_run(State(api): State<Api>, Path(id): Path<ManifestId>) -> Result<Json<RunDetail>, ApiError> {
    Ok(Json(load_run(&api, &id).await?))
}

/// Loads the details of a run.
pub(crate) async fn load_run(api: &Api, id: &ManifestId) -> Result<RunDetail, ApiError> {
    let run = known(api, id).await?;
    // The leader may still have progress of an attempt shortly after the run has ended.
    let progress = match api.service.leader().filter(|_| !run.state.is_final()) {
        Some(scheduler) => scheduler.progress(id).await,
        None => None,
    };
    Ok(RunDetail {
        timeline: show::timeline(&run),
        result: RunResult::of(&run)?.map(show::output),
        history: run.history.iter().cloned().map(show::attempt).collect(),
        run: show::run(run),
        progress,
    })
}

/// Loads a run without its result.
pub(super) async fn head(api: &Api, id: &ManifestId) -> Result<millwork_tracking::Run, ApiError> {
    api.service.store().run_head(id).await?.ok_or_else(|| no_such_run(id))
}

fn no_such_run(id: &ManifestId) -> ApiError {
    ApiError::new(ErrorCode::NoSuchRun, format!("no run of manifest `{id}`"))
}

/// Loads a run with its result.
pub(super) async fn known(api: &Api, id: &ManifestId) -> Result<millwork_tracking::Run, ApiError> {
    let run = api.service.store().run(id).await?;
    run.ok_or_else(|| no_such_run(id))
}
