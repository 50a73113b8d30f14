//! Shell of the machine: carries out its actions, and reports their results as events.
//!
//! A single task owns the [`Machine`] and handles events from a mailbox in order. Each action runs as a task of its
//! own, which ends in an event. Decisions are made only in `run/`, which also describes the failures that each action
//! must survive.

mod clock;
mod commit;
mod convert;
mod progress;
mod registry;
mod rejected;
mod scheduler;
mod steps;
mod store;
mod sweep;
mod watch;

pub use scheduler::Scheduler;

use crate::changes::{Change, EndedRun};
use crate::engine::Engine;
use crate::options::RunOptions;
use crate::run::{Action, Event, Machine, Seen};
use chrono::Utc;
use clock::Clock;
use futures::FutureExt;
use millwork_api::RunProgress;
use millwork_conversion::{ConversionOptions, EarlySurvey};
use millwork_manifest::{Failure, FailureClass, ManifestId, RunState};
use millwork_storage::{Location, Staging, StagingArea, Storage};
use millwork_tracking::{Lock, Run, TrackingStore};
use registry::RunRegistry;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Log target of messages about unlimited retries, so that they are shown even where other logging is off.
const RETRIES: &str = "millwork_retries";

/// Parts that all actions share: the engine, the store, the options and the active runs.
pub(crate) struct Shell {
    engine: Engine,
    store: Arc<dyn TrackingStore>,
    /// Leader lock, whose token is needed to start an attempt.
    lock: Lock,
    options: RunOptions,
    conversion: ConversionOptions,
    early: EarlySurvey,
    output: Location,
    /// Place of the rejected lines.
    quarantine: Location,
    runs: RunRegistry,
    mail: mpsc::UnboundedSender<Event>,
    changes: broadcast::Sender<Change>,
    ended: broadcast::Sender<EndedRun>,
    /// Sender of the progress of runs, each second.
    progresses: broadcast::Sender<Arc<RunProgress>>,
    /// Number of attempts that are being converted, which share the slots.
    converting: AtomicUsize,
    tasks: TaskTracker,
    /// Cancelled once another scheduler has become the leader.
    deposed: CancellationToken,
    /// Cancelled once no runs are in progress any more.
    stopped: CancellationToken,
    /// Held while this process may write to the output.
    _output_lock: Option<File>,
}

/// Handles events from the mailbox until the machine has stopped.
async fn serve(shell: Arc<Shell>, mut machine: Machine, mut mailbox: mpsc::UnboundedReceiver<Event>) {
    // Cancelled however this ends, since nothing runs without the machine.
    let _ended = shell.stopped.clone().drop_guard();
    let mut stops = false;
    let mut clock = Clock::new();
    while !(stops && machine.is_idle()) {
        let wait = machine.wakes_at().map(|at| (at - Utc::now()).to_std().unwrap_or_default());
        let event = tokio::select! {
            event = mailbox.recv() => event,
            () = sleep(wait) => Some(Event::Tick),
        };
        let Some(event) = event else { return };
        stops |= matches!(event, Event::Stop);
        let (now, set_by) = clock.read();
        if let Some(by) = set_by {
            tracing::warn!(
                seconds = by.num_seconds(),
                "the clock of this machine was set, or the machine slept: waiting times are kept"
            );
            machine.shift(by);
        }
        let actions = machine.step(event, now);
        shell.converting.store(machine.converting(), Ordering::Relaxed);
        for action in actions {
            shell.perform(action);
        }
    }
}

async fn sleep(wait: Option<std::time::Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

impl Shell {
    fn perform(self: &Arc<Self>, action: Action) {
        match action {
            Action::Abort(id, attempt) => self.runs.abort(&id, attempt),
            Action::Forget(id) => self.runs.remove(&id),
            action => {
                let this = self.clone();
                self.tasks.spawn(async move {
                    if let Some(event) = this.caught(action).await {
                        this.tell(event);
                    }
                });
            }
        }
    }

    /// Carries out an action; a panic ends only its run.
    async fn caught(self: &Arc<Self>, action: Action) -> Option<Event> {
        let performed = AssertUnwindSafe(self.event_of(action.clone())).catch_unwind().await;
        performed.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let message = format!("the scheduler panicked: {}", text.unwrap_or("no message"));
            tracing::error!(?action, "{message}");
            let failure = Failure::new(FailureClass::Bug, message);
            match action {
                Action::Convert(id, attempt) | Action::Commit(id, attempt) => {
                    Some(self.attempt_failed(id, attempt, failure))
                }
                Action::Discard(id, attempt) => Some(Event::Discarded(id, attempt)),
                Action::Publish(id) => Some(Event::PublishFailed(id, failure)),
                Action::LookForDue(_) | Action::LookForOpen => Some(Event::LookFailed),
                Action::Inspect(id) => Some(Event::Found(id, None)),
                Action::Start(id)
                | Action::Complete(id)
                | Action::Supersede(id, ..)
                | Action::RetryLater(id, ..)
                | Action::Fail(id, ..) => Some(Event::Refused(id, failure)),
                Action::SetRunning(..) | Action::Abort(..) | Action::Forget(_) => None,
            }
        })
    }

    async fn event_of(self: &Arc<Self>, action: Action) -> Option<Event> {
        Some(match action {
            Action::LookForDue(limit) => self.look("due", self.store.due(limit, Utc::now()).await, Event::Due),
            Action::LookForOpen => self.look("open", self.store.open_runs().await, Event::Open),
            Action::Start(id) => self.start(id).await,
            Action::Convert(id, attempt) => {
                let span = self.runs.span(&id);
                self.convert(id, attempt).instrument(span).await
            }
            Action::SetRunning(id, attempt) => {
                self.set_running(&id, attempt).await;
                return None;
            }
            Action::Commit(id, attempt) => {
                let span = tracing::info_span!(parent: &self.runs.span(&id), "commit");
                self.commit(id, attempt).instrument(span).await
            }
            Action::Publish(id) => {
                let span = tracing::info_span!(parent: &self.runs.span(&id), "publish");
                self.publish(id).instrument(span).await
            }
            Action::Complete(id) => self.complete(id).await,
            Action::Supersede(id, attempt, failure, not_before) => {
                self.supersede(id, attempt, failure, not_before).await
            }
            Action::Discard(id, attempt) => {
                self.discard(&id, attempt).await;
                Event::Discarded(id, attempt)
            }
            Action::RetryLater(id, attempt, failure, not_before) => {
                self.retry_later(id, attempt, failure, not_before).await
            }
            Action::Fail(id, attempt, failure) => self.fail(id, attempt, failure).await,
            Action::Inspect(id) => self.inspect(id).await,
            Action::Abort(..) | Action::Forget(_) => return None,
        })
    }

    fn look(
        &self,
        what: &str,
        runs: millwork_tracking::TrackingResult<Vec<Run>>,
        event: fn(Vec<Seen>) -> Event,
    ) -> Event {
        match runs {
            Ok(runs) => event(runs.iter().map(Seen::from).collect()),
            Err(error) => {
                tracing::warn!(target: RETRIES, %error, "cannot look for runs that are {what}; trying again");
                Event::LookFailed
            }
        }
    }

    fn tell(&self, event: Event) {
        // After the end there is no receiver.
        let _ = self.mail.send(event);
    }

    /// Notifies subscribers of a change of a run.
    fn changed(&self, id: &ManifestId, state: RunState, attempt: u32, failure: Option<&Failure>) {
        let change = Change { manifest_id: id.clone(), state, attempt, failure: failure.cloned(), at: Utc::now() };
        let _ = self.changes.send(change);
    }

    fn storage(&self) -> &Storage {
        &self.conversion.storage
    }

    /// Private place of an attempt, for reading and removing.
    fn staging(&self, id: &ManifestId, attempt: u32) -> StagingArea {
        self.storage().staging(Staging::new(&self.output, id.as_str(), attempt, ""))
    }

    /// Removes the files of an attempt. If that fails, the next attempt or the sweep removes them.
    async fn discard(&self, id: &ManifestId, attempt: u32) {
        let staging = self.staging(id, attempt);
        match blocking(move || staging.discard()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(manifest = %id, attempt, %error, "cannot remove the private files of an attempt")
            }
            Err(failure) => {
                tracing::warn!(manifest = %id, attempt, error = %failure, "cannot remove the private files of an attempt")
            }
        }
    }
}

fn storage_failure(error: millwork_storage::StorageError) -> Failure {
    use std::io::ErrorKind;
    let class = match error.source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FailureClass::Resources,
        _ => FailureClass::Storage,
    };
    Failure::new(class, error)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Failure::new(FailureClass::Bug, e))
}
