//! Runs and commit records.

use super::parse_document;
use super::rows::{RUN_COLUMNS, collect, note, run as run_of_row, time};
use super::worker::Done;
use crate::{Commit, QueuedManifest, Run, RunState, TrackingError};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FileState, ManifestId};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn run(c: &Connection, id: &ManifestId) -> Done<Option<Run>> {
    let sql = format!("{RUN_COLUMNS} WHERE r.manifest_id = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([id.as_str()], run_of_row).optional()?)
}

pub(super) fn runs(c: &Connection, limit: usize) -> Done<Vec<Run>> {
    let sql = format!("{RUN_COLUMNS} ORDER BY r.created_at DESC, r.manifest_id DESC LIMIT ?1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    collect(c.prepare_cached(&sql)?.query_map([limit], run_of_row)?)
}

pub(super) fn unfinished(c: &Connection) -> Done<Vec<QueuedManifest>> {
    let mut statement = c.prepare_cached(
        "SELECT manifest_id, document, manifest_uri FROM runs WHERE status IN ('queued', 'running', 'committing')
         ORDER BY created_at, manifest_id",
    )?;
    let rows: Vec<(String, String, String)> =
        collect(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)?;
    let queued = |(id, document, uri): (String, String, String)| {
        Ok(QueuedManifest { manifest: parse_document(&id, &document)?, uri })
    };
    rows.into_iter().map(queued).collect()
}

pub(super) fn start_attempt(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<u32> {
    let wanted = "an attempt needs a queued or interrupted run";
    set_state(c, id, &[RunState::Queued, RunState::Running], RunState::Running, None, wanted, now)?;
    move_files(c, id, FileState::Manifested, FileState::Processing, now)?;
    let sql = "UPDATE runs SET attempts = attempts + 1 WHERE manifest_id = ?1 RETURNING attempts";
    Ok(c.prepare_cached(sql)?.query_row([id.as_str()], |row| row.get(0))?)
}

pub(super) fn fail(c: &Connection, id: &ManifestId, failure: &Failure, now: DateTime<Utc>) -> Done<()> {
    if run(c, id)?.is_some_and(|run| run.state == RunState::Failed && run.failure.as_ref() == Some(failure)) {
        return Ok(());
    }
    let wanted = "only a run that is not committed can fail";
    set_state(c, id, &[RunState::Queued, RunState::Running], RunState::Failed, Some(failure), wanted, now)?;
    move_files(c, id, FileState::Manifested, FileState::Processing, now)?;
    if let Some(culprit) = &failure.file {
        let at = time(now);
        let sql = "UPDATE files SET status = 'failed', reason = ?3, version = version + 1, updated_at = ?4
            WHERE manifest_id = ?1 AND uri = ?2 AND status = 'processing'";
        if c.prepare_cached(sql)?.execute(params![id.as_str(), culprit, failure.message, at])? > 0 {
            note(c, culprit, FileState::Failed, Some(&failure.message), &at)?;
            move_files(c, id, FileState::Processing, FileState::Manifested, now)?;
            return move_files(c, id, FileState::Manifested, FileState::Pending, now);
        }
    }
    move_files(c, id, FileState::Processing, FileState::Failed, now)
}

pub(super) fn requeue(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    let wanted = "only a run that failed or was interrupted can be queued again";
    let from = [RunState::Queued, RunState::Running, RunState::Failed, RunState::Cancelled];
    set_state(c, id, &from, RunState::Queued, None, wanted, now)?;
    for state in [FileState::Processing, FileState::Failed, FileState::Pending] {
        move_files(c, id, state, FileState::Manifested, now)?;
    }
    check_owns_files(c, id, FileState::Manifested)
}

pub(super) fn commit(c: &Connection, commit: &Commit, result: &str, now: DateTime<Utc>) -> Done<bool> {
    let id = &commit.manifest_id;
    let sql = "SELECT attempts FROM runs WHERE manifest_id = ?1";
    let attempts: Option<u32> = c.prepare_cached(sql)?.query_row([id.as_str()], |row| row.get(0)).optional()?;
    // A newer attempt has started: this one was given up.
    if attempts != Some(commit.attempt) {
        return Ok(false);
    }
    let sql = "INSERT INTO commits VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let values = params![id.as_str(), commit.attempt, commit.record, result, time(now)];
    if c.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(false);
    }
    check_owns_files(c, id, FileState::Processing)?;
    let wanted = "only a running run can be committed";
    set_state(c, id, &[RunState::Running], RunState::Committing, None, wanted, now)?;
    Ok(true)
}

pub(super) fn unpublished(c: &Connection, id: &ManifestId) -> Done<Option<Commit>> {
    let mut statement = c.prepare_cached(
        "SELECT attempt, record FROM commits JOIN runs USING (manifest_id)
         WHERE manifest_id = ?1 AND status = 'committing'",
    )?;
    let commit = statement.query_row([id.as_str()], |row| {
        Ok(Commit { manifest_id: id.clone(), attempt: row.get(0)?, record: row.get(1)? })
    });
    Ok(commit.optional()?)
}

pub(super) fn complete(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    let wanted = "only a committed run can be completed";
    let from = [RunState::Committing, RunState::Completed];
    set_state(c, id, &from, RunState::Completed, None, wanted, now)?;
    move_files(c, id, FileState::Processing, FileState::Completed, now)
}

fn set_state(
    c: &Connection,
    id: &ManifestId,
    from: &[RunState],
    to: RunState,
    failure: Option<&Failure>,
    wanted: &'static str,
    now: DateTime<Utc>,
) -> Done<()> {
    let sql = "SELECT status FROM runs WHERE manifest_id = ?1";
    let found: Option<String> = c.prepare_cached(sql)?.query_row([id.as_str()], |row| row.get(0)).optional()?;
    if !from.iter().any(|state| found.as_deref() == Some(state.as_str())) {
        let found = found.unwrap_or_else(|| "unknown".to_owned());
        return Err(TrackingError::Conflict { manifest_id: id.to_string(), found, wanted }.into());
    }
    let failure = failure.and_then(|failure| serde_json::to_string(failure).ok());
    let sql = "UPDATE runs SET status = ?2, failure = ?3, updated_at = ?4 WHERE manifest_id = ?1";
    c.prepare_cached(sql)?.execute(params![id.as_str(), to.as_str(), failure, time(now)])?;
    Ok(())
}

/// Refuses to go on with a manifest some of whose files are in another one by now: their rows would be there twice.
fn check_owns_files(c: &Connection, id: &ManifestId, state: FileState) -> Done<()> {
    let sql = "SELECT document ->> '$.metadata.file_count',
        (SELECT count(*) FROM files WHERE manifest_id = ?1 AND status = ?2) FROM runs WHERE manifest_id = ?1";
    let (listed, owned): (u64, u64) =
        c.prepare_cached(sql)?.query_row(params![id.as_str(), state.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if listed == owned {
        return Ok(());
    }
    let found = format!("left with {owned} of its {listed} files");
    let wanted = "the others are in a newer manifest: submit that one";
    Err(TrackingError::Conflict { manifest_id: id.to_string(), found, wanted }.into())
}

/// Moves those of a manifest's files that are in one state to the next, each with a note.
fn move_files(c: &Connection, id: &ManifestId, from: FileState, to: FileState, now: DateTime<Utc>) -> Done<()> {
    let at = time(now);
    let sql = "INSERT INTO timeline SELECT uri, ?3, ?4, ?1 FROM files WHERE manifest_id = ?1 AND status = ?2";
    c.prepare_cached(sql)?.execute(params![id.as_str(), from.as_str(), at, to.as_str()])?;
    let sql = "UPDATE files SET status = ?3, version = version + 1, updated_at = ?4
        WHERE manifest_id = ?1 AND status = ?2";
    c.prepare_cached(sql)?.execute(params![id.as_str(), from.as_str(), to.as_str(), at])?;
    Ok(())
}
