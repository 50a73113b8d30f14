//! Reads for inspection by people, and the change of state that only operators make.

use super::job::Done;
use super::rows::{collect, find_file, instant, note, parsed, time};
use super::{SqliteStore, run_rows};
use crate::{
    BuilderNote, Inspection, KEEP_BUILDER_DAYS, LockState, MAX_BUILDERS, QueueAhead, RunSeen, StateChange,
    StateChanged, StoreFault, TrackingResult,
};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{ManifestId, ObjectUri, RunState};
use rusqlite::{Connection, OptionalExtension, params};

#[async_trait]
impl Inspection for SqliteStore {
    async fn locks(&self, names: &[String]) -> TrackingResult<Vec<LockState>> {
        let names = names.to_vec();
        self.worker.read(move |c| locks(c, &names)).await
    }

    async fn ahead(&self, id: &ManifestId, limit: usize) -> TrackingResult<Option<QueueAhead>> {
        let id = id.clone();
        self.worker.read(move |c| ahead(c, &id, limit)).await
    }

    async fn note_builder(&self, note: &BuilderNote) -> TrackingResult<()> {
        let note = note.clone();
        self.worker.write(move |c| note_builder(c, &note)).await
    }

    async fn builders(&self) -> TrackingResult<Vec<BuilderNote>> {
        self.worker.read(builders).await
    }

    async fn neighbours(&self, uri: &ObjectUri, limit: usize) -> TrackingResult<Vec<ObjectUri>> {
        let uri = uri.clone();
        self.worker.read(move |c| neighbours(c, &uri, limit)).await
    }

    async fn change_state(&self, change: &StateChange, now: DateTime<Utc>) -> TrackingResult<StateChanged> {
        let change = change.clone();
        self.worker.write(move |c| change_state(c, &change, now)).await
    }

    async fn faults(&self) -> TrackingResult<Vec<StoreFault>> {
        self.worker.read(faults).await
    }
}

fn locks(c: &Connection, names: &[String]) -> Done<Vec<LockState>> {
    let sql = "SELECT name, holder, token, acquired_at, expires_at FROM locks WHERE name = ?1";
    let mut statement = c.prepare_cached(sql)?;
    let mut found = Vec::new();
    for name in names {
        let lock = statement.query_row([name], |row| {
            let expires: String = row.get(4)?;
            Ok(LockState {
                name: row.get(0)?,
                holder: row.get(1)?,
                token: row.get(2)?,
                acquired_at: Some(instant(row, 3)?),
                // A released lock has no expiry time.
                expires_at: (!expires.is_empty()).then(|| instant(row, 4)).transpose()?,
            })
        });
        found.extend(lock.optional()?);
    }
    Ok(found)
}

/// Number and bytes of the runs ahead of one with a priority, time and id, up to a limit.
pub(super) const AHEAD: &str =
    "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(CASE bytes WHEN 0 THEN files ELSE 0 END), 0)
        FROM (SELECT bytes, files FROM runs INDEXED BY runs_ahead
        WHERE status = 'queued' AND priority >= ?1
        AND (priority > ?1 OR (created_at, manifest_id) < (?2, ?3)) LIMIT ?4)";

fn ahead(c: &Connection, id: &ManifestId, limit: usize) -> Done<Option<QueueAhead>> {
    let Some(run) = run_rows::find(c, id)?.filter(|run| run.state == RunState::Queued) else { return Ok(None) };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = params![run.priority, time(run.created_at), id.as_str(), limit.saturating_add(1)];
    let (runs, bytes, unsized_files): (u64, u64, u64) =
        c.prepare_cached(AHEAD)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let is_capped = i64::try_from(runs).is_ok_and(|runs| runs > limit);
    Ok(Some(QueueAhead { runs: if is_capped { runs - 1 } else { runs }, bytes, unsized_files, is_capped }))
}

fn note_builder(c: &Connection, note: &BuilderNote) -> Done<()> {
    let sql = "INSERT INTO builders VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET seen_at = ?2, note = ?3";
    c.prepare_cached(sql)?.execute(params![note.id, time(note.seen_at), note.note])?;
    let over = note.seen_at - Duration::days(KEEP_BUILDER_DAYS);
    c.prepare_cached("DELETE FROM builders WHERE seen_at < ?1")?.execute([time(over)])?;
    Ok(())
}

fn builders(c: &Connection) -> Done<Vec<BuilderNote>> {
    let sql = "SELECT id, seen_at, note FROM builders ORDER BY seen_at DESC LIMIT ?1";
    let mut statement = c.prepare_cached(sql)?;
    let limit = i64::try_from(MAX_BUILDERS).unwrap_or(i64::MAX);
    collect(
        statement.query_map([limit], |row| {
            Ok(BuilderNote { id: row.get(0)?, seen_at: instant(row, 1)?, note: row.get(2)? })
        })?,
    )
}

fn neighbours(c: &Connection, uri: &ObjectUri, limit: usize) -> Done<Vec<ObjectUri>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for sql in [
        "SELECT uri FROM files WHERE uri < ?1 ORDER BY uri DESC LIMIT ?2",
        "SELECT uri FROM files WHERE uri > ?1 ORDER BY uri LIMIT ?2",
    ] {
        let mut statement = c.prepare_cached(sql)?;
        let rows = statement.query_map(params![uri.as_str(), limit], |row| parsed(row, 0, "object URI"))?;
        found.extend(collect::<ObjectUri>(rows)?);
    }
    Ok(found)
}

/// Tells whether the run on which a change depends is unchanged.
fn is_as_seen(c: &Connection, seen: &RunSeen) -> Done<bool> {
    Ok(match seen {
        RunSeen::NoManifest => true,
        RunSeen::Absent(id) => run_rows::find(c, id)?.is_none(),
        RunSeen::InState(id, state) => run_rows::find(c, id)?.is_some_and(|run| run.state == *state),
    })
}

fn change_state(c: &Connection, change: &StateChange, now: DateTime<Utc>) -> Done<StateChanged> {
    let Some(file) = find_file(c, &change.uri)? else { return Ok(StateChanged::Moved(None)) };
    if (file.state, file.version) != change.seen || !is_as_seen(c, &change.run)? {
        return Ok(StateChanged::Moved(Some(Box::new(file))));
    }
    let mut after = change.applied_to(&file);
    after.version = file.version + 1;
    after.updated_at = now;
    let sql = "UPDATE files SET status = ?2, version = ?3, manifest_id = ?4, reason = ?5, quarantine_uri = ?6,
        overwritten_etag = ?7, size_bytes = ?8, etag = ?9, version_id = ?10, updated_at = ?11 WHERE uri = ?1";
    c.prepare_cached(sql)?.execute(params![
        after.uri.as_str(),
        after.state.as_str(),
        after.version,
        after.manifest_id,
        after.reason,
        after.quarantine_uri,
        after.overwritten_etag,
        after.size_bytes,
        after.etag,
        after.version_id,
        time(now)
    ])?;
    note(c, after.uri.as_str(), after.state, Some(&change.detail), &time(now))?;
    Ok(StateChanged::Done(Box::new(after)))
}

/// Checks for faults that a crash or a manual change can cause in the file, without reading all of it.
fn faults(c: &Connection) -> Done<Vec<StoreFault>> {
    let mut found = Vec::new();
    let mut fault = |found_now: String, remedy: &str| {
        found.push(StoreFault { what: "database".to_owned(), found: found_now, remedy: remedy.to_owned() });
    };
    let mode: String = c.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" && mode != "memory" {
        fault(
            format!("its journal mode is `{mode}`, not `wal`"),
            "stop what has it open, and start again: Millwork sets it",
        );
    }
    let triggers: i64 = c.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'backlog_%'",
        [],
        |row| row.get(0),
    )?;
    if triggers < 2 {
        fault(
            "a trigger that counts what waits is missing".to_owned(),
            "somebody has changed the database by hand: restore it from a backup",
        );
    }
    Ok(found)
}
