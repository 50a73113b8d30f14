//! Commit records: committed, published, given up, and replaced outputs.
//!
//! Each operation is one transaction together with the change of the run. A record that was given up has no result.

use super::SqliteStore;
use super::attempts::{check_owns_files, move_files};
use super::job::Done;
use super::rows::{collect, time};
use super::run_rows::{find, known, save};
use crate::{Commit, CommitStore, Replaced, TrackingResult, life};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FileState, ManifestId, RunState};
use rusqlite::{Connection, OptionalExtension, params};

/// Stored result of a record that was given up.
const SUPERSEDED: &str = "null";

pub(super) fn commit(c: &Connection, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> Done<bool> {
    let id = &commit.manifest_id;
    let Some(run) = find(c, id)? else { return Ok(false) };
    let Some(mut after) = life::commit(&run, commit.attempt, now)? else { return Ok(false) };
    life::summarise(&mut after, result);
    check_owns_files(c, &run)?;
    let sql = "INSERT INTO commits VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![id.as_str(), after.generation, commit.attempt, commit.record, result.to_string(), time(now)];
    c.prepare_cached(sql)?.execute(values)?;
    save(c, &after)?;
    Ok(true)
}

pub(super) fn unpublished(c: &Connection, id: &ManifestId) -> Done<Option<Commit>> {
    if find(c, id)?.is_none_or(|run| run.state != RunState::Committing) {
        return Ok(None);
    }
    let sql = "SELECT attempt, record FROM commits WHERE manifest_id = ?1 ORDER BY generation DESC LIMIT 1";
    let mut statement = c.prepare_cached(sql)?;
    let commit = statement.query_row([id.as_str()], |row| {
        Ok(Commit { manifest_id: id.clone(), attempt: row.get(0)?, record: row.get(1)? })
    });
    Ok(commit.optional()?)
}

pub(super) fn supersede(
    c: &Connection,
    id: &ManifestId,
    attempt: u32,
    failure: &Failure,
    not_before: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Done<()> {
    let run = known(c, id)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM commits WHERE manifest_id = ?1 AND generation < ?2 AND result <> ?3)";
    let values = params![id.as_str(), run.generation, SUPERSEDED];
    let has_other = c.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    let Some(after) = life::supersede(&run, attempt, has_other, failure, not_before, now)? else { return Ok(()) };
    let sql = "UPDATE commits SET result = ?3 WHERE manifest_id = ?1 AND generation = ?2";
    c.prepare_cached(sql)?.execute(params![id.as_str(), run.generation, SUPERSEDED])?;
    save(c, &after)
}

pub(super) fn replaced(c: &Connection, id: &ManifestId) -> Done<Vec<Replaced>> {
    if !find(c, id)?.is_some_and(|run| life::replaces(&run)) {
        return Ok(Vec::new());
    }
    // Ends at the newest published generation: older ones are removed.
    let sql = "SELECT attempt, record, result = ?2 FROM commits WHERE manifest_id = ?1 AND generation >= coalesce(
        (SELECT max(generation) FROM commits WHERE manifest_id = ?1 AND result <> ?2), 0) ORDER BY generation DESC";
    let mut statement = c.prepare_cached(sql)?;
    let replaced = statement.query_map(params![id.as_str(), SUPERSEDED], |row| {
        let commit = Commit { manifest_id: id.clone(), attempt: row.get(0)?, record: row.get(1)? };
        Ok(Replaced { commit, is_superseded: row.get(2)? })
    })?;
    collect(replaced)
}

/// Result of the newest valid record.
pub(super) fn result(c: &Connection, id: &ManifestId) -> Done<Option<String>> {
    let sql = "SELECT result FROM commits WHERE manifest_id = ?1 AND result <> ?2 ORDER BY generation DESC LIMIT 1";
    Ok(c.prepare_cached(sql)?.query_row(params![id.as_str(), SUPERSEDED], |row| row.get(0)).optional()?)
}

pub(super) fn complete(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    let Some(after) = life::complete(&known(c, id)?, now)? else { return Ok(()) };
    // Files of a forced run are completed already, and not moved.
    move_files(c, id, FileState::Manifested, FileState::Processing, now)?;
    move_files(c, id, FileState::Processing, FileState::Completed, now)?;
    save(c, &after)
}

#[async_trait]
impl CommitStore for SqliteStore {
    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool> {
        let (record, result) = (commit.clone(), result.clone());
        self.worker.write(move |c| self::commit(c, &record, &result, now)).await
    }

    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>> {
        let id = id.clone();
        self.worker.read(move |c| unpublished(c, &id)).await
    }

    async fn supersede(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let (id, failure) = (id.clone(), failure.clone());
        self.worker.write(move |c| supersede(c, &id, attempt, &failure, not_before, now)).await
    }

    async fn replaced(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>> {
        let id = id.clone();
        self.worker.read(move |c| replaced(c, &id)).await
    }

    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| complete(c, &id, now)).await
    }
}
