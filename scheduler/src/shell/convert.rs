//! Conversion of an attempt: survey, plan, submission, reports and judgement.

use super::registry::{Conversion, Input, KnownColumns, Output, Phase, Submitted};
use super::{Shell, blocking, storage_failure};
use crate::engine::{Engine, Job, TaskNow};
use crate::run::Event;
use millwork_api::Step;
use millwork_conversion::{
    AttemptOutcome, Capacity, Columns, ConversionOptions, PlannedAttempt, Survey, TaskReport, Verdict, plan_attempt,
};
use millwork_manifest::{Failure, FailureClass, Manifest, ManifestId};
use millwork_storage::Staging;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tracing::Instrument;

/// Limit of the plan's text that is kept, in bytes: a query can name thousands of columns.
const MAX_PLAN_BYTES: usize = 64 << 10;

/// Result of a conversion.
enum Converted {
    Complete(Staging, AttemptOutcome),
    /// Columns were found that the plan did not know, and that could not be added.
    Replan(KnownColumns),
}

impl Shell {
    pub(super) async fn convert(&self, id: ManifestId, attempt: u32) -> Event {
        let conversion = self.runs.phase(&id, attempt, |phase| match phase {
            Phase::Planning(conversion) => Some(conversion.clone()),
            _ => None,
        });
        let Some(Conversion { input, columns, abort }) = conversion else {
            let bug = Failure::new(FailureClass::Bug, "the attempt is not being planned");
            return self.attempt_failed(id, attempt, bug);
        };
        let layout = self.options.layout.template(&input.manifest, input.generation);
        let staging = Staging::new(&self.output, id.as_str(), attempt, &layout);
        let converted = tokio::select! {
            () = abort.cancelled() => Err(Failure::new(FailureClass::Cancelled, "the attempt was given up")),
            converted = self.convert_manifest(&input.manifest, attempt, staging, columns) => converted,
        };
        let converted = match converted {
            Ok(converted) => converted,
            Err(failure) => return self.attempt_failed(id, attempt, failure),
        };
        let is_complete = matches!(converted, Converted::Complete(..));
        let moved = self.runs.advance(&id, attempt, |phase| match phase {
            Phase::Converting(Conversion { input, .. }, Submitted { plan, .. }) => {
                (converted.phase(input, plan), Some(()))
            }
            other => (other, None),
        });
        match moved {
            Some(()) if is_complete => Event::Converted(id, attempt),
            Some(()) => {
                tracing::info!(manifest = %id, "planning again: columns turned up beyond the first lines that cannot be added");
                Event::NeedsReplan(id, attempt)
            }
            None => {
                let bug = Failure::new(FailureClass::Bug, "the attempt is not being converted");
                self.attempt_failed(id, attempt, bug)
            }
        }
    }

    async fn convert_manifest(
        &self,
        manifest: &Manifest,
        attempt: u32,
        staging: Staging,
        columns: Option<KnownColumns>,
    ) -> Result<Converted, Failure> {
        let started = Instant::now();
        self.runs.step(&manifest.id, Step::Survey);
        let surveyed = self.survey_input(manifest, &staging, columns).instrument(tracing::info_span!("survey"));
        let (survey, columns) = surveyed.await?;
        self.runs.step(&manifest.id, Step::Plan);
        let planned = self.plan(manifest, &survey, columns, &staging).await?;
        let mut job = self.submit(manifest, attempt, &planned).await?;
        metrics::histogram!("millwork_planning_duration_seconds").record(started.elapsed().as_secs_f64());
        let (reports, tasks) = job.wait().await?;
        self.runs.note(&manifest.id, |progress| progress.end_conversion(&tasks));
        match planned.judge(&survey, &self.conversion.query, reports) {
            Verdict::Complete(outcome) => {
                let area = self.storage().staging(staging.clone());
                let verified = planned.verify(&survey, &area, outcome);
                let outcome = verified.instrument(tracing::info_span!("judge")).await?;
                planned.learn(&outcome, &self.conversion);
                Ok(Converted::Complete(staging, outcome))
            }
            Verdict::Replan(columns) => Ok(Converted::Replan((survey, columns))),
            Verdict::Failed(failure) => Err(failure),
            Verdict::Unbalanced(failure) => {
                metrics::counter!("millwork_ledger_mismatch_total").increment(1);
                Err(failure)
            }
        }
    }

    /// Surveys the input, unless the previous attempt has found its columns, and creates the attempt's private place.
    async fn survey_input(
        &self,
        manifest: &Manifest,
        staging: &Staging,
        columns: Option<KnownColumns>,
    ) -> Result<KnownColumns, Failure> {
        let surveyed = async {
            Ok::<_, Failure>(match columns {
                Some(known) => known,
                None => {
                    let survey = Arc::new(self.early.survey(manifest, &self.conversion).await?);
                    let columns = survey.columns();
                    (survey, columns)
                }
            })
        };
        let staging = self.storage().staging(staging.clone());
        let prepared = async { blocking(move || staging.prepare()).await?.map_err(storage_failure) };
        // Both are awaited to the end: a place created later would remain.
        let (surveyed, prepared) = tokio::join!(surveyed, prepared);
        let known = surveyed?;
        prepared?;
        Ok(known)
    }

    /// Plans the conversion for this run's share of the executors.
    async fn plan(
        &self,
        manifest: &Manifest,
        survey: &Survey,
        columns: Columns,
        staging: &Staging,
    ) -> Result<PlannedAttempt, Failure> {
        let capacity = capacity(self.engine.slots_of_each(), self.converting.load(Ordering::Relaxed));
        let traceparent = millwork_process::traceparent(&tracing::Span::current());
        let conversion = ConversionOptions { traceparent, ..self.conversion.clone() };
        let plan = |columns| {
            plan_attempt(manifest, survey, columns, staging.clone(), &conversion, capacity)
                .instrument(tracing::info_span!("plan"))
        };
        match plan(columns.clone()).await {
            // The query may name a column that only occurs outside the samples.
            Err(failure) if !self.conversion.query.is_default() => {
                let all = survey.all_columns(self.conversion.names).await?;
                if all == columns { Err(failure) } else { plan(all).await }
            }
            planned => planned,
        }
    }

    /// Submits the plan to the executors. The job ends when this is dropped, for whatever reason.
    async fn submit(
        &self,
        manifest: &Manifest,
        attempt: u32,
        planned: &PlannedAttempt,
    ) -> Result<CancelOnDrop, Failure> {
        let submitted = self.engine.submit(manifest.id.as_str(), planned.plan.clone(), planned.tasks.clone());
        let job = submitted.instrument(tracing::info_span!("submit")).await?;
        let submitted = Submitted { job: job.id().clone(), plan: shortened(planned.explain().to_string()) };
        let job = CancelOnDrop { engine: self.engine.clone(), job: Some(job) };
        self.runs.advance(&manifest.id, attempt, |phase| match phase {
            Phase::Planning(conversion) => (Phase::Converting(conversion, submitted), Some(())),
            other => (other, None),
        });
        let bytes = planned.tasks.iter().map(|task| task.bytes).sum();
        self.runs.note(&manifest.id, |progress| progress.begin_conversion(bytes));
        self.tell(Event::Planned(manifest.id.clone(), attempt));
        Ok(job)
    }
}

impl Converted {
    /// Phase of an attempt with this result.
    fn phase(self, input: Input, plan: String) -> Phase {
        match self {
            Self::Complete(staging, outcome) => Phase::Converted(Box::new(Output { input, plan, staging, outcome })),
            Self::Replan(columns) => Phase::Replanned(input, columns),
        }
    }
}

/// Share of executors with these slots for each of `runs` runs. Slots that other runs may not need are included.
fn capacity(mut slots: Vec<usize>, runs: usize) -> Capacity {
    slots.sort_by_key(|slots| Reverse(*slots));
    let Some(most) = slots.first().copied().filter(|slots| *slots > 0) else {
        // Without executors yet: enough tasks for any number of them.
        return Capacity { executors: usize::MAX, slots: 1 };
    };
    let share = slots.iter().sum::<usize>().div_ceil(runs.max(1));
    let (mut executors, mut taken) = (0, 0);
    while taken < share {
        taken += slots[executors];
        executors += 1;
    }
    Capacity { executors, slots: most.min(2 * share) }
}

fn shortened(mut plan: String) -> String {
    if plan.len() > MAX_PLAN_BYTES {
        plan.truncate(plan.floor_char_boundary(MAX_PLAN_BYTES));
        plan.push('…');
    }
    plan
}

struct CancelOnDrop {
    engine: Engine,
    job: Option<Job>,
}

impl CancelOnDrop {
    /// Waits for the reports of all tasks. Also returns the final state of the tasks.
    async fn wait(&mut self) -> Result<(Vec<TaskReport>, Vec<TaskNow>), Failure> {
        let Some(job) = &mut self.job else { return Ok((Vec::new(), Vec::new())) };
        let reports = self.engine.wait(job).await?;
        let (tasks, _) = self.engine.tasks(job.id());
        self.job = None;
        Ok((reports, tasks))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_share_executors_and_use_idle_slots() {
        let found = |slots: &[usize], runs| {
            let Capacity { executors, slots } = capacity(slots.to_vec(), runs);
            (executors, slots)
        };
        assert_eq!(found(&[4], 0), (1, 4));
        assert_eq!(found(&[4], 1), (1, 4));
        assert_eq!(found(&[4], 2), (1, 4));
        assert_eq!(found(&[4], 4), (1, 2));
        assert_eq!(found(&[1, 1], 1), (2, 1));
        assert_eq!(found(&[1, 1], 2), (1, 1));
        assert_eq!(found(&[1, 4, 1, 1, 1], 1), (5, 4));
        assert_eq!(found(&[8; 10], 2), (5, 8));
        assert_eq!(found(&[8; 10], 100), (1, 2));
        assert_eq!(found(&[], 3), (usize::MAX, 1));
    }
}
