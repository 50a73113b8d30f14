//! Commit and publication of an attempt.

use super::registry::{Output, Phase, Prepared};
use super::{RETRIES, Shell, blocking, storage_failure};
use crate::commit::{CommitRecord, Destination};
use crate::loss;
use crate::run::Event;
use chrono::Utc;
use millwork_api::Step;
use millwork_conversion::AttemptOutcome;
use millwork_manifest::{Failure, FailureClass, ManifestId, ObjectUri, RunState};
use millwork_storage::{StagingArea, StorageError};
use millwork_tracking::{Commit, Replaced};
use std::sync::Arc;
use std::time::Instant;

/// Number of consecutive checks that must find files gone before a committed output is given up: a store may show an
/// object late that it has just completed.
const LOOKS: u32 = 2;
/// Number of failed publications after which clients that wait for the run are told.
const PATIENCE: u32 = 3;

impl Shell {
    pub(super) async fn commit(&self, id: ManifestId, attempt: u32) -> Event {
        let started = Instant::now();
        self.runs.step(&id, Step::Commit);
        let prepared = match self.prepared(&id, attempt).await {
            Ok(prepared) => prepared,
            Err(event) => return event,
        };
        let result = match serde_json::to_value(&prepared.result) {
            Ok(result) => result,
            Err(error) => return self.attempt_failed(id, attempt, Failure::new(FailureClass::Bug, error)),
        };
        match self.store.commit(&prepared.commit, &result, Utc::now()).await {
            Ok(true) => {
                metrics::histogram!("millwork_commit_duration_seconds").record(started.elapsed().as_secs_f64());
                self.runs.committed(&id, attempt, prepared);
                self.changed(&id, RunState::Committing, attempt, None);
                Event::Committed(id, attempt)
            }
            // Possibly this attempt, by an earlier request whose answer was lost.
            Ok(false) => Event::Refused(id, Failure::new(FailureClass::Bug, "another attempt has won")),
            // The record may have been written nevertheless, so that the private files must be kept.
            Err(error) => self.objection(id, &error),
        }
    }

    /// Commit data of the attempt, prepared only once, even if the request to the store is repeated.
    async fn prepared(&self, id: &ManifestId, attempt: u32) -> Result<Arc<Prepared>, Event> {
        let failed = |failure| self.attempt_failed(id.clone(), attempt, failure);
        let nothing = || failed(Failure::new(FailureClass::Bug, "there is nothing to commit"));
        let prepared = self.runs.phase(id, attempt, |phase| match phase {
            Phase::Prepared(prepared) => Some(prepared.clone()),
            _ => None,
        });
        if let Some(prepared) = prepared {
            return Ok(prepared);
        }
        let generation = self.runs.phase(id, attempt, |phase| match phase {
            Phase::Converted(output) => Some(output.input.generation),
            _ => None,
        });
        // Read before the output is changed, since this is repeated while the store does not answer.
        let replaced = match generation.ok_or_else(nothing)? {
            0 | 1 => Vec::new(),
            _ => self.store.replaced(id).await.map_err(|error| self.objection(id.clone(), &error))?,
        };
        let output = self.runs.advance(id, attempt, |phase| match phase {
            Phase::Converted(output) => (Phase::Preparing, Some(output)),
            other => (other, None),
        });
        let output = *output.ok_or_else(nothing)?;
        let prepared = Arc::new(self.prepare(attempt, output, replaced).await.map_err(failed)?);
        self.runs.advance(id, attempt, |_| (Phase::Prepared(prepared.clone()), Some(())));
        Ok(prepared)
    }

    async fn prepare(&self, attempt: u32, output: Output, replaced: Vec<Replaced>) -> Result<Prepared, Failure> {
        let Output { input, plan, staging, outcome } = output;
        let (manifest, generation) = (&*input.manifest, input.generation);
        let replaced = records_of(&replaced)?;
        let layout = &self.options.layout;
        let to = Destination { output: &self.output, quarantine: &self.quarantine, layout, generation };
        if let Err(failure) = self.check_rejected(&outcome) {
            let kept = to.rejects_of_failed(manifest, attempt).map_err(|e| Failure::new(FailureClass::Bug, e))?;
            let staging = self.storage().staging(staging);
            return Err(blocking(move || super::rejected::keep(&failure, &staging, &outcome, &kept)).await?);
        }
        let invalid = |e| Failure::new(FailureClass::Bug, e);
        // Final names do not depend on settling the content.
        let names = to.unseen_names(manifest, &staging, &outcome).map_err(invalid)?;
        let outcome = self.settle_unless_foreign(names, outcome, self.storage().staging(staging.clone())).await?;
        let (record, mut result) = CommitRecord::new(manifest, staging, &outcome, &to).map_err(invalid)?;
        result.plan = plan;
        self.runs.note(&manifest.id, |progress| {
            if let Some(account) = progress.account() {
                result.account(attempt, account, progress.ended_tasks());
            }
        });
        let record = record.in_place_of(&replaced);
        let text = serde_json::to_string(&record).map_err(|e| Failure::new(FailureClass::Bug, e))?;
        Ok(Prepared { commit: Commit { manifest_id: manifest.id.clone(), attempt, record: text }, result })
    }

    /// Settles the output. Fails if an object has one of its final names already.
    async fn settle_unless_foreign(
        &self,
        names: Vec<ObjectUri>,
        outcome: AttemptOutcome,
        staging: StagingArea,
    ) -> Result<AttemptOutcome, Failure> {
        let storage = self.storage().clone();
        let foreign = blocking(move || storage.find_blocking(&names));
        // Both are awaited to the end: work that continued after a failure would interfere with the clean-up.
        let (outcome, foreign) = tokio::join!(self.settle(outcome, staging), foreign);
        let outcome = outcome?;
        if let Some(uri) = foreign?.map_err(storage_failure)? {
            let message = format!("`{uri}` is there already, and is not of this run: move it away, then retry");
            return Err(Failure::new(FailureClass::Input, message));
        }
        Ok(outcome)
    }

    /// Settles the output, the last change before the commit.
    async fn settle(&self, mut outcome: AttemptOutcome, staging: StagingArea) -> Result<AttemptOutcome, Failure> {
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

    /// Publishes a committed attempt, now or after a crash.
    pub(super) async fn publish(&self, id: ManifestId) -> Event {
        let committed = self.runs.publish(&id);
        self.runs.step(&id, Step::Publish);
        // Uses the commit in the store, since another attempt may have been faster.
        let commit = match committed {
            Some(committed) => Some(committed.commit.clone()),
            None => match self.store.unpublished(&id).await {
                Ok(commit) => commit,
                Err(error) => return Event::PublishFailed(id, Failure::new(FailureClass::Storage, error)),
            },
        };
        // Without a record the output is published already.
        let Some(commit) = commit else { return Event::Published(id) };
        let record = match CommitRecord::of(&commit) {
            Ok(record) => record,
            Err(error) => return Event::PublishFailed(id, Failure::new(FailureClass::Bug, error)),
        };
        let published = {
            let (storage, record) = (self.storage().clone(), record.clone());
            blocking(move || record.publish(&storage))
        };
        let failure = match published.await {
            Ok(Ok(())) => return Event::Published(id),
            Ok(Err(error)) if error.is_lost() => match self.lost(&id, record).await {
                Ok(event) => return event,
                Err(failure) => failure,
            },
            Ok(Err(error)) => storage_failure(error),
            Err(failure) => failure,
        };
        tracing::error!(target: RETRIES, manifest = %id, error = %failure, "cannot publish a committed run; trying again");
        let failures = self.runs.publication(&id, |publication| {
            publication.failures += 1;
            publication.obstacle = Some(failure.message.clone());
            publication.failures
        });
        if failures == Some(PATIENCE) {
            // Clients that wait for the run are told.
            let message =
                format!("committed, but not published yet; it is tried again, also at the next start: {failure}");
            self.ended(&id, Err(Failure { message, ..failure.clone() }));
        }
        Event::PublishFailed(id, failure)
    }

    /// Event for a committed output of which something seems to be lost, or the failure after which publication is
    /// retried.
    async fn lost(&self, id: &ManifestId, record: CommitRecord) -> Result<Event, Failure> {
        let is_gone = loss::check_there(self.storage(), record).await;
        let Some(error) = is_gone.err().filter(StorageError::is_lost) else {
            self.runs.publication(id, |publication| publication.losses = 0);
            return Err(Failure::new(FailureClass::Storage, "what it names was gone, and is there again"));
        };
        let looks = self.runs.publication(id, |publication| {
            publication.losses += 1;
            publication.losses
        });
        if looks < Some(LOOKS) {
            return Err(storage_failure(error));
        }
        let manifest = self.store.manifest(id).await.map_err(|e| Failure::new(FailureClass::Storage, e))?;
        let Some(manifest) = manifest else { return Err(storage_failure(error)) };
        match loss::missing_input(self.storage(), &manifest).await.map_err(storage_failure)? {
            None => Ok(Event::Lost(id.clone(), loss::failure_of(&error))),
            Some(uri) => {
                let advice = "put one of them back, or force the run to give its output up";
                let message = format!(
                    "{error}; it is not converted anew, since its input `{uri}` is gone or changed, too: {advice}"
                );
                Err(Failure::new(FailureClass::Storage, message))
            }
        }
    }
}

fn records_of(replaced: &[Replaced]) -> Result<Vec<CommitRecord>, Failure> {
    let record = |replaced: &Replaced| CommitRecord::of(&replaced.commit);
    replaced.iter().map(record).collect::<Result<_, _>>().map_err(|e| Failure::new(FailureClass::Bug, e))
}
