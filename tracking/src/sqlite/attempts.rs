//! Operations on runs: `life` decides on the run, and its files are changed here accordingly.
//!
//! Once a run was started, its files are processing until it ends, even while it is queued for a retry. Those of a
//! forced run, which has an output, stay completed.

use super::job::Done;
use super::manifest_files::{self, Other};
use super::rows::{find_file, time};
use super::run_rows::{find, known, save};
use super::{SqliteStore, locks};
use crate::decide::OVERWRITTEN;
use crate::life::{self, check_owned, has_output};
use crate::{AttemptStore, Lock, Run, TrackedFile, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FileState, Manifest, ManifestFile, ManifestId, RunState};
use rusqlite::{Connection, params};

pub(super) fn start_attempt(c: &Connection, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> Done<u32> {
    locks::check(c, lock)?;
    let run = life::start(&known(c, id)?, now)?;
    if !has_output(&run) {
        move_files(c, id, FileState::Manifested, FileState::Processing, now)?;
    }
    check_owns_files(c, &run)?;
    save(c, &run)?;
    Ok(run.attempts)
}

pub(super) fn set_running(c: &Connection, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> Done<()> {
    let after = find(c, id)?.and_then(|run| life::set_running(&run, attempt, now));
    after.map_or(Ok(()), |after| save(c, &after))
}

pub(super) fn retry_later(
    c: &Connection,
    id: &ManifestId,
    attempt: u32,
    failure: &Failure,
    not_before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Done<bool> {
    let (is_queued, after) = life::retry_later(&known(c, id)?, attempt, failure, not_before, now)?;
    if let Some(after) = after {
        save(c, &after)?;
    }
    Ok(is_queued)
}

pub(super) fn fail(c: &Connection, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> Done<()> {
    match life::fail(&known(c, id)?, attempt, failure, now)? {
        Some(after) => end(c, &after, now),
        None => Ok(()),
    }
}

pub(super) fn cancel(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<RunState> {
    let (state, after) = life::cancel(&known(c, id)?, now)?;
    match after {
        Some(after) if after.state.is_final() => end(c, &after, now)?,
        Some(after) => save(c, &after)?,
        None => {}
    }
    Ok(state)
}

/// Writes a run that ended without output, and releases its files.
fn end(c: &Connection, run: &Run, now: DateTime<Utc>) -> Done<()> {
    save(c, run)?;
    if run.state == RunState::Completed {
        return Ok(());
    }
    let id = &run.manifest_id;
    move_files(c, id, FileState::Manifested, FileState::Processing, now)?;
    let mut failed = 0;
    for uri in run.failure.iter().flat_map(Failure::files) {
        let message = run.failure.as_ref().and_then(|failure| failure.fault_of(uri)).unwrap_or_default();
        failed += fail_files(c, id, Some(uri), message, now)?;
    }
    if failed > 0 {
        move_files(c, id, FileState::Processing, FileState::Manifested, now)?;
        return move_files(c, id, FileState::Manifested, FileState::Pending, now);
    }
    let message = run.failure.as_ref().map_or("", |failure| failure.message.as_str());
    fail_files(c, id, None, message, now).map(drop)
}

/// Fails one file of a run, or all.
fn fail_files(c: &Connection, id: &ManifestId, uri: Option<&str>, message: &str, now: DateTime<Utc>) -> Done<usize> {
    let at = time(now);
    let sql = "INSERT INTO timeline SELECT uri, ?2, 'failed', ?3 FROM files
        WHERE manifest_id = ?1 AND status = 'processing' AND uri = coalesce(?4, uri)";
    c.prepare_cached(sql)?.execute(params![id.as_str(), at, message, uri])?;
    let sql = "UPDATE files SET status = 'failed', reason = ?3, version = version + 1, updated_at = ?2
        WHERE manifest_id = ?1 AND status = 'processing' AND uri = coalesce(?4, uri)";
    let failed = c.prepare_cached(sql)?.execute(params![id.as_str(), at, message, uri])?;
    release_overwritten(c, id, &at)?;
    Ok(failed)
}

/// Releases those failing files that have other content by now: they become pending, and their content is
/// determined when they are read.
fn release_overwritten(c: &Connection, id: &ManifestId, at: &str) -> Done<()> {
    let which = "manifest_id = ?1 AND status = 'failed' AND updated_at = ?2 AND overwritten_etag <> etag";
    let sql = format!("INSERT INTO timeline SELECT uri, ?2, 'pending', ?3 FROM files WHERE {which}");
    c.prepare_cached(&sql)?.execute(params![id.as_str(), at, OVERWRITTEN])?;
    let sql = format!(
        "UPDATE files SET status = 'pending', reason = NULL, etag = '', version_id = NULL, overwritten_etag = NULL,
         version = version + 1 WHERE {which}"
    );
    c.prepare_cached(&sql)?.execute(params![id.as_str(), at])?;
    Ok(())
}

/// Updates files of a run that ended without output to their present content.
pub(super) fn refresh(
    c: &Connection,
    manifest: &Manifest,
    document: &str,
    changed: &[ManifestFile],
    now: DateTime<Utc>,
) -> Done<()> {
    let id = &manifest.id;
    if !life::can_be_refreshed(&known(c, id)?) {
        return Ok(());
    }
    let at = time(now);
    c.prepare_cached("UPDATE documents SET document = ?2 WHERE manifest_id = ?1")?.execute([id.as_str(), document])?;
    let sql = "UPDATE runs SET bytes = ?2, updated_at = ?3 WHERE manifest_id = ?1";
    c.prepare_cached(sql)?.execute(params![id.as_str(), manifest.total_bytes(), at])?;
    let sql =
        "UPDATE files SET size_bytes = ?2, etag = ?3, version_id = ?4, overwritten_etag = NULL, version = version + 1,
        updated_at = ?5 WHERE uri = ?1";
    for file in changed {
        let known = find_file(c, &file.uri)?.filter(|known| life::can_return(known, id));
        if known.is_some() {
            let (size, etag) = (file.size_bytes.unwrap_or(0), file.etag.as_deref().unwrap_or_default());
            c.prepare_cached(sql)?.execute(params![file.uri.as_str(), size, etag, file.version_id, at])?;
        }
    }
    Ok(())
}

pub(super) fn requeue(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    let Some(after) = life::requeue(&known(c, id)?, now)? else { return Ok(()) };
    manifest_files::fill_from_document(c, id)?;
    let owned = manifest_files::count_returning(c, id)?;
    if owned != after.files {
        let first_lost = file_of(c, manifest_files::first_lost(c, id)?)?;
        check_owned(&after, owned, first_lost.as_ref())?;
    }
    manifest_files::return_all(c, id, now)?;
    save(c, &after)
}

fn file_of(c: &Connection, other: Option<Other>) -> Done<Option<TrackedFile>> {
    let uri = other.and_then(|other| other.uri.parse().ok());
    uri.map_or(Ok(None), |uri| find_file(c, &uri))
}

pub(super) fn force(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    life::force(&known(c, id)?, now)?.map_or(Ok(()), |after| save(c, &after))
}

pub(super) fn prioritise(c: &Connection, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> Done<()> {
    let after = find(c, id)?.and_then(|run| life::prioritise(&run, priority, now));
    after.map_or(Ok(()), |after| save(c, &after))
}

/// Refuses to continue with a queued or active run that has lost files.
pub(super) fn check_owns_files(c: &Connection, run: &Run) -> Done<()> {
    let state = if has_output(run) { FileState::Completed } else { FileState::Processing };
    let sql = "SELECT count(*) FROM files WHERE manifest_id = ?1 AND status = ?2";
    let values = params![run.manifest_id.as_str(), state.as_str()];
    let owned = c.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    if owned == run.files {
        return Ok(());
    }
    manifest_files::fill_from_document(c, &run.manifest_id)?;
    let first_lost = file_of(c, manifest_files::first_not_in(c, &run.manifest_id, state)?)?;
    Ok(check_owned(run, owned, first_lost.as_ref())?)
}

/// Moves those of a manifest's files that are in state `from` to the next, each with a timeline entry.
pub(super) fn move_files(
    c: &Connection,
    id: &ManifestId,
    from: FileState,
    to: FileState,
    now: DateTime<Utc>,
) -> Done<()> {
    let at = time(now);
    let sql = "INSERT INTO timeline SELECT uri, ?3, ?4, ?1 FROM files WHERE manifest_id = ?1 AND status = ?2";
    c.prepare_cached(sql)?.execute(params![id.as_str(), from.as_str(), at, to.as_str()])?;
    let sql = "UPDATE files SET status = ?3, version = version + 1, updated_at = ?4
        WHERE manifest_id = ?1 AND status = ?2";
    c.prepare_cached(sql)?.execute(params![id.as_str(), from.as_str(), to.as_str(), at])?;
    Ok(())
}

#[async_trait]
impl AttemptStore for SqliteStore {
    async fn due(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>> {
        self.worker.read(move |c| super::run_rows::due(c, limit, now)).await
    }

    async fn open_runs(&self) -> TrackingResult<Vec<Run>> {
        self.worker.read(super::run_rows::open).await
    }

    async fn start_attempt(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32> {
        let (id, lock) = (id.clone(), lock.clone());
        self.worker.write(move |c| start_attempt(c, &id, &lock, now)).await
    }

    async fn set_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| set_running(c, &id, attempt, now)).await
    }

    async fn retry_later(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        let (id, failure) = (id.clone(), failure.clone());
        self.worker.write(move |c| retry_later(c, &id, attempt, &failure, not_before, now)).await
    }

    async fn fail(&self, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()> {
        let (id, failure) = (id.clone(), failure.clone());
        self.worker.write(move |c| fail(c, &id, attempt, &failure, now)).await
    }
}
