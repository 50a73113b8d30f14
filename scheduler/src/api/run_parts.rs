//! Parts of a run that grow with its files, in pages.

use super::Api;
use super::error::ApiError;
use super::extract::{Path, Query, part_of};
use super::run_detail::known;
use super::show;
use crate::commit::RunResult;
use axum::Json;
use axum::extract::State;
use millwork_api::{ErrorBody, LedgerEntry, Page, PartQuery, RunFile};
use millwork_manifest::ManifestId;

/// Lists the files of a run's manifest, in its order, each with the state it is in now.
#[utoipa::path(get, path = "/api/v1/runs/{id}/files", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$"), PartQuery), responses(
    (status = 200, description = "A page of files", body = Page<RunFile>),
    (status = 404, description = "`no-such-manifest`", body = ErrorBody)
))]
pub(super) async fn list_run_files(
    State(api): State<Api>,
    Path(id): Path<ManifestId>,
    Query(query): Query<PartQuery>,
) -> Result<Json<Page<RunFile>>, ApiError> {
    Ok(Json(load_run_files(&api, &id, query).await?))
}

/// Loads a page of a run's files.
pub(crate) async fn load_run_files(api: &Api, id: &ManifestId, query: PartQuery) -> Result<Page<RunFile>, ApiError> {
    let manifest = api.manifest(id).await?;
    let (files, next_cursor) = part_of(&manifest.files, query.cursor.as_deref(), query.limit.0)?;
    let uris: Vec<_> = files.iter().map(|file| file.uri.clone()).collect();
    let tracked = api.service.store().files(&uris).await?;
    let items = files.iter().zip(tracked).map(|(file, tracked)| show::run_file(file, tracked)).collect();
    Ok(Page { items, next_cursor })
}

/// Lists what became of each file of a run. Empty until the run is committed.
#[utoipa::path(get, path = "/api/v1/runs/{id}/ledger", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$"), PartQuery), responses(
    (status = 200, description = "A page of files", body = Page<LedgerEntry>),
    (status = 404, description = "`no-such-run`", body = ErrorBody)
))]
pub(super) async fn list_run_ledger(
    State(api): State<Api>,
    Path(id): Path<ManifestId>,
    Query(query): Query<PartQuery>,
) -> Result<Json<Page<LedgerEntry>>, ApiError> {
    Ok(Json(load_run_ledger(&api, &id, query).await?))
}

/// Loads a page of a run's ledger.
pub(crate) async fn load_run_ledger(
    api: &Api,
    id: &ManifestId,
    query: PartQuery,
) -> Result<Page<LedgerEntry>, ApiError> {
    let result = RunResult::of(&known(api, id).await?)?.unwrap_or_default();
    let (files, next_cursor) = part_of(&result.ledger, query.cursor.as_deref(), query.limit.0)?;
    Ok(Page { items: files.iter().map(show::ledger_entry).collect(), next_cursor })
}
