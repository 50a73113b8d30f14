//! One run, with all that is known of it but what grows with its files.

use super::Api;
use super::error::ApiError;
use super::extract::Path;
use super::runs::{Failure, Run};
use crate::accounts::{Requests, TaskRecord};
use crate::commit::{OutputFile, RunResult};
use crate::shell::{RunProgress, StepTime};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use millwork_conversion::FileLedger;
use millwork_manifest::ManifestId;
use millwork_tracking::{AttemptStep, AttemptWork, TrackingError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A run with its attempts, what it produced, and how far it is.
#[derive(Serialize, ToSchema)]
pub(super) struct RunDetail {
    #[serde(flatten)]
    run: Run,
    /// Its newest attempts, at most 100, oldest first.
    history: Vec<Attempt>,
    /// What happened, in order.
    timeline: Vec<Moment>,
    /// What it produced, once it is committed.
    #[schema(required)]
    result: Option<RunOutput>,
    /// How far its attempt is, while there is one; only the process that runs the manifests knows.
    #[schema(required)]
    progress: Option<RunProgress>,
}

/// An attempt at a run.
#[derive(Serialize, ToSchema)]
struct Attempt {
    /// Its number, from 1.
    number: u32,
    /// When it started.
    started_at: DateTime<Utc>,
    /// When it ended. One that never did was given up: its scheduler died, or its columns turned out to be others.
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
    /// Why it failed, if it did.
    #[schema(required)]
    failure: Option<Failure>,
    /// What was done in it, as far as it is known: its steps with their times, and what its tasks did.
    #[schema(required)]
    work: Option<Work>,
}

/// What was done in an attempt.
#[derive(Serialize, ToSchema)]
struct Work {
    /// Its steps, in order.
    steps: Vec<StepTime>,
    /// Stored bytes of input that were read.
    read_bytes: u64,
    /// Lines that became rows.
    rows: u64,
    /// Lines that were rejected.
    rejected: u64,
    /// Time that its tasks computed, in seconds.
    cpu_seconds: f64,
    /// Its tasks.
    tasks: u64,
}

impl From<AttemptWork> for Work {
    fn from(work: AttemptWork) -> Self {
        let step = |step: AttemptStep| {
            let name = serde_json::from_value(step.step.into()).ok()?;
            Some(StepTime { step: name, began_at: step.began_at, seconds: step.millis as f64 / 1000.0 })
        };
        Self {
            steps: work.steps.into_iter().filter_map(step).collect(),
            read_bytes: work.read_bytes,
            rows: work.rows,
            rejected: work.rejected,
            cpu_seconds: work.cpu_micros as f64 / 1e6,
            tasks: work.tasks,
        }
    }
}

/// Something that happened to a run.
#[derive(Serialize, ToSchema)]
struct Moment {
    /// When.
    at: DateTime<Utc>,
    /// What.
    what: MomentKind,
    /// The attempt it is about.
    #[schema(required)]
    attempt: Option<u32>,
}

/// What can happen to a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum MomentKind {
    /// It was queued.
    Created,
    /// An attempt started.
    Started,
    /// An attempt failed.
    AttemptFailed,
    /// Its output was decided on.
    Committed,
    /// It came to its end: see `state`.
    Ended,
}

/// What a run produced.
#[derive(Serialize, ToSchema)]
struct RunOutput {
    /// Rows in the output.
    rows: u64,
    /// Lines that were rejected.
    rejected: u64,
    /// Stored bytes of the input.
    input_bytes: u64,
    /// Bytes of Parquet.
    output_bytes: u64,
    /// Characters replaced by U+FFFD.
    replaced_characters: u64,
    /// Rows that a query of the user's was given and did not write.
    left_out: u64,
    /// The output files.
    outputs: Vec<OutputFile>,
    /// The file of rejected lines, if there are any.
    #[schema(required)]
    rejected_lines: Option<String>,
    /// Keys that got another name, since theirs is a metadata column's: each with its column.
    renamed_columns: Vec<(String, String)>,
    /// The plan that made it: logical and physical, as `millwork explain` shows it; cut after 64 KiB.
    plan: String,
    /// The attempt that made it; 0 if that was not noted.
    attempt: u32,
    /// Its tasks, at most 1,000: of more, those that ended last.
    tasks: Vec<TaskRecord>,
    /// Time that its tasks computed, in seconds.
    cpu_seconds: f64,
    /// Requests to object storage, estimated by the sizes of what was read and written.
    requests: Requests,
    /// The sums of the ledger: lines = rows + rejected + blank. Each file is in `/api/v1/runs/{id}/ledger`.
    ledger: LedgerTotals,
}

/// The sums of a ledger.
#[derive(Serialize, ToSchema)]
struct LedgerTotals {
    /// Files.
    files: u64,
    /// Lines seen.
    lines: u64,
    /// Lines that became rows before the query: one that filters writes fewer.
    rows: u64,
    /// Lines that were rejected.
    rejected: u64,
    /// Lines of white space only.
    blank: u64,
}

/// One run: its attempts, its timeline, what it produced, and how far it is.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")),
    responses(
        (status = 200, description = "The run", body = RunDetail),
        (status = 404, description = "`no-such-run`", body = super::error::ErrorBody)
    ))]
pub(super) async fn get_run(State(api): State<Api>, Path(id): Path<ManifestId>) -> Result<Json<RunDetail>, ApiError> {
    let run = known(&api, &id).await?;
    let progress = match api.service.leader() {
        Some(scheduler) => scheduler.progress(&id).await,
        None => None,
    };
    Ok(Json(RunDetail {
        timeline: timeline(&run),
        result: result_of(&run)?.map(RunOutput::from),
        history: run.history.iter().cloned().map(Attempt::from).collect(),
        run: run.into(),
        progress,
    }))
}

/// Refuses what is asked of a run that is not there.
pub(super) async fn check_known(api: &Api, id: &ManifestId) -> Result<(), ApiError> {
    api.service.store().run_head(id).await?.map(drop).ok_or_else(|| no_such_run(id))
}

fn no_such_run(id: &ManifestId) -> ApiError {
    ApiError::not_found("no-such-run", format!("no run of manifest `{id}`"))
}

/// A run that is asked for, with what it produced.
pub(super) async fn known(api: &Api, id: &ManifestId) -> Result<millwork_tracking::Run, ApiError> {
    let run = api.service.store().run(id).await?;
    run.ok_or_else(|| no_such_run(id))
}

/// What a run produced, if anything.
pub(super) fn result_of(run: &millwork_tracking::Run) -> Result<Option<RunResult>, TrackingError> {
    let read = |result| RunResult::deserialize(result);
    let corrupt = |e: serde_json::Error| TrackingError::Corrupt { what: "result", value: e.to_string() };
    run.result.as_ref().map(read).transpose().map_err(corrupt)
}

fn timeline(run: &millwork_tracking::Run) -> Vec<Moment> {
    let of_run = |at: Option<DateTime<Utc>>, what| at.map(|at| Moment { at, what, attempt: None });
    let started = run.history.iter().map(|attempt| Moment {
        at: attempt.started_at,
        what: MomentKind::Started,
        attempt: Some(attempt.number),
    });
    let failed = run.history.iter().filter_map(|attempt| {
        let at = attempt.ended_at.filter(|_| attempt.failure.is_some())?;
        Some(Moment { at, what: MomentKind::AttemptFailed, attempt: Some(attempt.number) })
    });
    let mut moments: Vec<Moment> = started.chain(failed).collect();
    moments.extend(of_run(Some(run.created_at), MomentKind::Created));
    moments.extend(of_run(run.committed_at, MomentKind::Committed));
    moments.extend(of_run(run.ended_at, MomentKind::Ended));
    moments.sort_by_key(|moment| (moment.at, moment.what));
    moments
}

impl From<millwork_tracking::Attempt> for Attempt {
    fn from(attempt: millwork_tracking::Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            failure: attempt.failure.map(Into::into),
            work: attempt.work.map(Into::into),
        }
    }
}

impl From<RunResult> for RunOutput {
    fn from(result: RunResult) -> Self {
        let sum = |of: fn(&FileLedger) -> u64| result.ledger.iter().map(of).sum();
        let ledger = LedgerTotals {
            files: result.ledger.len() as u64,
            lines: sum(|file| file.lines),
            rows: sum(|file| file.rows),
            rejected: sum(|file| file.rejected),
            blank: sum(|file| file.blank),
        };
        Self {
            rows: result.rows,
            rejected: result.rejected,
            input_bytes: result.input_bytes,
            output_bytes: result.output_bytes,
            replaced_characters: result.replaced_characters,
            left_out: result.left_out,
            outputs: result.outputs,
            rejected_lines: result.rejected_lines,
            renamed_columns: result.renamed_columns,
            plan: result.plan,
            attempt: result.attempt,
            tasks: result.tasks,
            cpu_seconds: result.cpu_micros as f64 / 1e6,
            requests: result.storage,
            ledger,
        }
    }
}
