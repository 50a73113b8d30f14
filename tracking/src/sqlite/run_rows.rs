//! Rows of runs: found, due, open and saved.

use super::job::Done;
use super::rows::{RUN_COLUMNS, readable, run as run_of_row, time};
use crate::{Run, RunSummary, TrackingError, life};
use chrono::{DateTime, Utc};
use millwork_manifest::ManifestId;
use rusqlite::{Connection, OptionalExtension, params};

/// A run with its attempts.
pub(super) fn find(c: &Connection, id: &ManifestId) -> Done<Option<Run>> {
    let sql = format!("{RUN_COLUMNS} WHERE manifest_id = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([id.as_str()], run_of_row).optional()?)
}

/// A run that must exist.
pub(super) fn known(c: &Connection, id: &ManifestId) -> Done<Run> {
    find(c, id)?.ok_or_else(|| life::unknown(id).into())
}

pub(super) fn due(c: &Connection, limit: usize, now: DateTime<Utc>) -> Done<Vec<Run>> {
    let sql = format!(
        "{RUN_COLUMNS} INDEXED BY runs_queued WHERE status = 'queued' AND (not_before IS NULL OR not_before <= ?1)
         ORDER BY priority DESC, created_at, manifest_id LIMIT ?2"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    readable(c.prepare_cached(&sql)?.query_map(params![time(now), limit], run_of_row)?)
}

pub(super) fn open(c: &Connection) -> Done<Vec<Run>> {
    let sql =
        format!("{RUN_COLUMNS} WHERE status IN ('planning', 'running', 'committing') ORDER BY created_at, manifest_id");
    readable(c.prepare_cached(&sql)?.query_map([], run_of_row)?)
}

/// Writes the columns of a run that can change.
pub(super) fn save(c: &Connection, run: &Run) -> Done<()> {
    let corrupt = |e: serde_json::Error| TrackingError::Corrupt { what: "run", value: e.to_string() };
    let failure = run.failure.as_ref().map(serde_json::to_string).transpose().map_err(corrupt)?;
    let history = serde_json::to_string(&run.history).map_err(corrupt)?;
    let summary = run.summary.as_ref().map(text_of).transpose()?;
    let sql = "UPDATE runs SET status = ?2, priority = ?3, attempts = ?4, failures = ?5, generation = ?6, not_before = ?7,
        cancel_requested = ?8, failure = ?9, failure_class = ?10, updated_at = ?11, started_at = ?12, committed_at = ?13,
        ended_at = ?14, history = ?15, summary = ?16 WHERE manifest_id = ?1";
    c.prepare_cached(sql)?.execute(params![
        run.manifest_id.as_str(),
        run.state.as_str(),
        run.priority,
        run.attempts,
        run.failures,
        run.generation,
        run.not_before.map(time),
        run.cancel_requested,
        failure,
        run.failure.as_ref().map(|failure| failure.class.as_str()),
        time(run.updated_at),
        run.started_at.map(time),
        run.committed_at.map(time),
        run.ended_at.map(time),
        history,
        summary
    ])?;
    Ok(())
}

/// Summary of a run in stored form.
fn text_of(summary: &RunSummary) -> Result<String, TrackingError> {
    serde_json::to_string(summary).map_err(|e| TrackingError::Corrupt { what: "summary", value: e.to_string() })
}
