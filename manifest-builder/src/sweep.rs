//! The sweep: finishes work left by a crash, makes manifests of files that have waited long enough, and recounts wrong
//! backlogs.

use crate::builder::Builder;
use crate::cut::Cut;
use crate::error::BuilderError;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{DatePrefix, FileState, Flush, RunState};
use millwork_tracking::{Backlog, Draft, FileFilter, Lock, QueuedManifest, TrackedFile};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Number of files per request to the store.
const PAGE: usize = 1000;

/// Result of a sweep.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Swept {
    /// Manifests left unfinished by a crash and finished now, by id.
    pub finished: Vec<String>,
    /// Number of drafts that held no file and were dropped.
    pub dropped: u64,
    /// Manifests made of due files, by id.
    pub made: Vec<String>,
    /// Dates that another process is working on.
    pub busy: Vec<DatePrefix>,
    /// Number of pending files after the sweep.
    pub pending_files: u64,
    /// Total size of the pending files, in bytes.
    pub pending_bytes: u64,
    /// Arrival time of the oldest pending file.
    pub oldest_pending: Option<DateTime<Utc>>,
}

impl Builder {
    /// Sweeps once. Any number of sweeps can run at the same time.
    pub async fn sweep(&self) -> Result<Swept, BuilderError> {
        let mut swept = Swept::default();
        let mut first_error = None;
        let mut by_date: BTreeMap<DatePrefix, Vec<Draft>> = BTreeMap::new();
        for draft in self.store.drafts(self.now() + Duration::seconds(1)).await? {
            by_date.entry(draft.manifest.date).or_default().push(draft);
        }
        // An error with one date does not stop the others.
        for (date, drafts) in by_date {
            self.check_stop()?;
            if let Err(error) = self.finish_abandoned(date, &drafts, &mut swept).await {
                tracing::error!(%date, %error, "an abandoned draft cannot be finished; the next sweep tries again");
                first_error.get_or_insert(error);
            }
        }
        match self.take_wishes().await {
            Ok(taken) => {
                swept.made.extend(ids(&taken.made));
                swept.finished.extend(taken.finished);
                swept.busy.extend(taken.busy);
            }
            Err(BuilderError::Stopped) => return Err(BuilderError::Stopped),
            Err(error) => {
                tracing::error!(%error, "a wish of an operator waits for the next round");
                first_error.get_or_insert(error);
            }
        }
        for date in self.due().await? {
            self.check_stop()?;
            if let Err(error) = self.cut_due(date, &mut swept).await {
                tracing::error!(%date, %error, "no manifests could be made");
                first_error.get_or_insert(error);
            }
        }
        for (_, backlog) in self.store.backlogs().await? {
            swept.pending_files += backlog.pending_files;
            swept.pending_bytes += backlog.pending_bytes;
            swept.oldest_pending = [swept.oldest_pending, backlog.oldest_pending].into_iter().flatten().min();
        }
        first_error.map_or(Ok(swept), Err)
    }

    async fn cut_due(&self, date: DatePrefix, swept: &mut Swept) -> Result<(), BuilderError> {
        match self.cut(date, Flush::WhenAged(self.now())).await? {
            Cut::Busy => swept.busy.push(date),
            // The counters were too high. Counters that are too low are noticed by the age of the files, see `overdue`.
            Cut::Made(made) if made.is_empty() => {
                self.store.recount(date).await?;
            }
            Cut::Made(made) => swept.made.extend(ids(&made)),
        }
        Ok(())
    }

    /// Dates with due manifests, by their counters or by their oldest files.
    pub(crate) async fn due(&self) -> Result<BTreeSet<DatePrefix>, BuilderError> {
        let due = self.store.backlogs().await?.into_iter().filter(|(_, backlog)| self.is_due(backlog));
        Ok(due.map(|(date, _)| date).chain(self.overdue().await?).collect())
    }

    /// Dates of files that have waited too long, independent of the counters; empty in normal operation.
    async fn overdue(&self) -> Result<BTreeSet<DatePrefix>, BuilderError> {
        let mut filter = FileFilter { state: Some(FileState::Pending), limit: PAGE, ..FileFilter::default() };
        let mut dates = BTreeSet::new();
        loop {
            let page = self.store.list_files(&filter).await?;
            for file in page.items {
                if self.now() - file.arrived_at < self.max_wait() {
                    return Ok(dates);
                }
                dates.extend(file.date);
            }
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => return Ok(dates),
            }
        }
    }

    fn max_wait(&self) -> Duration {
        Duration::seconds(i64::try_from(self.settings.caps.max_wait_seconds).unwrap_or(i64::from(i32::MAX)))
    }

    fn is_due(&self, backlog: &Backlog) -> bool {
        let caps = &self.settings.caps;
        let is_aged = backlog.oldest_pending.is_some_and(|oldest| self.now() - oldest >= self.max_wait());
        is_aged || caps.are_reached(backlog.pending_files, backlog.pending_bytes)
    }

    /// Finishes the drafts of a date. Drafts are made and finished under the lock of the date, so that any draft found
    /// while this process holds the lock was abandoned.
    pub(crate) async fn finish_abandoned(
        &self,
        date: DatePrefix,
        drafts: &[Draft],
        swept: &mut Swept,
    ) -> Result<(), BuilderError> {
        let Some(lock) = self.lock(date).await? else {
            swept.busy.push(date);
            return Ok(());
        };
        let mut failed = None;
        for draft in drafts {
            if self.stop.is_cancelled() {
                break;
            }
            // A draft that fails does not stop the others.
            if let Err(error) = self.finish_one(draft, &lock, swept).await {
                failed = Some(error);
            }
        }
        self.unlock(&lock).await;
        failed.map_or(Ok(()), Err)
    }

    async fn finish_one(&self, draft: &Draft, lock: &Lock, swept: &mut Swept) -> Result<(), BuilderError> {
        let id = &draft.manifest.id;
        let uris: Vec<_> = draft.manifest.files.iter().map(|file| file.uri.clone()).collect();
        let holds = |file: &TrackedFile| {
            file.manifest_id.as_deref() == Some(id.as_str()) && file.state == FileState::Manifested
        };
        let files = self.store.files(&uris).await?;
        let held: HashSet<_> = files.into_iter().flatten().filter(holds).map(|file| file.uri).collect();
        // Only runs still in state draft are finished: if the run has advanced since the listing, another process has
        // finished it.
        if self.store.run_head(id).await?.is_some_and(|run| run.state == RunState::Draft) {
            match self.finish(draft.clone(), &held, lock).await? {
                Some(finished) => swept.finished.push(finished.manifest.id.to_string()),
                None => swept.dropped += 1,
            }
        }
        Ok(())
    }
}

pub(crate) fn ids(manifests: &[QueuedManifest]) -> impl Iterator<Item = String> {
    manifests.iter().map(|queued| queued.manifest.id.to_string())
}
