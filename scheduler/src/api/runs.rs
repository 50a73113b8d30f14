//! Listings of runs.

use super::Api;
use super::cursor;
use super::error::ApiError;
use super::extract::Query;
use super::show;
use crate::select;
use axum::Json;
use axum::extract::State;
use millwork_api::{Page, Run, RunQuery};

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

/// Loads a page of runs.
pub(crate) async fn load_runs(api: &Api, query: RunQuery) -> Result<Page<Run>, ApiError> {
    let list = cursor::mark(&query)?;
    let from = cursor::open(&list, query.cursor.as_deref())?;
    let page = select::runs(&**api.service.store(), &query, query.limit.0, from).await?;
    let page = show::page(page, show::run);
    Ok(Page { next_cursor: cursor::seal(&list, page.next_cursor), ..page })
}
