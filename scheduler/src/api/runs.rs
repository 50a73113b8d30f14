//! Runs, as listings show them.

use super::Api;
use super::error::ApiError;
use super::extract::Query;
use super::show;
use axum::Json;
use axum::extract::State;
use millwork_api::{Page, Run, RunQuery};
use millwork_tracking::RunFilter;

/// Lists runs, the newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(RunQuery), responses(
    (status = 200, description = "A page of runs", body = Page<Run>)
))]
pub(super) async fn list_runs(
    State(api): State<Api>,
    Query(query): Query<RunQuery>,
) -> Result<Json<Page<Run>>, ApiError> {
    Ok(Json(load_runs(&api, query).await?))
}

/// A page of runs.
pub(crate) async fn load_runs(api: &Api, query: RunQuery) -> Result<Page<Run>, ApiError> {
    let filter = RunFilter {
        state: one_of("state", query.state.words())?,
        date: query.date,
        failure_class: one_of("failure_class", query.failure_class.words())?,
        limit: query.limit.0,
        cursor: query.cursor,
    };
    Ok(show::page(api.service.store().list_runs(&filter).await?, show::run))
}

/// The one word that a listing is narrowed to, if it is.
pub(super) fn one_of<T: Copy>(name: &str, words: &[T]) -> Result<Option<T>, ApiError> {
    match words {
        [] => Ok(None),
        [word] => Ok(Some(*word)),
        _ => {
            let message = format!("{name}: {} are named; this listing takes one", words.len());
            Err(ApiError::new(millwork_api::ErrorCode::BadQuery, message))
        }
    }
}
