//! One run: from a manifest to published output, through as many attempts as it takes.

use crate::commit::{CommitRecord, Destination, RunResult};
use crate::engine::{Engine, Job};
use crate::options::RunOptions;
use chrono::Utc;
use millwork_conversion::{AttemptOutcome, ConversionOptions, Survey, Verdict, judge, plan_attempt, survey};
use millwork_manifest::{Failure, FailureClass, Manifest};
use millwork_storage::{Location, Staging};
use millwork_tracking::{Commit, TrackingError, TrackingStore};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The pause before the first retry; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// How often an attempt is planned again because columns turned up that its plan did not know. One pass finds them
/// all; a second would mean that the input changes.
const MAX_REPLANS: usize = 2;

/// What all runs of a scheduler share.
pub(crate) struct Runner {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn TrackingStore>,
    pub(crate) options: RunOptions,
    pub(crate) conversion: ConversionOptions,
    pub(crate) output: Location,
    /// Where rejected lines go.
    pub(crate) quarantine: Location,
    /// Runs that have their turn.
    pub(crate) active: AtomicUsize,
    /// Held as long as this process may write to the output.
    pub(crate) _output_lock: Option<File>,
}

/// Why a run has no output.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It failed; that is in its record.
    Failed(Failure),
    /// The scheduler is shutting down: the run is as it was in the store, and goes on next time.
    Interrupted,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<TrackingError> for Ended {
    fn from(error: TrackingError) -> Self {
        Self::Failed(Failure::new(FailureClass::Storage, error))
    }
}

impl Runner {
    /// Takes a run to its end. What an earlier attempt or process has committed is finished, never made again.
    pub(crate) async fn run(&self, manifest: &Manifest, stop: &CancellationToken) -> Result<RunResult, Ended> {
        self.active.fetch_add(1, Ordering::Relaxed);
        let ended = self.attempts(manifest, stop).await;
        self.active.fetch_sub(1, Ordering::Relaxed);
        ended
    }

    async fn attempts(&self, manifest: &Manifest, stop: &CancellationToken) -> Result<RunResult, Ended> {
        let mut backoff = FIRST_BACKOFF;
        let mut failures = 0;
        loop {
            let commit = self.store.unpublished(&manifest.id).await?;
            let tried = match &commit {
                Some(commit) => self.finish(commit).await.map_err(Ended::Failed),
                None => self.attempt(manifest, stop).await,
            };
            let failure = match tried {
                Err(Ended::Failed(failure)) => failure,
                done => return done,
            };
            tracing::warn!(manifest = %manifest.id, class = %failure.class, error = %failure, "an attempt failed");
            failures += 1;
            let gives_up = !failure.class.can_pass() || failures > self.options.max_retries;
            match self.store.unpublished(&manifest.id).await? {
                // Committed is committed: only its publication is late.
                Some(_) if gives_up => {
                    let message = format!("committed, but not published yet; the next start finishes it: {failure}");
                    return Err(Ended::Failed(Failure { message, ..failure }));
                }
                None if gives_up => {
                    let attempt = self.store.run(&manifest.id).await?.map_or(0, |run| run.attempts);
                    self.store.fail(&manifest.id, attempt, &failure, Utc::now()).await?;
                    return Err(Ended::Failed(failure));
                }
                _ => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Err(Ended::Interrupted),
                () = tokio::time::sleep(backoff) => backoff *= 2,
            }
        }
    }

    /// One attempt, planned again where its columns turn out to be others. Leaves nothing behind unless it commits.
    async fn attempt(&self, manifest: &Manifest, stop: &CancellationToken) -> Result<RunResult, Ended> {
        let mut columns = None;
        for _ in 0..=MAX_REPLANS {
            let name = format!("LOCK#attempts#{}", manifest.id);
            let lock = self.store.lock(&name, "scheduler", chrono::Duration::zero(), Utc::now()).await?;
            let lock = lock.ok_or_else(|| Failure::new(FailureClass::Storage, "another attempt starts"))?;
            let attempt = self.store.start_attempt(&manifest.id, &lock, Utc::now()).await?;
            let layout = self.options.layout.template(manifest);
            let staging = Staging::new(&self.output, manifest.id.as_str(), attempt, &layout);
            let time_limit = Duration::from_secs(self.options.run_timeout_minutes * 60);
            let tried = tokio::select! {
                () = stop.cancelled() => Err(Ended::Interrupted),
                tried = tokio::time::timeout(time_limit, self.convert(manifest, &staging, columns.take(), stop)) => {
                    tried.unwrap_or_else(|_| Err(Ended::Failed(timed_out(time_limit))))
                }
            };
            let verdict = match tried {
                Ok(Converted::Complete(outcome)) => match self.settle(*outcome, &staging).await {
                    Ok(outcome) => return self.commit(manifest, attempt, staging, &outcome).await,
                    Err(failure) => Err(Ended::Failed(failure)),
                },
                Ok(Converted::Replan(found)) => Ok(found),
                Err(ended) => Err(ended),
            };
            discard(staging).await;
            columns = Some(verdict?);
            tracing::info!(manifest = %manifest.id, "planning again: columns turned up beyond the first lines");
        }
        Err(Failure::new(FailureClass::Input, "the columns keep changing: the input changes while it is read").into())
    }

    async fn convert(
        &self,
        manifest: &Manifest,
        staging: &Staging,
        columns: Option<(Arc<Survey>, millwork_conversion::Columns)>,
        stop: &CancellationToken,
    ) -> Result<Converted, Ended> {
        let (survey, columns) = match columns {
            Some(known) => known,
            None => {
                let survey = Arc::new(survey(manifest, self.conversion.names).await?);
                let columns = survey.columns();
                (survey, columns)
            }
        };
        let prepared = staging.clone();
        blocking(move || prepared.prepare()).await?.map_err(storage_failure)?;
        // Runs at the same time share the slots.
        let slots = self.engine.slots().await.div_ceil(self.active.load(Ordering::Relaxed).max(1)).max(1);
        let plan = |columns| plan_attempt(manifest, &survey, columns, staging.clone(), &self.conversion, slots);
        let planned = match plan(columns.clone()).await {
            // The query may name a column that only lines beyond the samples have.
            Err(failure) if !self.conversion.query.is_default() => {
                let all = survey.all_columns(self.conversion.names).await?;
                if all == columns { Err(failure) } else { plan(all).await }
            }
            planned => planned,
        }?;
        let job = self.engine.submit(manifest.id.as_str(), planned.plan.clone()).await?;
        // Whatever ends the wait, time or a request, ends the job.
        let mut job = CancelOnDrop { engine: self.engine.clone(), job: Some(job) };
        let reports = tokio::select! {
            () = stop.cancelled() => return Err(Ended::Interrupted),
            reports = job.wait() => reports?,
        };
        match judge(&survey, &planned.columns, &self.conversion.query, reports) {
            Verdict::Complete(outcome) => Ok(Converted::Complete(Box::new(outcome))),
            Verdict::Replan(columns) => Ok(Converted::Replan((survey, columns))),
            Verdict::Failed(failure) => Err(Ended::Failed(failure)),
        }
    }

    /// The last checks and changes before the commit.
    async fn settle(&self, mut outcome: AttemptOutcome, staging: &Staging) -> Result<AttemptOutcome, Failure> {
        self.check_rejected(&outcome)?;
        let staging = staging.clone();
        blocking(move || {
            outcome.settle(&staging)?;
            staging.sync().map_err(storage_failure)?;
            Ok(outcome)
        })
        .await?
    }

    fn check_rejected(&self, outcome: &AttemptOutcome) -> Result<(), Failure> {
        let lines: u64 = outcome.ledger.iter().map(|file| file.lines).sum();
        let rejected: u64 = outcome.ledger.iter().map(|file| file.rejected).sum();
        let limit = self.options.max_rejected_percent;
        if rejected as f64 * 100.0 <= limit * lines as f64 {
            return Ok(());
        }
        let worst = outcome.ledger.iter().max_by_key(|file| file.rejected).map_or("", |file| file.uri.as_str());
        let message =
            format!("{rejected} of {lines} lines are rejected, more than {limit} %; most of them in `{worst}`");
        Err(Failure::new(FailureClass::Input, message))
    }

    async fn commit(
        &self,
        manifest: &Manifest,
        attempt: u32,
        staging: Staging,
        outcome: &AttemptOutcome,
    ) -> Result<RunResult, Ended> {
        let to = Destination { output: &self.output, quarantine: &self.quarantine, layout: &self.options.layout };
        let made = CommitRecord::new(manifest, staging.clone(), outcome, &to);
        let (record, result) = made.map_err(|e| Failure::new(FailureClass::Bug, e))?;
        let asked = blocking(move || {
            let foreign = record.foreign_output().map(|uri| uri.map(ToString::to_string));
            (record, foreign)
        });
        let (record, foreign) = asked.await?;
        if let Some(uri) = foreign.map_err(storage_failure)? {
            discard(staging).await;
            let message = format!("`{uri}` is there already, and is not of this run: move it away, then retry");
            return Err(Failure::new(FailureClass::Input, message).into());
        }
        let bug = |e: serde_json::Error| Failure::new(FailureClass::Bug, e);
        let record = serde_json::to_string(&record).map_err(bug)?;
        let commit = Commit { manifest_id: manifest.id.clone(), attempt, record };
        let won = self.store.commit(&commit, &serde_json::to_value(&result).map_err(bug)?, Utc::now()).await;
        match won {
            Ok(true) => Ok(self.finish(&commit).await?),
            Ok(false) => {
                discard(staging).await;
                Err(Failure::new(FailureClass::Bug, "another attempt at this manifest has won").into())
            }
            // The record may be there all the same, so the private files must be, too.
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes a committed attempt, now or after a crash.
    async fn finish(&self, commit: &Commit) -> Result<RunResult, Failure> {
        let record: CommitRecord =
            serde_json::from_str(&commit.record).map_err(|e| Failure::new(FailureClass::Bug, e))?;
        blocking(move || record.publish()).await?.map_err(storage_failure)?;
        let stored = |e: TrackingError| Failure::new(FailureClass::Storage, e);
        self.store.complete(&commit.manifest_id, Utc::now()).await.map_err(stored)?;
        let run = self.store.run(&commit.manifest_id).await.map_err(stored)?;
        let result = run.and_then(|run| run.result).unwrap_or_default();
        serde_json::from_value(result).map_err(|e| Failure::new(FailureClass::Bug, e))
    }
}

enum Converted {
    Complete(Box<AttemptOutcome>),
    Replan((Arc<Survey>, millwork_conversion::Columns)),
}

struct CancelOnDrop {
    engine: Engine,
    job: Option<Job>,
}

impl CancelOnDrop {
    async fn wait(&mut self) -> Result<Vec<millwork_conversion::TaskReport>, Failure> {
        let Some(job) = &mut self.job else { return Ok(Vec::new()) };
        let reports = self.engine.wait(job).await?;
        self.job = None;
        Ok(reports)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let engine = self.engine.clone();
            tokio::spawn(async move { engine.cancel(&job).await });
        }
    }
}

fn timed_out(limit: Duration) -> Failure {
    Failure::new(FailureClass::Timeout, format!("the attempt took longer than {} minutes", limit.as_secs() / 60))
}

fn storage_failure(error: millwork_storage::StorageError) -> Failure {
    use std::io::ErrorKind;
    let class = match error.source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FailureClass::Resources,
        _ => FailureClass::Storage,
    };
    Failure::new(class, error)
}

/// Removes what an attempt wrote. If that fails, the next attempt or start does it.
async fn discard(staging: Staging) {
    if let Ok(Err(error)) = blocking(move || staging.discard()).await {
        tracing::warn!(%error, "cannot remove the private files of an attempt");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Failure::new(FailureClass::Bug, e))
}
