//! Rejected lines of a run, read from where they were written: a bounded piece at a time.

use super::asked::Asked;
use crate::api::ApiError;
use millwork_api::{ErrorCode, RunDetail};
use millwork_manifest::ObjectUri;
use millwork_storage::{ObjectReader, Objects, Storage, bucket_and_key, path_of};
use millwork_ui::Markup;
use millwork_ui::pages::rejected::{RejectedLine, RejectedPage, page};
use millwork_ui::pages::run::Tab;
use serde::Deserialize;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

/// Bytes that are read for a page. A record that is longer, at most about 2 MiB, is read alone.
const PIECE: u64 = 256 << 10;
/// Bytes of one record that are read at most: more than any has.
const LONGEST: u64 = 4 << 20;
/// Lines on a page.
const LINES: usize = 50;
/// Time that storage may take.
const TIME: Duration = Duration::from_secs(10);

/// A record, as the conversion writes it.
#[derive(Deserialize)]
struct Record {
    source_file: String,
    line: u64,
    offset: u64,
    length: u64,
    reason: String,
    message: String,
    raw: Option<String>,
    raw_base64: Option<String>,
}

/// The lines from a byte on, which is that of a record's beginning.
struct Piece {
    lines: Vec<RejectedLine>,
    next: Option<u64>,
}

/// The part of a run's page with its rejected lines; none, if there are no such.
pub(super) async fn part(asked: &Asked, run: &RunDetail) -> Result<Option<Markup>, ApiError> {
    let Some((place, all)) =
        run.result.as_ref().and_then(|result| Some((result.rejected_lines.clone()?, result.rejected)))
    else {
        return Ok(None);
    };
    let from = asked.parse::<u64>("from")?.unwrap_or(0);
    let uri: ObjectUri = place.parse().map_err(|error| ApiError::new(ErrorCode::Bug, format!("`{place}`: {error}")))?;
    let late = || ApiError::new(ErrorCode::Storage, format!("`{place}` was not read within {} s", TIME.as_secs()));
    let read = tokio::time::timeout(TIME, read(uri, from)).await.map_err(|_| late())?;
    let piece = read.map_err(|error| {
        ApiError::new(ErrorCode::Storage, format!("the rejected lines in `{place}` cannot be read: {error}"))
    })?;
    let path = Tab::Rejected.path(run.run.manifest_id.as_str());
    let next = piece.next.map(|next| format!("{path}?from={next}"));
    let first = (from > 0).then_some(path.as_str());
    Ok(Some(page(&RejectedPage { place: &place, all, lines: &piece.lines, next: next.as_deref(), first })))
}

async fn read(uri: ObjectUri, from: u64) -> io::Result<Piece> {
    let object = Storage::from_env().head(&uri).await.map_err(io::Error::other)?;
    let size = object.size_bytes;
    // Beyond the end, there is nothing more to show.
    let from = from.min(size);
    let blocking = move || {
        let mut end = from.saturating_add(PIECE).min(size);
        let mut text = range(&uri, &object.etag, from, end, size)?;
        if end < size && !text.contains(&b'\n') {
            end = from.saturating_add(LONGEST).min(size);
            text = range(&uri, &object.etag, from, end, size)?;
        }
        Ok(piece_of(&text, from, size))
    };
    tokio::task::spawn_blocking(blocking).await.map_err(io::Error::other)?
}

fn range(uri: &ObjectUri, etag: &str, from: u64, end: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let length = end.saturating_sub(from);
    if bucket_and_key(uri).is_some() {
        ObjectReader::open(uri, etag, from..end.max(from), size)?.take(length).read_to_end(&mut text)?;
    } else {
        let mut file = std::fs::File::open(path_of(uri).map_err(io::Error::other)?)?;
        file.seek(SeekFrom::Start(from))?;
        file.take(length).read_to_end(&mut text)?;
    }
    Ok(text)
}

/// The records that are whole in a text; one that is none is passed over.
fn piece_of(text: &[u8], from: u64, size: u64) -> Piece {
    let (mut lines, mut read) = (Vec::new(), 0);
    for record in text.split_inclusive(|byte| *byte == b'\n') {
        let is_whole = record.ends_with(b"\n") || from + (read + record.len()) as u64 == size;
        if !is_whole || lines.len() == LINES {
            break;
        }
        read += record.len();
        if let Ok(record) = serde_json::from_slice::<Record>(record) {
            lines.push(RejectedLine {
                file: record.source_file,
                line: record.line,
                offset: record.offset,
                length: record.length,
                reason: record.reason,
                message: record.message,
                raw: record.raw,
                base64: record.raw_base64,
            });
        }
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
