//! Time series, and notes of processes.

use super::job::Done;
use super::rows::{collect, instant, readable, time};
use crate::numbers::MAX_NOTES;
use crate::{Note, Sample, Span, TrackingError};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) fn put_sample(c: &Connection, span: Span, sample: &Sample) -> Done<()> {
    let text =
        serde_json::to_string(sample).map_err(|e| TrackingError::Corrupt { what: "sample", value: e.to_string() })?;
    let sql = "INSERT OR REPLACE INTO series VALUES (?1, ?2, ?3)";
    c.prepare_cached(sql)?.execute(params![span.seconds(), sample.at, text])?;
    Ok(())
}

pub(super) fn samples(c: &Connection, span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> Done<Vec<Sample>> {
    let sql = "SELECT sample FROM series WHERE step = ?1 AND at >= ?2 AND at < ?3 ORDER BY at";
    let mut statement = c.prepare_cached(sql)?;
    let texts = statement.query_map(params![span.seconds(), from.timestamp(), to.timestamp()], |row| row.get(0))?;
    let texts: Vec<String> = collect(texts)?;
    // Samples of a later version that cannot be decoded are skipped.
    Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}

pub(super) fn prune(c: &Connection, now: DateTime<Utc>) -> Done<()> {
    for span in Span::ALL {
        let sql = "DELETE FROM series WHERE step = ?1 AND at < ?2";
        c.prepare_cached(sql)?.execute(params![span.seconds(), (now - span.keep()).timestamp()])?;
    }
    c.prepare_cached("DELETE FROM notes WHERE expires_at < ?1")?.execute([time(now)])?;
    Ok(())
}

pub(super) fn put_note(c: &Connection, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> Done<()> {
    let sql = "INSERT OR REPLACE INTO notes VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![kind, note.name, time(note.at), note.value.to_string(), time(expires_at)];
    c.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

pub(super) fn notes(c: &Connection, kind: &str, now: DateTime<Utc>) -> Done<Vec<Note>> {
    let sql = "SELECT name, at, value FROM notes WHERE kind = ?1 AND expires_at >= ?2 ORDER BY name LIMIT ?3";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map(params![kind, time(now), MAX_NOTES as i64], of_row)?;
    readable(rows)
}

pub(super) fn note(c: &Connection, kind: &str, name: &str, now: DateTime<Utc>) -> Done<Option<Note>> {
    let sql = "SELECT name, at, value FROM notes WHERE kind = ?1 AND name = ?2 AND expires_at >= ?3";
    Ok(c.prepare_cached(sql)?.query_row(params![kind, name, time(now)], of_row).optional()?)
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Note> {
    let value: String = row.get(2)?;
    let value = serde_json::from_str(&value).unwrap_or(serde_json::Value::Null);
    Ok(Note { name: row.get(0)?, at: instant(row, 1)?, value })
}
