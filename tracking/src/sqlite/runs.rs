//! Reading and listing of runs.

use super::job::Done;
use super::rows::{RUN_COLUMNS, collect, instant, parsed, readable, run as run_of_row, time};
use super::{SqliteStore, commits, totals};
use crate::{Page, QueuedManifest, Run, RunCount, RunFilter, RunState, RunStore, TrackingError, TrackingResult, life};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Manifest, ManifestFile, ManifestId};
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

/// Reads a row of negligible size.
pub(super) fn ping(c: &Connection) -> Done<()> {
    let sql = "SELECT 1 FROM runs LIMIT 1";
    c.prepare_cached(sql)?.query_row([], |_| Ok(())).optional()?;
    Ok(())
}

/// A run with its attempts and its result.
pub(super) fn whole(c: &Connection, id: &ManifestId) -> Done<Option<Run>> {
    let Some(run) = find(c, id)? else { return Ok(None) };
    let result = commits::result(c, id)?.map(|result| serde_json::from_str(&result)).transpose();
    let result = result.map_err(|e| TrackingError::Corrupt { what: "result", value: e.to_string() })?;
    Ok(Some(Run { result, ..run }))
}

/// Writes the columns of a run that can change.
pub(super) fn save(c: &Connection, run: &Run) -> Done<()> {
    let corrupt = |e: serde_json::Error| TrackingError::Corrupt { what: "run", value: e.to_string() };
    let failure = run.failure.as_ref().map(serde_json::to_string).transpose().map_err(corrupt)?;
    let history = serde_json::to_string(&run.history).map_err(corrupt)?;
    let summary = run.summary.as_ref().map(totals::text_of).transpose()?;
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

pub(super) fn count(c: &Connection) -> Done<Vec<RunCount>> {
    // The number of files is not in the index, and read only for runs of unknown size.
    let sql = "SELECT status, count(*), sum(bytes), min(created_at),
        (SELECT coalesce(sum(files), 0) FROM runs AS unsized WHERE unsized.status = runs.status AND unsized.bytes = 0) FROM runs
        WHERE status IN ('queued', 'planning', 'running', 'committing') GROUP BY status";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let state = parsed(row, 0, "run state")?;
        let oldest = Some(instant(row, 3)?);
        Ok(RunCount { state, runs: row.get(1)?, bytes: row.get(2)?, unsized_files: row.get(4)?, oldest })
    })?;
    collect(rows)
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

#[async_trait]
impl RunStore for SqliteStore {
    async fn submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool> {
        let (manifest, known) = (queued.manifest.clone(), queued.clone());
        if self.worker.read(move |c| super::manifests::is_submitted(c, &manifest)).await? {
            return Ok(false);
        }
        let document = known.manifest.to_json();
        self.worker.write(move |c| super::manifests::submit(c, &known, &document, priority, now)).await
    }

    async fn release_abandoned(&self, _before: DateTime<Utc>, _now: DateTime<Utc>) -> TrackingResult<u64> {
        // Submissions are atomic, so that none is ever abandoned.
        Ok(0)
    }

    async fn run_head(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        let id = id.clone();
        self.worker.read(move |c| find(c, &id)).await
    }

    async fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        let id = id.clone();
        self.worker.read(move |c| whole(c, &id)).await
    }

    async fn manifest(&self, id: &ManifestId) -> TrackingResult<Option<Manifest>> {
        let id = id.clone();
        self.worker.read(move |c| super::manifests::manifest(c, &id)).await
    }

    async fn list_runs(&self, filter: &RunFilter) -> TrackingResult<Page<Run>> {
        let filter = filter.clone();
        self.worker.read(move |c| super::listing::runs(c, &filter)).await
    }

    async fn count_runs(&self) -> TrackingResult<Vec<RunCount>> {
        self.worker.read(count).await
    }

    async fn cancel(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<RunState> {
        let id = id.clone();
        self.worker.write(move |c| super::attempts::cancel(c, &id, now)).await
    }

    async fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| super::attempts::requeue(c, &id, now)).await
    }

    async fn refresh(&self, manifest: &Manifest, changed: &[ManifestFile], now: DateTime<Utc>) -> TrackingResult<()> {
        let (manifest, changed, document) = (manifest.clone(), changed.to_vec(), manifest.to_json());
        self.worker.write(move |c| super::attempts::refresh(c, &manifest, &document, &changed, now)).await
    }

    async fn force(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| super::attempts::force(c, &id, now)).await
    }

    async fn prioritise(&self, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| super::attempts::prioritise(c, &id, priority, now)).await
    }
}
