//! The scheduler as a service: manifests in, runs taken to their end, a few at a time, oldest first.

use crate::commit::RunResult;
use crate::engine::Engine;
use crate::options::RunOptions;
use crate::run::{Ended, Runner};
use anyhow::Context;
use chrono::Utc;
use millwork_manifest::{Failure, FailureClass, Manifest, ManifestId};
use millwork_storage::Location;
use millwork_tracking::{QueuedManifest, Run, RunState, TrackingResult, TrackingStore};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Smaller files than this have no part that S3 takes as such, and would pass through the scheduler.
const MIN_BUCKET_FILE_MB: u64 = 8;
/// How many ended runs a slow listener may lag behind.
const EVENT_BUFFER: usize = 4096;

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// Its manifest.
    pub manifest_id: ManifestId,
    /// What it produced, or why not.
    pub outcome: Result<Arc<RunResult>, Failure>,
}

/// The scheduler.
#[derive(Clone)]
pub struct Scheduler {
    runner: Arc<Runner>,
    turns: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    events: broadcast::Sender<EndedRun>,
    /// Runs that are waiting or going on in this process.
    active: Arc<Mutex<HashSet<ManifestId>>>,
}

impl Scheduler {
    /// A scheduler on an engine and a store. Nothing runs yet; see [`Self::resume`].
    pub fn new(engine: Engine, store: Arc<dyn TrackingStore>, options: RunOptions) -> anyhow::Result<Self> {
        let output = options.output()?;
        let quarantine = match &options.quarantine {
            Some(place) => Location::parse(place)?,
            None => output.join("_quarantine"),
        };
        anyhow::ensure!(
            output.local_path().is_some() || options.target_file_mb >= MIN_BUCKET_FILE_MB,
            "files in a bucket are of at least {MIN_BUCKET_FILE_MB} MiB: raise --target-file-mb"
        );
        // A bucket has no such lock: there, the lock of the state must do.
        let output_lock = output.local_path().map(lock_output).transpose()?;
        let conversion = options.conversion()?;
        let turns = Arc::new(Semaphore::new(options.max_concurrent_runs as usize));
        let runner = Arc::new(Runner {
            engine,
            store,
            options,
            conversion,
            output,
            quarantine,
            active: 0.into(),
            _output_lock: output_lock,
        });
        let (events, _) = broadcast::channel(EVENT_BUFFER);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self { runner, turns, tasks, stop, events, active: Arc::default() })
    }

    /// Takes up the runs that an earlier process left unfinished.
    pub async fn resume(&self) -> TrackingResult<usize> {
        let unfinished = self.runner.store.unfinished().await?;
        let count = unfinished.len();
        for queued in unfinished {
            self.start(queued.manifest);
        }
        Ok(count)
    }

    /// Takes up at intervals what others have queued in the store, such as a manifest builder, until the end.
    pub async fn take_up(self, interval: Duration) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            match self.resume().await {
                Ok(0) => {}
                Ok(unfinished) => tracing::debug!(unfinished, "looked for queued runs"),
                Err(error) => tracing::warn!(%error, "cannot look for queued runs"),
            }
        }
    }

    /// Queues a manifest. One that is known is not run again: its run is returned as it is.
    pub async fn submit(&self, manifest: Manifest, uri: &str) -> TrackingResult<Option<Run>> {
        let id = manifest.id.clone();
        let queued = QueuedManifest { manifest, uri: uri.to_owned() };
        self.runner.store.submit(&queued, Utc::now()).await?;
        let run = self.runner.store.run(&id).await?;
        // It may have been queued by the manifest builder, or by a request whose answer was lost.
        if run.as_ref().is_some_and(|run| !run.state.is_final()) {
            self.start(queued.manifest);
        }
        Ok(run)
    }

    /// Queues a run that failed once more.
    pub async fn retry(&self, manifest: Manifest) -> TrackingResult<Option<Run>> {
        self.runner.store.requeue(&manifest.id, Utc::now()).await?;
        let id = manifest.id.clone();
        self.start(manifest);
        self.runner.store.run(&id).await
    }

    /// The store behind it.
    pub fn store(&self) -> &dyn TrackingStore {
        &*self.runner.store
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Engine {
        &self.runner.engine
    }

    /// Tells of runs that end from now on.
    pub fn events(&self) -> broadcast::Receiver<EndedRun> {
        self.events.subscribe()
    }

    /// Waits until every run has ended.
    pub async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Stops: running attempts are cancelled and leave nothing, their runs go on next time.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.idle().await;
    }

    fn start(&self, manifest: Manifest) {
        let is_new = self.active.lock().unwrap_or_else(PoisonError::into_inner).insert(manifest.id.clone());
        if !is_new {
            return;
        }
        let this = self.clone();
        self.tasks.spawn(async move {
            // The semaphore is fair: runs get their turn in the order in which they were started.
            let ended = tokio::select! {
                // What is submitted while the scheduler stops is not begun.
                biased;
                () = this.stop.cancelled() => Err(Ended::Interrupted),
                turn = this.turns.acquire() => {
                    let ended = this.run_caught(&manifest).await;
                    drop(turn);
                    ended
                }
            };
            this.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&manifest.id);
            this.report(manifest.id, ended);
        });
    }

    /// Runs a manifest; a panic ends this run only.
    async fn run_caught(&self, manifest: &Manifest) -> Result<RunResult, Ended> {
        let (runner, stop, of) = (self.runner.clone(), self.stop.clone(), manifest.clone());
        match tokio::spawn(async move { runner.run(&of, &stop).await }).await {
            Ok(ended) => ended,
            Err(panic) => {
                let failure = Failure::new(FailureClass::Bug, panic);
                self.runner.store.fail(&manifest.id, &failure, Utc::now()).await?;
                Err(Ended::Failed(failure))
            }
        }
    }

    fn report(&self, manifest_id: ManifestId, ended: Result<RunResult, Ended>) {
        let outcome = match ended {
            Ok(result) => {
                let files = result.outputs.len();
                tracing::info!(manifest = %manifest_id, rows = result.rows, rejected = result.rejected, files, "run completed");
                Ok(Arc::new(result))
            }
            Err(Ended::Failed(failure)) => {
                tracing::error!(manifest = %manifest_id, class = %failure.class, error = %failure, "run failed");
                Err(failure)
            }
            Err(Ended::Interrupted) => {
                tracing::info!(manifest = %manifest_id, "run interrupted; it goes on when the scheduler is started again");
                return;
            }
        };
        // Nobody may be listening.
        let _ = self.events.send(EndedRun { manifest_id, outcome });
    }
}

/// Makes this the one process that writes to an output. The system lets go of it when the process ends.
fn lock_output(output: &Path) -> anyhow::Result<File> {
    let path = output.join("_millwork/output.lock");
    let open = || {
        std::fs::create_dir_all(output.join("_millwork"))?;
        File::create(&path)
    };
    let lock = open().with_context(|| format!("cannot write to the output `{}`", output.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            anyhow::bail!("another millwork process writes to the output `{}`", output.display())
        }
        Err(std::fs::TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock `{}`", path.display())),
    }
}

/// Whether a run needs a retry to be run again.
pub(crate) fn has_ended_without_output(run: &Run) -> bool {
    matches!(run.state, RunState::Failed | RunState::Cancelled)
}
