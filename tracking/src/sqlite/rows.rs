//! Rows, and the types they stand for.

use super::worker::Done;
use crate::{FoundFile, Run, Sequencer, TrackedFile, TrackingError};
use chrono::{DateTime, SecondsFormat, Utc};
use millwork_manifest::{FileState, ObjectUri};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::str::FromStr;

pub(super) const FILE_COLUMNS: &str = "SELECT uri, date_prefix, size_bytes, etag, version_id, sequencer, status,
    version, manifest_id, reason, quarantine_uri, overwritten_etag, upload_time, updated_at FROM files";
pub(super) const RUN_COLUMNS: &str = "SELECT r.manifest_id, r.date_prefix, r.manifest_uri, r.status, r.attempts,
    r.failure, r.created_at, r.updated_at, c.result FROM runs r LEFT JOIN commits c USING (manifest_id)";

pub(super) fn collect<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> Done<Vec<T>> {
    Ok(rows.collect::<rusqlite::Result<Vec<T>>>()?)
}

/// A time as it is stored: texts of the same length, so that their order is that of time.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn invalid(column: usize, what: &'static str, value: String) -> rusqlite::Error {
    let error = TrackingError::Corrupt { what, value };
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

pub(super) fn parsed<T: FromStr>(row: &Row<'_>, column: usize, what: &'static str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| invalid(column, what, text))
}

pub(super) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<DateTime<Utc>> {
    parsed(row, column, "a time")
}

pub(super) fn tracked_file(row: &Row<'_>) -> rusqlite::Result<TrackedFile> {
    let (date, sequencer): (Option<String>, Option<String>) = (row.get(1)?, row.get(5)?);
    Ok(TrackedFile {
        uri: parsed(row, 0, "object URI")?,
        date: date.and_then(|date| date.parse().ok()),
        size_bytes: row.get(2)?,
        etag: row.get(3)?,
        version_id: row.get(4)?,
        sequencer: sequencer.as_deref().map(Sequencer::new),
        state: parsed(row, 6, "file state")?,
        version: row.get(7)?,
        manifest_id: row.get(8)?,
        reason: row.get(9)?,
        quarantine_uri: row.get(10)?,
        overwritten_etag: row.get(11)?,
        arrived_at: instant(row, 12)?,
        updated_at: instant(row, 13)?,
    })
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let json = |column| -> rusqlite::Result<Option<serde_json::Value>> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|e| invalid(column, "a document", e.to_string())))
            .transpose()
    };
    Ok(Run {
        manifest_id: parsed(row, 0, "manifest id")?,
        date: parsed(row, 1, "date")?,
        manifest_uri: row.get(2)?,
        state: parsed(row, 3, "run state")?,
        attempts: row.get(4)?,
        failure: json(5)?.and_then(|value| serde_json::from_value(value).ok()),
        created_at: instant(row, 6)?,
        updated_at: instant(row, 7)?,
        result: json(8)?,
    })
}

pub(super) fn find_file(c: &Connection, uri: &ObjectUri) -> Done<Option<TrackedFile>> {
    let sql = format!("{FILE_COLUMNS} WHERE uri = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([uri.as_str()], tracked_file).optional()?)
}

/// Adds to a file's timeline.
pub(super) fn note(c: &Connection, uri: &str, state: FileState, detail: Option<&str>, at: &str) -> Done<()> {
    let sql = "INSERT INTO timeline VALUES (?1, ?2, ?3, ?4)";
    c.prepare_cached(sql)?.execute(params![uri, at, state.as_str(), detail])?;
    Ok(())
}

/// Remembers a file that was not known.
pub(super) fn insert_file(
    c: &Connection,
    file: &FoundFile,
    state: FileState,
    manifest_id: Option<&str>,
    now: DateTime<Utc>,
) -> Done<()> {
    let reason = file.quarantine.map(|reason| reason.as_str());
    let now = time(now);
    let sql = "INSERT INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9, NULL, NULL, ?10, ?10)";
    c.prepare_cached(sql)?.execute(params![
        file.uri.as_str(),
        file.date.map(|date| date.to_string()),
        file.size_bytes,
        file.etag,
        file.version_id,
        file.sequencer.as_ref().map(Sequencer::as_str),
        state.as_str(),
        manifest_id,
        reason,
        now
    ])?;
    note(c, file.uri.as_str(), state, reason.or(manifest_id), &now)
}
