//! The conversion of an attempt: survey, plan, submit, wait, judge.

use super::{Shell, blocking, storage_failure};
use crate::engine::{Engine, Job, TaskNow};
use crate::run::Event;
use chrono::Utc;
use millwork_api::Step;
use millwork_conversion::{
    AttemptOutcome, Capacity, Columns, ConversionOptions, Survey, TaskReport, Verdict, plan_attempt, survey,
};
use millwork_manifest::{Failure, FailureClass, Manifest, ManifestId};
use millwork_storage::Staging;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tracing::Instrument;

/// Limit of a plan's text that is kept, in bytes: a query can name thousands of columns.
const MAX_PLAN_BYTES: usize = 64 << 10;

/// Result of a conversion.
enum Converted {
    Complete(Staging, Box<AttemptOutcome>),
    /// Columns turned up that its plan did not know, and that could not be added.
    Replan(Arc<Survey>, Columns),
}

impl Shell {
    pub(super) async fn convert(&self, id: ManifestId, attempt: u32) -> Event {
        let (manifest, generation, columns, abort) = self
            .works
            .with(&id, |work| (work.manifest.clone(), work.generation, work.columns.take(), work.abort.clone()));
        let Some(manifest) = manifest else {
            return Event::AttemptFailed(id, attempt, Failure::new(FailureClass::Bug, "its manifest is not known"));
        };
        let layout = self.options.layout.template(&manifest, generation);
        let staging = Staging::new(&self.output, id.as_str(), attempt, &layout);
        let converted = tokio::select! {
            () = abort.cancelled() => Err(Failure::new(FailureClass::Cancelled, "the attempt was given up")),
            converted = self.convert_manifest(&manifest, attempt, staging, columns) => converted,
        };
        self.works.with(&id, |work| {
            work.job = None;
            match converted {
                Ok(Converted::Complete(staging, outcome)) => {
                    work.outcome = Some((staging, outcome));
                    Event::Converted(id.clone(), attempt)
                }
                Ok(Converted::Replan(survey, columns)) => {
                    tracing::info!(manifest = %id, "planning again: columns turned up beyond the first lines that cannot be added");
                    work.columns = Some((survey, columns));
                    Event::NeedsReplan(id.clone(), attempt)
                }
                Err(failure) => Event::AttemptFailed(id.clone(), attempt, failure),
            }
        })
    }

    async fn convert_manifest(
        &self,
        manifest: &Manifest,
        attempt: u32,
        staging: Staging,
        columns: Option<(Arc<Survey>, Columns)>,
    ) -> Result<Converted, Failure> {
        let started = Instant::now();
        self.step(&manifest.id, Step::Survey);
        let surveyed = async {
            Ok::<_, Failure>(match columns {
                Some(known) => known,
                None => {
                    let survey = Arc::new(survey(manifest, &self.conversion).await?);
                    let columns = survey.columns();
                    (survey, columns)
                }
            })
        };
        let prepared = staging.clone();
        let prepared = async { blocking(move || prepared.prepare()).await?.map_err(storage_failure) };
        // Both to their ends: a place that is made late would stay.
        let both = async { tokio::join!(surveyed, prepared) };
        let (surveyed, prepared) = both.instrument(tracing::info_span!("survey")).await;
        let (survey, columns) = surveyed?;
        prepared?;
        self.step(&manifest.id, Step::Plan);
        let capacity = capacity(self.engine.slots_of_each(), self.converting.load(Ordering::Relaxed));
        let traceparent = millwork_process::traceparent(&tracing::Span::current());
        let conversion = ConversionOptions { traceparent, ..self.conversion.clone() };
        let plan = |columns| {
            plan_attempt(manifest, &survey, columns, staging.clone(), &conversion, capacity)
                .instrument(tracing::info_span!("plan"))
        };
        let planned = match plan(columns.clone()).await {
            // The query may name a column that only lines beyond the samples have.
            Err(failure) if !self.conversion.query.is_default() => {
                let all = survey.all_columns(self.conversion.names).await?;
                if all == columns { Err(failure) } else { plan(all).await }
            }
            planned => planned,
        }?;
        let submitted = self.engine.submit(manifest.id.as_str(), planned.plan.clone(), planned.tasks.clone());
        let job = submitted.instrument(tracing::info_span!("submit")).await?;
        metrics::histogram!("millwork_planning_duration_seconds").record(started.elapsed().as_secs_f64());
        let plan = shortened(planned.explain().to_string());
        self.works.with(&manifest.id, |work| {
            (work.job, work.plan) = (Some(job.id().clone()), plan);
            work.input_bytes = planned.tasks.iter().map(|task| task.bytes).sum();
            work.steps.begin(Step::Convert, Utc::now());
        });
        self.tell(Event::Planned(manifest.id.clone(), attempt));
        // Whatever ends the wait, ends the job.
        let mut job = CancelOnDrop { engine: self.engine.clone(), job: Some(job) };
        let reports = job.wait().await?;
        self.end_conversion(&manifest.id, &reports.1);
        let reports = reports.0;
        match planned.judge(&survey, &self.conversion.query, reports) {
            Verdict::Complete(outcome) => {
                let verified = planned.verify(&survey, &staging, outcome);
                let outcome = verified.instrument(tracing::info_span!("judge")).await?;
                planned.learn(&outcome, &self.conversion);
                Ok(Converted::Complete(staging, Box::new(outcome)))
            }
            Verdict::Replan(columns) => Ok(Converted::Replan(survey, columns)),
            Verdict::Failed(failure) => Err(failure),
        }
    }
}

impl Shell {
    /// Notes that the attempt at a run comes to a step.
    pub(super) fn step(&self, id: &ManifestId, step: Step) {
        self.works.with(id, |work| work.steps.begin(step, Utc::now()));
    }

    /// Notes how the tasks of an attempt were when all had ended.
    fn end_conversion(&self, id: &ManifestId, tasks: &[TaskNow]) {
        self.works.with(id, |work| {
            work.shown.see(tasks, tasks.len(), work.input_bytes);
            work.tasks = tasks.to_vec();
            work.steps.begin(Step::Check, Utc::now());
        });
    }
}

/// Share of executors with these slots that one of this number of runs may use; slots that others do not need by the end
/// are to be used, too.
fn capacity(mut slots: Vec<usize>, runs: usize) -> Capacity {
    slots.sort_by_key(|slots| Reverse(*slots));
    let Some(most) = slots.first().copied().filter(|slots| *slots > 0) else {
        // Executors that come later find enough to do.
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
    /// The reports of all tasks, and how these were.
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
