//! Public interface of the scheduler.

use super::registry::RunRegistry;
use super::{Shell, serve, sweep};
use crate::changes::{Change, EndedRun};
use crate::engine::Engine;
use crate::lease::{Lease, LeaseUntil, OutputLock};
use crate::options::RunOptions;
use crate::recorder::Recorder;
use crate::run::{Event, Limits, Machine};
use chrono::{DateTime, Utc};
use millwork_api::RunProgress;
use millwork_conversion::{ConversionOptions, EarlySurvey};
use millwork_manifest::{ManifestId, RunState};
use millwork_tracking::{Run, TrackingStore};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Least target size in a bucket, in MiB: smaller files have no part that S3 accepts before the last one, so that their
/// whole content would pass through the scheduler.
const MIN_BUCKET_FILE_MB: u64 = 8;
/// Limit of the changes that a slow listener may lag behind.
const CHANGES: usize = 4096;

/// Handle of the part of a process that runs the manifests of a store.
#[derive(Clone)]
pub struct Scheduler {
    shell: Arc<Shell>,
    serving: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
    recording: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
    lease_until: LeaseUntil,
}

impl Scheduler {
    /// Takes up what is queued and what a scheduler before this one left, and goes on until [`Self::shut_down`]. The receiver
    /// hears of all runs that end. Conversions are made by these options, and the first perhaps
    /// from a survey that was begun already.
    pub fn start(
        engine: Engine,
        lease: &Lease,
        output: OutputLock,
        options: RunOptions,
        (conversion, early): (ConversionOptions, EarlySurvey),
    ) -> anyhow::Result<(Self, broadcast::Receiver<EndedRun>)> {
        let OutputLock { output, _file } = output;
        let quarantine = options.quarantine()?.unwrap_or_else(|| output.join("_quarantine"));
        anyhow::ensure!(
            output.local_path().is_some() || options.target_file_mb >= MIN_BUCKET_FILE_MB,
            "files in a bucket are of at least {MIN_BUCKET_FILE_MB} MiB: raise --target-file-mb"
        );
        let limits = limits_of(&options)?;
        let (mail, mailbox) = mpsc::unbounded_channel();
        let (ended, heard) = broadcast::channel(CHANGES);
        let shell = Arc::new(Shell {
            engine,
            store: lease.store().clone(),
            lock: lease.lock().clone(),
            conversion,
            early,
            _output_lock: _file,
            options,
            output,
            quarantine,
            runs: RunRegistry::default(),
            mail,
            changes: broadcast::channel(CHANGES).0,
            progresses: broadcast::channel(CHANGES).0,
            ended,
            converting: 0.into(),
            tasks: TaskTracker::new(),
            deposed: lease.lost().clone(),
            stopped: CancellationToken::new(),
        });
        tokio::spawn(sweep::sweep_at_intervals(shell.clone()));
        tokio::spawn(shell.clone().watch());
        let recording = start_recording(&shell);
        let serving = tokio::spawn(serve(shell.clone(), Machine::new(limits), mailbox));
        let lease_until = lease.until();
        let recording = Arc::new(Some(recording).into());
        Ok((Self { shell, serving: Arc::new(Some(serving).into()), recording, lease_until }, heard))
    }

    /// Announces a queued run, which would otherwise be found somewhat later.
    pub fn queued(&self, id: &ManifestId, is_urgent: bool) {
        self.shell.changed(id, RunState::Queued, 0, None);
        self.shell.tell(Event::Queued { is_urgent });
    }

    /// Announces a requested cancellation, which is recorded in the store.
    pub fn cancel(&self, id: &ManifestId) {
        self.shell.tell(Event::Cancel(id.clone()));
    }

    /// Progress of a run, if this process has an attempt at it.
    pub async fn progress(&self, id: &ManifestId) -> Option<RunProgress> {
        self.shell.progress(id).await
    }

    /// Runs that have a job, by the engine's job id.
    pub fn runs_by_job(&self) -> HashMap<String, ManifestId> {
        self.shell.runs.jobs().into_iter().map(|(id, job)| (job.to_string(), id)).collect()
    }

    /// Expiry time of the leader lock if it is not renewed; `None` for a file lock.
    pub fn lease_until(&self) -> Option<DateTime<Utc>> {
        self.lease_until.get()
    }

    /// Subscribes to the progress of runs, sent each second.
    pub(crate) fn progresses(&self) -> broadcast::Receiver<Arc<RunProgress>> {
        self.shell.progresses.subscribe()
    }

    /// Obstacle to the publication of a committed run, if it failed in this process.
    pub fn obstacle(&self, id: &ManifestId) -> Option<String> {
        self.shell.runs.obstacle(id)
    }

    /// The tracking store.
    pub fn store(&self) -> &Arc<dyn TrackingStore> {
        &self.shell.store
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.shell.engine
    }

    /// Subscribes to changes of runs.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shell.changes.subscribe()
    }

    /// Subscribes to runs that end.
    pub fn ended(&self) -> broadcast::Receiver<EndedRun> {
        self.shell.ended.subscribe()
    }

    /// Tells whether no run is active.
    pub fn is_idle(&self) -> bool {
        self.shell.runs.is_empty()
    }

    /// Cancelled once another scheduler has become the leader: this process must end.
    pub fn deposed(&self) -> &CancellationToken {
        &self.shell.deposed
    }

    /// Cancelled once nothing runs any more, for any reason.
    pub fn stopped(&self) -> &CancellationToken {
        &self.shell.stopped
    }

    /// Stops: attempts are aborted and their files removed, and their runs continue at the next start; commits are
    /// finished. The caller limits the time.
    pub async fn shut_down(&self) {
        self.shell.tell(Event::Stop);
        if let Some(serving) = self.serving.lock().await.take() {
            // Ends when no action is in progress any more.
            let _ = serving.await;
        }
        self.shell.tasks.close();
        self.shell.tasks.wait().await;
        if let Some(recording) = self.recording.lock().await.take() {
            // The recorder writes its last values before it ends.
            let _ = recording.await;
        }
    }
}

fn limits_of(options: &RunOptions) -> anyhow::Result<Limits> {
    Ok(Limits {
        max_concurrent_runs: options.max_concurrent_runs as usize,
        max_retries: options.max_retries,
        run_timeout: chrono::Duration::minutes(options.run_timeout_minutes.try_into()?),
        // As many as the history keeps, since the death of a scheduler counts against every run that was active.
        max_silent_attempts: Run::HISTORY as u32,
    })
}

fn start_recording(shell: &Shell) -> JoinHandle<()> {
    let (ended, stopped) = (shell.ended.subscribe(), shell.stopped.clone());
    tokio::spawn(Recorder::new(shell.store.clone(), shell.engine.clone(), ended, stopped).record())
}
