//! Files and their lives.

use super::Api;
use super::error::{ApiError, ErrorBody};
use super::extract::{Limit, Page, Query};
use super::words;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, ObjectUri};
use millwork_tracking::{FileFilter, TimelineEntry, TrackedFile};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A file as it is remembered.
#[derive(Serialize, ToSchema)]
pub(super) struct File {
    /// Where it is.
    uri: String,
    /// Its date; one that has none is quarantined.
    #[schema(value_type = Option<String>, format = Date, required)]
    date: Option<DatePrefix>,
    /// Its size when it was last looked at.
    size_bytes: u64,
    /// Its entity tag then.
    etag: String,
    /// Its version then, in a bucket that keeps versions.
    #[schema(required)]
    version_id: Option<String>,
    #[schema(schema_with = words::file_state)]
    pub(super) state: FileState,
    /// The manifest it is in.
    #[schema(required)]
    pub(super) manifest_id: Option<String>,
    /// Why it is quarantined, or why it failed.
    #[schema(required)]
    pub(super) reason: Option<String>,
    /// Where it was moved to when it was quarantined.
    #[schema(required)]
    quarantine_uri: Option<String>,
    /// The entity tag of newer content that was seen when the file was no longer pending.
    #[schema(required)]
    overwritten_etag: Option<String>,
    /// When it was first seen.
    arrived_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
}

impl From<TrackedFile> for File {
    fn from(file: TrackedFile) -> Self {
        Self {
            uri: file.uri.to_string(),
            date: file.date,
            size_bytes: file.size_bytes,
            etag: file.etag,
            version_id: file.version_id,
            state: file.state,
            manifest_id: file.manifest_id,
            reason: file.reason,
            quarantine_uri: file.quarantine_uri,
            overwritten_etag: file.overwritten_etag,
            arrived_at: file.arrived_at,
            updated_at: file.updated_at,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FileQuery {
    /// Only files in this state.
    #[param(schema_with = words::file_state, required = false)]
    status: Option<FileState>,
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

/// Lists files: those of one state in the order of arrival, others in any order.
#[utoipa::path(get, path = "/api/v1/files", tag = "files", params(FileQuery), responses(
    (status = 200, description = "A page of files", body = Page<File>)
))]
pub(super) async fn list_files(
    State(api): State<Api>,
    Query(query): Query<FileQuery>,
) -> Result<Json<Page<File>>, ApiError> {
    let filter = FileFilter { state: query.status, date: query.date, limit: query.limit.0, cursor: query.cursor };
    Ok(Json(Page::from(api.service.store().list_files(&filter).await?)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UriQuery {
    /// Where the file is: `s3://BUCKET/KEY`, `file:///PATH`, or an absolute path.
    #[param(value_type = String, example = "s3://in/2025-12-23-file001.ndjson")]
    pub(super) uri: ObjectUri,
}

/// A file with its timeline.
#[derive(Serialize, ToSchema)]
pub(super) struct FileDetail {
    #[serde(flatten)]
    file: File,
    /// Its states so far, oldest first.
    timeline: Vec<FileMoment>,
}

/// A change in a file's life.
#[derive(Serialize, ToSchema)]
struct FileMoment {
    /// When it changed.
    at: DateTime<Utc>,
    #[schema(schema_with = words::file_state)]
    state: FileState,
    /// What there is to say of it: the manifest, a reason.
    #[schema(required)]
    detail: Option<String>,
}

impl From<TimelineEntry> for FileMoment {
    fn from(entry: TimelineEntry) -> Self {
        Self { at: entry.at, state: entry.state, detail: entry.detail }
    }
}

/// One file, with its timeline.
#[utoipa::path(get, path = "/api/v1/files/by-uri", tag = "files", params(UriQuery), responses(
    (status = 200, description = "The file", body = FileDetail),
    (status = 404, description = "`no-such-file`", body = ErrorBody)
))]
pub(super) async fn get_file(
    State(api): State<Api>,
    Query(UriQuery { uri }): Query<UriQuery>,
) -> Result<Json<FileDetail>, ApiError> {
    let store = api.service.store();
    let found = store.files(std::slice::from_ref(&uri)).await?.into_iter().next().flatten();
    let file = found.ok_or_else(|| ApiError::not_found("no-such-file", format!("no file `{uri}` is known")))?;
    let timeline = store.timeline(&uri).await?;
    Ok(Json(FileDetail { file: file.into(), timeline: timeline.into_iter().map(Into::into).collect() }))
}
