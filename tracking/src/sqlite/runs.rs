//! Reading and listing of runs.

use super::job::Done;
use super::rows::{collect, instant, parsed};
use super::run_rows::find;
use super::{SqliteStore, commits};
use crate::{Page, QueuedManifest, Run, RunCount, RunFilter, RunStore, TrackingError, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Manifest, ManifestFile, ManifestId, RunState};
use rusqlite::{Connection, OptionalExtension};

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
