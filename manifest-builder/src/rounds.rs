//! Rounds over all dates, one after another, which wait for the lock of each: for processes that end when they are done.

use crate::builder::Builder;
use crate::cut::Cut;
use crate::error::BuilderError;
use millwork_manifest::{DatePrefix, Failure, FailureClass, FileState, Flush};
use millwork_storage::Location;
use millwork_tracking::{QueuedManifest, TrackedFile};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Pause before a date that another process is working on is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Time to wait for a lock beyond its longest holding time.
const GRACE: Duration = Duration::from_secs(5);

impl Builder {
    /// Makes manifests of all pending files, as `flush` says, oldest date first.
    pub async fn cut_all(&self, flush: Flush) -> Result<Vec<QueuedManifest>, BuilderError> {
        let mut made = Vec::new();
        for (date, _) in self.store.backlogs().await? {
            self.check_stop()?;
            made.extend(self.when_free(date, async || self.cut(date, flush).await).await?);
        }
        Ok(made)
    }

    /// Makes failed files of a place pending again whose runs failed for a reason other than a file, such as a query or
    /// a full disk: they go into common manifests again. If a file was the cause after all, [`Self::cut_failed`]
    /// separates them later. Returns the number of files. Can be repeated at any time.
    pub async fn take_back_blameless(&self, place: &Location) -> Result<u64, BuilderError> {
        let mut runs: HashMap<String, bool> = HashMap::new();
        let mut taken = 0;
        for file in self.files_in(FileState::Failed, place).await? {
            self.check_stop()?;
            let Some(manifest_id) = file.manifest_id.clone() else { continue };
            let is_blameless = match runs.get(&manifest_id) {
                Some(known) => *known,
                None => {
                    let run = match manifest_id.parse() {
                        Ok(id) => self.store.run_head(&id).await?,
                        Err(_) => None,
                    };
                    let found = run.and_then(|run| run.failure).is_some_and(|failure| is_of_no_file(&failure));
                    runs.insert(manifest_id, found);
                    found
                }
            };
            if is_blameless && self.store.take_back(&file, self.now()).await? {
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Makes a manifest for each file of a place whose run failed, so that a faulty file cannot fail others again.
    pub async fn cut_failed(&self, place: &Location) -> Result<Vec<QueuedManifest>, BuilderError> {
        let mut by_date: BTreeMap<DatePrefix, Vec<TrackedFile>> = BTreeMap::new();
        for file in self.files_in(FileState::Failed, place).await? {
            if let Some(date) = file.date {
                by_date.entry(date).or_default().push(file);
            }
        }
        let mut made = Vec::new();
        for (date, files) in by_date {
            self.check_stop()?;
            made.extend(self.when_free(date, async || self.cut_alone(date, &files).await).await?);
        }
        Ok(made)
    }

    /// Makes manifests of a date once its lock is free. A process that died holds the lock until it expires.
    async fn when_free(
        &self,
        date: DatePrefix,
        cut: impl AsyncFn() -> Result<Cut, BuilderError>,
    ) -> Result<Vec<QueuedManifest>, BuilderError> {
        let (started, patience) = (Instant::now(), self.patience());
        let mut is_told = false;
        loop {
            self.check_stop()?;
            match cut().await? {
                Cut::Made(manifests) => return Ok(manifests),
                Cut::Busy if started.elapsed() > patience => return Err(BuilderError::Busy(date)),
                Cut::Busy => {
                    if !std::mem::replace(&mut is_told, true) {
                        let seconds = patience.as_secs();
                        tracing::warn!(%date, "waiting for who makes manifests of this date; if it died, up to {seconds} s");
                    }
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    /// Time to wait for the lock of a date: its longest holding time plus [`GRACE`].
    fn patience(&self) -> Duration {
        self.settings.lock_ttl.to_std().unwrap_or_default() + GRACE
    }

    /// Calls [`Self::sweep`] until no date is locked by another process.
    pub async fn sweep_all(&self) -> Result<(), BuilderError> {
        let started = Instant::now();
        loop {
            self.check_stop()?;
            match self.sweep().await?.busy.first() {
                None => return Ok(()),
                Some(date) if started.elapsed() > self.patience() => return Err(BuilderError::Busy(*date)),
                Some(date) => {
                    tracing::debug!(%date, "waiting for who makes manifests of this date");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }
}

/// Tells whether the failure of a run cannot be due to any of its files.
fn is_of_no_file(failure: &Failure) -> bool {
    let is_outside = match failure.class {
        FailureClass::Input | FailureClass::Storage | FailureClass::Resources | FailureClass::Cancelled => true,
        FailureClass::LostExecutor | FailureClass::Timeout | FailureClass::Bug => false,
    };
    is_outside && failure.file.is_none()
}
