//! Files that were refused on arrival.

use super::Api;
use super::error::ApiError;
use super::extract::Query;
use super::show;
use axum::Json;
use axum::extract::State;
use millwork_api::{File, Page, QuarantineQuery};
use millwork_manifest::FileState;
use millwork_tracking::FileFilter;

/// Lists the files that were refused, with the reason (`bad-extension`, `too-small`, `too-large`, `no-date`,
/// `missing-object`) and where they were moved to.
#[utoipa::path(get, path = "/api/v1/quarantine", tag = "files", params(QuarantineQuery), responses(
    (status = 200, description = "A page of files", body = Page<File>)
))]
pub(super) async fn list_quarantine(
    State(api): State<Api>,
    Query(query): Query<QuarantineQuery>,
) -> Result<Json<Page<File>>, ApiError> {
    Ok(Json(load_quarantine(&api, query).await?))
}

/// Loads a page of refused files.
async fn load_quarantine(api: &Api, query: QuarantineQuery) -> Result<Page<File>, ApiError> {
    let filter = FileFilter {
        state: Some(FileState::Quarantined),
        date: query.date,
        limit: query.limit.0,
        cursor: query.cursor,
        ..FileFilter::default()
    };
    Ok(show::page(api.service.store().list_files(&filter).await?, show::file))
}
