//! What of a run grows with its files: in pages.

use super::Api;
use super::error::{ApiError, ErrorBody};
use super::extract::{Limit, Page, Path, Query, part_of};
use super::files::File;
use super::run_detail::{known, result_of};
use super::words;
use axum::Json;
use axum::extract::State;
use millwork_conversion::FileLedger;
use millwork_manifest::{FileState, ManifestFile, ManifestId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PartQuery {
    /// How many files at most. Each page costs as much as reading the whole manifest or ledger.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 10000, default = 100, required = false)]
    limit: Limit<10_000>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// A file of a manifest.
#[derive(Serialize, ToSchema)]
pub(super) struct RunFile {
    /// Where it is.
    uri: String,
    /// The size it must have, if the manifest tells.
    #[schema(required)]
    size_bytes: Option<u64>,
    /// The entity tag it must have, if the manifest tells.
    #[schema(required)]
    etag: Option<String>,
    /// Where it is in its life now; null if the store has forgotten it.
    #[schema(schema_with = words::optional_file_state)]
    #[schema(required)]
    state: Option<FileState>,
    /// The manifest it is in now: another one if this run failed and the file was put in a newer manifest.
    #[schema(required)]
    manifest_id: Option<String>,
    /// Why it failed.
    #[schema(required)]
    reason: Option<String>,
}

impl RunFile {
    fn new(file: &ManifestFile, tracked: Option<millwork_tracking::TrackedFile>) -> Self {
        let tracked = tracked.map(File::from);
        let (state, manifest_id, reason) = match tracked {
            Some(file) => (Some(file.state), file.manifest_id, file.reason),
            None => (None, None, None),
        };
        Self {
            uri: file.uri.to_string(),
            size_bytes: file.size_bytes,
            etag: file.etag.clone(),
            state,
            manifest_id,
            reason,
        }
    }
}

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
    let manifest = api.manifest(&id).await?;
    let (files, next_cursor) = part_of(&manifest.files, query.cursor.as_deref(), query.limit.0)?;
    let uris: Vec<_> = files.iter().map(|file| file.uri.clone()).collect();
    let tracked = api.service.store().files(&uris).await?;
    let items = files.iter().zip(tracked).map(|(file, tracked)| RunFile::new(file, tracked)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// What became of one file: lines = rows + rejected + blank.
#[derive(Serialize, ToSchema)]
pub(super) struct LedgerEntry {
    /// The file.
    uri: String,
    /// Its stored size.
    size_bytes: u64,
    /// Lines seen.
    lines: u64,
    /// Lines that became rows.
    rows: u64,
    /// Lines that were rejected.
    rejected: u64,
    /// Lines of white space only.
    blank: u64,
    /// Lone surrogates and bytes that are not UTF-8, replaced by U+FFFD.
    replaced_characters: u64,
}

impl From<&FileLedger> for LedgerEntry {
    fn from(file: &FileLedger) -> Self {
        Self {
            uri: file.uri.clone(),
            size_bytes: file.size_bytes,
            lines: file.lines,
            rows: file.rows,
            rejected: file.rejected,
            blank: file.blank,
            replaced_characters: file.replaced_characters,
        }
    }
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
    let result = result_of(&known(&api, &id).await?)?.unwrap_or_default();
    let (files, next_cursor) = part_of(&result.ledger, query.cursor.as_deref(), query.limit.0)?;
    Ok(Json(Page { items: files.iter().map(Into::into).collect(), next_cursor }))
}
