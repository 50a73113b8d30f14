//! Files that were refused on arrival.

use super::Api;
use super::error::ApiError;
use super::extract::{Limit, Page, Query};
use super::files::File;
use axum::Json;
use axum::extract::State;
use millwork_manifest::{DatePrefix, FileState};
use millwork_tracking::FileFilter;
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct QuarantineQuery {
    /// Only files of this date.
    #[param(value_type = String, format = Date, required = false)]
    date: Option<DatePrefix>,
    /// How many files at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// Lists the files that were refused, with the reason (`bad-extension`, `too-small`, `too-large`, `no-date`,
/// `missing-object`) and where they were moved to.
#[utoipa::path(get, path = "/api/v1/quarantine", tag = "files", params(QuarantineQuery), responses(
    (status = 200, description = "A page of files", body = Page<File>)
))]
pub(super) async fn list_quarantine(
    State(api): State<Api>,
    Query(query): Query<QuarantineQuery>,
) -> Result<Json<Page<File>>, ApiError> {
    let filter = FileFilter {
        state: Some(FileState::Quarantined),
        date: query.date,
        limit: query.limit.0,
        cursor: query.cursor,
    };
    Ok(Json(Page::from(api.service.store().list_files(&filter).await?)))
}
