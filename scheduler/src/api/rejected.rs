//! Rejected lines of a run, read from their file in bounded pieces.

use super::Api;
use super::error::ApiError;
use super::extract::{Path, Query};
use super::run_detail::known;
use crate::commit::RunResult;
use axum::Json;
use axum::extract::State;
use millwork_api::{ErrorBody, ErrorCode, RejectedLine, RejectedLines, RejectedQuery};
use millwork_manifest::{ManifestId, ObjectUri};
use millwork_storage::{ObjectReader, Objects, Storage, bucket_and_key, open_inside};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

/// Bytes read for a page: 256 KiB. A longer record, of at most about 2 MiB, is read by itself.
const PIECE: u64 = 256 << 10;
/// Limit of the bytes read for one record; no record is longer.
const LONGEST: u64 = 4 << 20;
/// Limit of the lines on a page.
const LINES: usize = 50;
/// Time limit for storage.
const TIME: Duration = Duration::from_secs(10);

/// A page of lines, starting at the byte offset of a record.
struct Piece {
    lines: Vec<RejectedLine>,
    next: Option<u64>,
}

/// Shows the rejected lines of a committed run, a piece of its file of rejected lines at a time.
#[utoipa::path(get, path = "/api/v1/runs/{id}/rejected", tag = "runs",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$"), RejectedQuery), responses(
    (status = 200, description = "A piece of the lines", body = RejectedLines),
    (status = 400, description = "`bad-query`", body = ErrorBody),
    (status = 404, description = "`no-such-run`", body = ErrorBody)
))]
pub(super) async fn list_rejected(
    State(api): State<Api>,
    Path(id): Path<ManifestId>,
    Query(query): Query<RejectedQuery>,
) -> Result<Json<RejectedLines>, ApiError> {
    let from = query.from.unwrap_or(0);
    if i64::try_from(from).is_err() {
        return Err(ApiError::new(ErrorCode::BadQuery, format!("`from` is {from}; the limit is {}", i64::MAX)));
    }
    let result = RunResult::of(&known(&api, &id).await?)?.unwrap_or_default();
    let place = result.rejected_lines;
    Ok(Json(load_rejected(&api, place, result.rejected, from).await?))
}

/// Loads rejected lines, from a byte offset of their file.
pub(crate) async fn load_rejected(
    api: &Api,
    place: Option<String>,
    all: u64,
    from: u64,
) -> Result<RejectedLines, ApiError> {
    let Some(place) = place else {
        return Ok(RejectedLines { place, all, items: Vec::new(), next: None });
    };
    let uri: ObjectUri = place.parse().map_err(|error| ApiError::new(ErrorCode::Bug, format!("`{place}`: {error}")))?;
    let late = || ApiError::new(ErrorCode::Storage, format!("`{place}` was not read within {} s", TIME.as_secs()));
    let read = read(api.service.storage().clone(), uri, from);
    let read = tokio::time::timeout(TIME, read).await.map_err(|_| late())?;
    let piece = read.map_err(|error| {
        ApiError::new(ErrorCode::Storage, format!("the rejected lines in `{place}` cannot be read: {error}"))
    })?;
    Ok(RejectedLines { place: Some(place), all, items: piece.lines, next: piece.next })
}

async fn read(storage: Storage, uri: ObjectUri, from: u64) -> io::Result<Piece> {
    let object = storage.head(&uri).await.map_err(io::Error::other)?;
    let size = object.size_bytes;
    // An offset beyond the end gives an empty page.
    let from = from.min(size);
    let blocking = move || {
        let mut end = from.saturating_add(PIECE).min(size);
        let mut text = range(&storage, &uri, &object.etag, from, end, size)?;
        if end < size && !text.contains(&b'\n') {
            end = from.saturating_add(LONGEST).min(size);
            text = range(&storage, &uri, &object.etag, from, end, size)?;
        }
        Ok(piece_of(&text, from, size))
    };
    tokio::task::spawn_blocking(blocking).await.map_err(io::Error::other)?
}

fn range(storage: &Storage, uri: &ObjectUri, etag: &str, from: u64, end: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let length = end.saturating_sub(from);
    if bucket_and_key(uri).is_some() {
        ObjectReader::open(storage, uri, etag, from..end.max(from), size)?.take(length).read_to_end(&mut text)?;
    } else {
        let mut file = open_inside(uri, None).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(from))?;
        file.take(length).read_to_end(&mut text)?;
    }
    Ok(text)
}

/// Parses the complete records in a text; invalid ones are skipped.
fn piece_of(text: &[u8], from: u64, size: u64) -> Piece {
    let (mut lines, mut read) = (Vec::new(), 0);
    for record in text.split_inclusive(|byte| *byte == b'\n') {
        let is_whole = record.ends_with(b"\n") || from + (read + record.len()) as u64 == size;
        if !is_whole || lines.len() == LINES {
            break;
        }
        read += record.len();
        // Field names of the records are those of the API type.
        lines.extend(serde_json::from_slice::<RejectedLine>(record));
    }
    let next = from + read as u64;
    Piece { lines, next: (read > 0 && next < size).then_some(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: u64) -> String {
        format!(
            "{{\"source_file\":\"s3://b/k\",\"line\":{line},\"offset\":0,\"length\":3,\"reason\":\"malformed\",\"message\":\"m\",\"raw\":\"x\"}}\n"
        )
    }

    #[test]
    fn pages_give_each_record_once() {
        let text: String = (1..=120).map(record).collect();
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let rest = &text.as_bytes()[from as usize..];
            let piece = piece_of(&rest[..rest.len().min(9_000)], from, text.len() as u64);
            seen.extend(piece.lines.iter().map(|line| line.line));
            match piece.next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(seen, (1..=120).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_record_does_not_hold_up_the_others() {
        let text = format!("no record\n{}", record(7));
        let piece = piece_of(text.as_bytes(), 0, text.len() as u64);
        assert!(piece.lines.len() == 1 && piece.next.is_none());
        assert!(piece_of(b"", 99, 10).next.is_none());
    }
}
