//! Previews of file contents, to show what is wrong with a file.

use super::Api;
use super::error::ApiError;
use super::extract::Query;
use crate::access::Caller;
use axum::Json;
use axum::extract::{Extension, State};
use millwork_api::{ErrorBody, ErrorCode, FilePreview, PreviewLine, PreviewQuery};
use millwork_conversion::{Preview, preview};
use millwork_manifest::{Compression, FileState, ObjectUri};
use millwork_storage::{Located, Places, Storage, StorageResult};
use millwork_tracking::TrackedFile;
use std::io::ErrorKind;
use std::time::Duration;

/// Time limit for storage, in seconds: 10. The work itself stops a second earlier.
const TIME: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(9);

/// Piece of a file that is known, from where it stands now: a quarantined one from where it was moved to. Each line is judged as a
/// conversion would. A compressed file can be read so for 16 MiB of its content.
#[utoipa::path(get, path = "/api/v1/files/preview", tag = "files", params(PreviewQuery), responses(
    (status = 200, description = "The piece", body = FilePreview),
    (status = 404, description = "`no-such-file`: no such file is known, or it is not there any more", body = ErrorBody),
    (status = 503, description = "`storage`: the object cannot be read", body = ErrorBody)
))]
pub(super) async fn get_preview(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<PreviewQuery>,
) -> Result<Json<FilePreview>, ApiError> {
    Ok(Json(load_preview(&api, &caller, query).await?))
}

/// Loads a piece of a file.
pub(crate) async fn load_preview(
    api: &Api,
    caller: &Caller,
    PreviewQuery { uri, from }: PreviewQuery,
) -> Result<FilePreview, ApiError> {
    let known = api.service.store().files(std::slice::from_ref(&uri)).await?.into_iter().next().flatten();
    let file = known.ok_or_else(|| ApiError::new(ErrorCode::NoSuchFile, format!("no file `{uri}` is known")))?;
    let candidates = places_of(api, &file);
    let compression = Compression::of_key(uri.as_str()).unwrap_or(Compression::None);
    let (permit, storage) = (api.heavy(caller).await?, api.service.storage().clone());
    let work = tokio::task::spawn_blocking(move || {
        // Held until the work is over, even if the client has gone.
        let _permit = permit;
        let found = first_there(&storage, candidates)?;
        let piece = preview(&storage, &found, compression, from, PATIENCE);
        StorageResult::Ok((found, piece))
    });
    let failed = |error: String| ApiError::new(ErrorCode::Storage, error);
    let late = || failed(format!("`{uri}` was not read within {} s: ask again", TIME.as_secs()));
    let done = tokio::time::timeout(TIME, work).await.map_err(|_| late())?;
    let done = done.map_err(|error| ApiError::new(ErrorCode::Bug, error))?;
    let (found, piece) = done.map_err(|error| match error.source.kind() {
        // The file is gone, or can never be shown, so that a retry does not help.
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::Unsupported => ApiError::new(ErrorCode::NoSuchFile, error),
        _ => failed(error.to_string()),
    })?;
    Ok(said(&found, piece))
}

/// Objects that the file may be, the likeliest first, each with its allowed places.
fn places_of(api: &Api, file: &TrackedFile) -> Vec<(ObjectUri, Places)> {
    let moved = file.quarantine_uri.as_deref().filter(|_| file.state == FileState::Quarantined);
    let moved = moved.and_then(|uri| uri.parse().ok()).map(|uri| (uri, api.service.quarantine()));
    let came = (file.uri.clone(), api.service.places().convertible());
    moved.into_iter().chain([came]).collect()
}

/// The first object that exists; if none does, the error for the first.
fn first_there(storage: &Storage, candidates: Vec<(ObjectUri, Places)>) -> StorageResult<Located> {
    let mut first = None;
    for (uri, places) in candidates {
        match storage.heads_blocking(vec![uri], Some(&places))?.pop() {
            Some(Ok(found)) => return Ok(found),
            Some(Err(error)) => first = first.or(Some(error)),
            None => {}
        }
    }
    Err(first.unwrap_or_else(|| millwork_storage::StorageError {
        operation: "find",
        object: "a file without an address".to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    }))
}

fn said(found: &Located, piece: Preview) -> FilePreview {
    let line = |line: millwork_conversion::PreviewLine| {
        let (reason, message) = line.defect.map(|(reason, message)| (reason.as_str().to_owned(), message)).unzip();
        PreviewLine {
            offset: line.offset,
            length: line.length,
            text: line.text,
            cut_before: line.cut_before,
            reason,
            message,
        }
    };
    FilePreview {
        uri: found.object.uri.to_string(),
        size_bytes: found.object.size_bytes,
        other_format: piece.other_format,
        lines: piece.lines.into_iter().map(line).collect(),
        next: piece.next,
        trouble: piece.trouble,
    }
}
