//! Operations on runs.
//!
//! The run's item is authoritative, and `life` decides on its changes; its files follow, and each operation can be
//! repeated. Recovery from a crash between the writes, for a run that is not forced:
//!
//! | operation | writes, in order | state after a crash | recovered by |
//! |---|---|---|---|
//! | start | files to processing; the run is planning, with one more attempt, if the lock is held | a queued run with files in processing | start, repeated |
//! | retry later | the run is queued; its files stay in processing | | |
//! | fail, and cancel of a queued run | the run has ended, and is failing; files to failed or pending; it is failing no more | a failing run | `open_runs`, which a scheduler calls every few seconds, or the same call, repeated |
//! | cancel of another | a cancellation is requested | | |
//! | requeue | files to manifested; the run is queued | a run that ended, with manifested files | requeue, repeated |
//! | force | the run is queued | | |
//! | supersede | the record is given up and the run queued, in one transaction; its files stay in processing | | |
//! | complete | files to completed; the run is completed | a committing run | complete, repeated |
//!
//! The files of a forced run stay completed, so that each of these operations is a single write, except complete, which
//! checks the files.
//!
//! No file is taken from a run that may still commit. Only pending and failed files are claimed; files of a run become
//! pending or failed only once it is failing; and a failing run never commits. This holds for delayed writers as well:
//! each reads the run after the files, and moves only unchanged files, while a requeue changes every file before the
//! run. If a requeue finds too late that a file was claimed meanwhile, it fails the run again, which releases the other
//! files.

use super::request::{Transacted, Written, pause, update_action};
use super::run_item::{StoredRun, bounded};
use super::runs::TRIES;
use super::{DynamoStore, key, locks};
use crate::{AttemptStore, Lock, Run, TrackingError, TrackingResult, life};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, Manifest, ManifestFile, ManifestId, RunState};

impl DynamoStore {
    pub(super) async fn start(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32> {
        self.check_lock(lock).await?;
        for retry in 0..TRIES {
            let before = self.known_run(id).await?;
            let after = before.with(life::start(&before.run, now)?);
            self.take_files(&after.run, now).await?;
            let actions =
                [self.lock_check(lock)?, update_action(&self.names.runs, key::run(id), &after.expression(&before)?)?];
            match self.transact(&actions).await? {
                Transacted::Done => return Ok(after.run.attempts),
                Transacted::Refused(failed) if failed.first() == Some(&true) => return Err(locks::lost(lock)),
                Transacted::Refused(_) => pause(retry).await,
            }
        }
        Err(self.restless_run(id))
    }

    pub(super) async fn note_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()> {
        let running =
            |before: &StoredRun| Ok(((), life::set_running(&before.run, attempt, now).map(|run| before.with(run))));
        match self.change_run(id, running).await {
            Err(TrackingError::Conflict { .. }) => Ok(()),
            done => done,
        }
    }

    pub(super) async fn put_off(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        let failure = bounded(failure);
        let queued = |before: &StoredRun| {
            let (is_queued, after) = life::retry_later(&before.run, attempt, &failure, not_before, now)?;
            Ok((is_queued, after.map(|run| before.with(run))))
        };
        self.change_run(id, queued).await
    }

    pub(super) async fn fail_run(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let failure = bounded(failure);
        let ended = |before: &StoredRun| {
            let after = life::fail(&before.run, attempt, &failure, now)?;
            Ok(((), after.map(|run| before.ended(run))))
        };
        self.change_run(id, ended).await?;
        self.settle(id, now).await
    }

    pub(super) async fn cancel_run(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<RunState> {
        let cancelled = |before: &StoredRun| {
            let (state, after) = life::cancel(&before.run, now)?;
            let stored = |run: Run| if run.state.is_final() { before.ended(run) } else { before.with(run) };
            Ok((state, after.map(stored)))
        };
        let state = self.change_run(id, cancelled).await?;
        if state == RunState::Cancelled {
            self.settle(id, now).await?;
        }
        Ok(state)
    }

    pub(super) async fn requeue_run(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        for retry in 0..TRIES {
            let before = self.known_run(id).await?;
            let Some(after) = life::requeue(&before.run, now)? else { return Ok(()) };
            if before.is_failing {
                self.settle(id, now).await?;
                continue;
            }
            if let Err(error) = self.return_files(&after, before.run.state, now).await {
                if let TrackingError::Conflict { .. } = error {
                    self.fail_anew(id, now).await?;
                }
                return Err(error);
            }
            let queued = before.with(after).expression(&before)?;
            match self.update(&self.names.runs, key::run(id), &queued).await? {
                Written::Done(_) => return Ok(()),
                Written::Refused(_) => pause(retry).await,
            }
        }
        Err(self.restless_run(id))
    }

    /// Updates files of a run that ended without output to their present content: first the file records, then the
    /// manifest and its size in one transaction. A crash in between leaves a manifest with the old content, and the
    /// call can be repeated.
    pub(super) async fn refresh_run(
        &self,
        manifest: &Manifest,
        changed: &[ManifestFile],
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let id = &manifest.id;
        for retry in 0..TRIES {
            let before = self.known_run(id).await?;
            if !life::can_be_refreshed(&before.run) {
                return Ok(());
            }
            if before.is_failing {
                self.settle(id, now).await?;
                continue;
            }
            self.refresh_files(id, changed, now).await?;
            let after = before.with(Run { bytes: manifest.total_bytes(), updated_at: now, ..before.run.clone() });
            let actions = [
                update_action(&self.names.runs, key::run(id), &after.expression(&before)?)?,
                self.document_action(manifest).await?,
            ];
            match self.transact(&actions).await? {
                Transacted::Done => return Ok(()),
                Transacted::Refused(_) => pause(retry).await,
            }
        }
        Err(self.restless_run(id))
    }

    /// Releases the files of a run that has ended without output again.
    async fn fail_anew(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let failing = |before: &StoredRun| {
            let has_ended = matches!(before.run.state, RunState::Failed | RunState::Cancelled);
            Ok(((), has_ended.then(|| before.ended(before.run.clone()))))
        };
        self.change_run(id, failing).await?;
        self.settle(id, now).await
    }

    pub(super) async fn force_run(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let forced = |before: &StoredRun| Ok(((), life::force(&before.run, now)?.map(|run| before.with(run))));
        self.change_run(id, forced).await
    }

    pub(super) async fn set_priority(&self, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> TrackingResult<()> {
        let moved =
            |before: &StoredRun| Ok(((), life::prioritise(&before.run, priority, now).map(|run| before.with(run))));
        match self.change_run(id, moved).await {
            Err(TrackingError::Conflict { .. }) => Ok(()),
            done => done,
        }
    }

    pub(super) async fn complete_run(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let before = self.known_run(id).await?;
        if life::complete(&before.run, now)?.is_none() {
            return Ok(());
        }
        self.complete_files(&before.run, now).await?;
        let completed = |before: &StoredRun| Ok(((), life::complete(&before.run, now)?.map(|run| before.with(run))));
        self.change_run(id, completed).await
    }
}

#[async_trait]
impl AttemptStore for DynamoStore {
    async fn due(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>> {
        self.due_runs(limit, now).await
    }

    async fn open_runs(&self) -> TrackingResult<Vec<Run>> {
        self.runs_under_way(Utc::now()).await
    }

    async fn start_attempt(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32> {
        self.start(id, lock, now).await
    }

    async fn set_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()> {
        self.note_running(id, attempt, now).await
    }

    async fn retry_later(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        self.put_off(id, attempt, failure, not_before, now).await
    }

    async fn fail(&self, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()> {
        self.fail_run(id, attempt, failure, now).await
    }
}
