//! Actions that only access the store.

use super::registry::{Attempt, Input};
use super::{RETRIES, Shell};
use crate::changes::EndedRun;
use crate::commit::RunResult;
use crate::loss::{self, TakeBackError};
use crate::run::{Event, Seen};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FailureClass, ManifestId, RunState, printable};
use millwork_tracking::TrackingError;
use std::sync::Arc;

impl Shell {
    pub(super) async fn start(&self, id: ManifestId) -> Event {
        let input = match self.load(&id).await {
            Ok(input) => input,
            Err(event) => return event,
        };
        // Done before any file of this generation is published, and before the run can fail.
        if let Err(event) = self.take_back(&id, input.generation).await {
            return event;
        }
        match self.store.start_attempt(&id, &self.lock, Utc::now()).await {
            Ok(attempt) => {
                let span = tracing::info_span!("run", manifest = %id, attempt, trace_id = tracing::field::Empty);
                for batch in &input.manifest.traceparents {
                    millwork_process::link(&span, batch.as_str());
                }
                if let Some(trace) = millwork_process::trace_id(&span) {
                    span.record("trace_id", trace);
                }
                span.in_scope(|| tracing::info!(manifest = %id, attempt, "attempt started"));
                self.changed(&id, RunState::Planning, attempt, None);
                let attempt_now = Attempt::new(attempt, span, &input.manifest);
                self.runs.started(&id, attempt_now, input);
                Event::Started(id, attempt)
            }
            Err(error) => self.objection(id, &error),
        }
    }

    /// Loads the data that attempts share, once.
    async fn load(&self, id: &ManifestId) -> Result<Input, Event> {
        if let Some(input) = self.runs.take_up(id) {
            return Ok(input);
        }
        let (manifest, run) = futures::join!(self.store.manifest(id), self.store.run_head(id));
        let objection = |error| self.objection(id.clone(), &error);
        let (Some(manifest), Some(run)) = (manifest.map_err(objection)?, run.map_err(objection)?) else {
            let failure = Failure::new(FailureClass::Bug, "its manifest is not in the store");
            return Err(Event::Refused(id.clone(), failure));
        };
        let input = Input { manifest: Arc::new(manifest), generation: run.generation };
        self.runs.loaded(id, input.clone());
        Ok(input)
    }

    /// Withdraws the outputs of the run that were given up.
    async fn take_back(&self, id: &ManifestId, generation: u32) -> Result<(), Event> {
        if generation <= 1 {
            return Ok(());
        }
        match loss::take_back_superseded(&*self.store, self.storage(), id).await {
            Ok(()) => Ok(()),
            Err(TakeBackError::Store(error)) => Err(self.objection(id.clone(), &error)),
            Err(TakeBackError::Storage(error)) => {
                tracing::warn!(manifest = %id, %error, "cannot take back what is left of a lost output; trying again");
                Err(Event::Unanswered(id.clone()))
            }
        }
    }

    pub(super) async fn supersede(
        &self,
        id: ManifestId,
        attempt: u32,
        failure: Failure,
        not_before: DateTime<Utc>,
    ) -> Event {
        let superseded = self.store.supersede(&id, attempt, &failure, Some(not_before), Utc::now()).await;
        if let Err(error) = superseded {
            return self.objection(id, &error);
        }
        tracing::warn!(manifest = %id, attempt, error = %failure, %not_before, "a committed run is converted anew");
        metrics::counter!("millwork_retries_total", "class" => failure.class.as_str()).increment(1);
        self.changed(&id, RunState::Queued, attempt, Some(&failure));
        if let Err(error) = loss::take_back_superseded(&*self.store, self.storage(), &id).await {
            tracing::warn!(manifest = %id, %error, "cannot take back what is left of a lost output; the next attempt does it");
        }
        Event::Settled(id)
    }

    pub(super) async fn set_running(&self, id: &ManifestId, attempt: u32) {
        self.changed(id, RunState::Running, attempt, None);
        // Only for display, so that a failure is ignored; the next change updates it.
        if let Err(error) = self.store.set_running(id, attempt, Utc::now()).await {
            tracing::warn!(manifest = %id, %error, "cannot note that a run is running");
        }
    }

    pub(super) async fn complete(&self, id: ManifestId) -> Event {
        let result = match self.runs.commit_of(&id) {
            Some(committed) => committed.result.clone(),
            // Committed by an earlier process.
            None => match self.store.run(&id).await {
                // The completion has been announced.
                Ok(Some(run)) if run.state == RunState::Completed => return Event::Settled(id),
                Ok(run) => match run.as_ref().map_or(Ok(None), RunResult::of) {
                    Ok(result) => result.unwrap_or_default(),
                    Err(error) => {
                        tracing::warn!(manifest = %id, %error, "a run is completed without its numbers");
                        RunResult::default()
                    }
                },
                Err(error) => return self.objection(id, &error),
            },
        };
        if let Err(error) = self.store.complete(&id, Utc::now()).await {
            return self.objection(id, &error);
        }
        self.completed(&id, result);
        Event::Settled(id)
    }

    fn completed(&self, id: &ManifestId, result: RunResult) {
        let (rows, rejected, files) = (result.rows, result.rejected, result.outputs.len());
        tracing::info!(manifest = %id, rows, rejected, files, "run completed");
        let mut without_rows = result.ledger.iter().filter_map(|file| Some((&file.uri, file.without_rows()?)));
        if let Some((uri, cause)) = without_rows.next() {
            let files = 1 + without_rows.count();
            tracing::warn!(manifest = %id, files, first = %printable(uri), %cause, "files without a row");
        }
        metrics::counter!("millwork_runs_ended_total", "state" => "completed").increment(1);
        metrics::gauge!("millwork_run_last_success_timestamp_seconds").set(Utc::now().timestamp() as f64);
        metrics::counter!("millwork_input_bytes_total").increment(result.input_bytes);
        metrics::counter!("millwork_output_bytes_total").increment(result.output_bytes);
        metrics::counter!("millwork_rows_total").increment(rows);
        metrics::counter!("millwork_rejected_lines_total").increment(rejected);
        self.changed(id, RunState::Completed, 0, None);
        self.ended(id, Ok(Arc::new(result)));
    }

    pub(super) async fn retry_later(
        &self,
        id: ManifestId,
        attempt: u32,
        failure: Failure,
        not_before: DateTime<Utc>,
    ) -> Event {
        self.note_work(&id, attempt).await;
        match self.store.retry_later(&id, attempt, &failure, not_before, Utc::now()).await {
            Ok(true) => {
                tracing::warn!(manifest = %id, attempt, class = %failure.class, error = %failure, %not_before, "an attempt failed; it is made again");
                metrics::counter!("millwork_retries_total", "class" => failure.class.as_str()).increment(1);
                self.changed(&id, RunState::Queued, attempt, Some(&failure));
                Event::Settled(id)
            }
            Ok(false) => Event::Refused(id, failure),
            Err(error) => self.objection(id, &error),
        }
    }

    pub(super) async fn fail(&self, id: ManifestId, attempt: u32, failure: Failure) -> Event {
        self.note_work(&id, attempt).await;
        if let Err(error) = self.store.fail(&id, attempt, &failure, Utc::now()).await {
            return self.objection(id, &error);
        }
        let state = if failure.class == FailureClass::Cancelled { RunState::Cancelled } else { RunState::Failed };
        tracing::error!(manifest = %id, attempt, class = %failure.class, error = %failure, "run {state}");
        metrics::counter!("millwork_runs_ended_total", "state" => state.as_str()).increment(1);
        metrics::counter!("millwork_failures_total", "class" => failure.class.as_str()).increment(1);
        self.changed(&id, state, attempt, Some(&failure));
        self.ended(&id, Err(failure));
        Event::Settled(id)
    }

    /// Records the work of a failed attempt, for display. A failure is logged only.
    async fn note_work(&self, id: &ManifestId, attempt: u32) {
        let work = self.runs.attempt(id, |at| if at.number == attempt { at.progress.account() } else { None });
        let Some(work) = work.flatten() else { return };
        if let Err(error) = self.store.note_work(id, attempt, &work).await {
            tracing::debug!(manifest = %id, %error, "cannot note what was done in an attempt");
        }
    }

    pub(super) async fn inspect(&self, id: ManifestId) -> Event {
        match self.store.run_head(&id).await {
            Ok(run) => Event::Found(id, run.as_ref().map(Seen::from)),
            Err(error) if error.can_pass() => self.objection(id, &error),
            Err(error) => {
                tracing::error!(manifest = %id, %error, "the store holds a run that cannot be read: it is left alone");
                Event::Found(id, None)
            }
        }
    }

    /// Notes that an attempt ended without a commit, and returns the event for it.
    pub(super) fn attempt_failed(&self, id: ManifestId, attempt: u32, failure: Failure) -> Event {
        self.runs.failed(&id, attempt);
        Event::AttemptFailed(id, attempt, failure)
    }

    pub(super) fn ended(&self, id: &ManifestId, outcome: Result<Arc<RunResult>, Failure>) {
        let _ = self.ended.send(EndedRun { manifest_id: id.clone(), outcome });
    }

    /// Event for an error of the store, for the run that made the request.
    pub(super) fn objection(&self, id: ManifestId, error: &TrackingError) -> Event {
        match error {
            TrackingError::LockLost { .. } => {
                self.deposed.cancel();
                Event::Unanswered(id)
            }
            error if error.can_pass() => {
                tracing::warn!(target: RETRIES, manifest = %id, %error, "the store does not answer; trying again");
                Event::Unanswered(id)
            }
            error => {
                tracing::warn!(manifest = %id, %error, "the store refuses a change of the run; the attempt fails");
                let is_about_input = matches!(error, TrackingError::Taken { .. } | TrackingError::Conflict { .. });
                let class = if is_about_input { FailureClass::Input } else { FailureClass::Bug };
                Event::Refused(id, Failure::new(class, error))
            }
        }
    }
}
