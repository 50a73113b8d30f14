//! Conversion between rows and types.

use super::job::{Done, Problem};
use crate::{FoundFile, Run, Sequencer, TrackedFile, TrackingError};
use chrono::{DateTime, SecondsFormat, Utc};
use millwork_manifest::{FileState, ObjectUri};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::str::FromStr;

pub(super) const FILE_COLUMNS: &str = "SELECT uri, date_prefix, size_bytes, etag, version_id, sequencer, status,
    version, manifest_id, reason, quarantine_uri, overwritten_etag, upload_time, updated_at FROM files";
pub(super) const RUN_COLUMNS: &str = "SELECT manifest_id, date_prefix, manifest_uri, status, priority, files, bytes,
    attempts, failures, generation, not_before, cancel_requested, failure, created_at, updated_at, started_at,
    committed_at, ended_at, history, summary FROM runs";

/// Columns of a run in listings, without its attempts.
pub(super) const LISTED_RUN_COLUMNS: &str =
    "SELECT manifest_id, date_prefix, manifest_uri, status, priority, files, bytes,
    attempts, failures, generation, not_before, cancel_requested, failure, created_at, updated_at, started_at,
    committed_at, ended_at, NULL, summary FROM runs INDEXED BY runs_listed";

pub(super) fn collect<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> Done<Vec<T>> {
    Ok(rows.collect::<rusqlite::Result<Vec<T>>>()?)
}

/// Valid rows. Invalid ones are logged and skipped, so that they do not block others.
pub(super) fn readable<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> Done<Vec<T>> {
    let mut read = Vec::new();
    for row in rows {
        match row.map_err(Problem::from) {
            Ok(row) => read.push(row),
            Err(Problem::Ours(error)) => tell_unreadable(&error),
            Err(problem) => return Err(problem),
        }
    }
    Ok(read)
}

/// Logs a row that is skipped.
pub(super) fn tell_unreadable(error: &TrackingError) {
    tracing::error!(%error, "something in the state cannot be read, and is passed over");
}

/// A time in its stored form: texts of equal length, which sort by time.
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
    // The form that `time` writes, for which parsing is many times faster.
    match DateTime::parse_from_rfc3339(row.get_ref(column)?.as_str().unwrap_or_default()) {
        Ok(at) => Ok(at.to_utc()),
        Err(_) => parsed(row, column, "a time"),
    }
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

fn optional_instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<DateTime<Utc>>> {
    let text: Option<String> = row.get(column)?;
    text.map(|_| instant(row, column)).transpose()
}

fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize, what: &'static str) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|e| invalid(column, what, e.to_string()))).transpose()
}

/// A run with its attempts, without its result.
pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        manifest_id: parsed(row, 0, "manifest id")?,
        date: parsed(row, 1, "date")?,
        manifest_uri: row.get(2)?,
        state: parsed(row, 3, "run state")?,
        priority: row.get(4)?,
        files: row.get(5)?,
        bytes: row.get(6)?,
        attempts: row.get(7)?,
        failures: row.get(8)?,
        generation: row.get(9)?,
        not_before: optional_instant(row, 10)?,
        cancel_requested: row.get(11)?,
        failure: from_json(row, 12, "failure")?,
        created_at: instant(row, 13)?,
        updated_at: instant(row, 14)?,
        started_at: optional_instant(row, 15)?,
        committed_at: optional_instant(row, 16)?,
        ended_at: optional_instant(row, 17)?,
        history: from_json(row, 18, "attempts")?.unwrap_or_default(),
        summary: from_json(row, 19, "summary")?,
        result: None,
    })
}

pub(super) fn find_file(c: &Connection, uri: &ObjectUri) -> Done<Option<TrackedFile>> {
    let sql = format!("{FILE_COLUMNS} WHERE uri = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([uri.as_str()], tracked_file).optional()?)
}

/// Adds an entry to a file's timeline.
pub(super) fn note(c: &Connection, uri: &str, state: FileState, detail: Option<&str>, at: &str) -> Done<()> {
    let sql = "INSERT INTO timeline VALUES (?1, ?2, ?3, ?4)";
    c.prepare_cached(sql)?.execute(params![uri, at, state.as_str(), detail])?;
    Ok(())
}

/// Inserts new files in a single statement, since the savepoint overhead per statement would exceed the rest.
pub(super) fn insert_files(
    c: &Connection,
    files: &[(&FoundFile, FileState)],
    manifest_id: Option<&str>,
    now: DateTime<Utc>,
) -> Done<()> {
    if files.is_empty() {
        return Ok(());
    }
    let values = |(file, state): &(&FoundFile, FileState)| {
        json!([
            file.uri.as_str(),
            file.date.map(|date| date.to_string()),
            file.size_bytes,
            file.etag,
            file.version_id,
            file.sequencer.as_ref().map(Sequencer::as_str),
            state.as_str(),
            file.quarantine.map(|reason| reason.as_str()),
        ])
    };
    let rows = serde_json::Value::from_iter(files.iter().map(values)).to_string();
    let now = time(now);
    let sql = "INSERT INTO files SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, 1,
        ?2, value->>7, NULL, NULL, ?3, ?3 FROM json_each(?1)";
    c.prepare_cached(sql)?.execute(params![rows, manifest_id, now])?;
    let sql = "INSERT INTO timeline SELECT value->>0, ?3, value->>6, coalesce(value->>7, ?2) FROM json_each(?1)";
    c.prepare_cached(sql)?.execute(params![rows, manifest_id, now])?;
    Ok(())
}
