//! Runs, as listings show them.

use super::Api;
use super::error::ApiError;
use super::extract::{Limit, Page, Query};
use super::words;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FailureClass, ManifestId};
use millwork_tracking::{RunFilter, RunState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The run of a manifest.
#[derive(Serialize, ToSchema)]
pub(super) struct Run {
    /// The manifest, which names the run.
    #[schema(value_type = String)]
    pub(super) manifest_id: ManifestId,
    /// The date of all its files.
    #[schema(value_type = String, format = Date)]
    date: DatePrefix,
    /// Where the manifest's document is; `inline:…` if it came in a request.
    manifest_uri: String,
    #[schema(schema_with = words::run_state)]
    pub(super) state: RunState,
    /// Runs of higher priority start first; of the same, the oldest.
    priority: i32,
    /// The files of the manifest.
    files: u64,
    /// Their bytes, as far as the manifest tells.
    bytes: u64,
    /// Attempts started so far.
    attempts: u32,
    /// Attempts that failed since somebody queued the run.
    failures: u32,
    /// Which output of the manifest this is: 1, and one more each time the run is forced.
    pub(super) generation: u32,
    /// When the next attempt may start, after a failure that can pass.
    #[schema(required)]
    not_before: Option<DateTime<Utc>>,
    /// Whether somebody wants it cancelled, and it has not come to that yet.
    cancel_requested: bool,
    /// Why it failed, or the attempt before did. A completed run has one if it was forced and that failed: its output is the
    /// one before.
    #[schema(required)]
    failure: Option<Failure>,
    /// When it was queued first.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
    /// When its newest attempt started.
    #[schema(required)]
    started_at: Option<DateTime<Utc>>,
    /// When its output was decided on.
    #[schema(required)]
    committed_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
    /// From the start of the attempt that made its output to the decision on it, in seconds; null before that.
    #[schema(required)]
    seconds: Option<f64>,
    /// Summary of what it produced, once it is committed.
    #[schema(required)]
    summary: Option<Summary>,
}

/// Summary of what a run produced.
#[derive(Serialize, ToSchema)]
#[schema(as = RunSummary)]
pub(super) struct Summary {
    /// Rows in the output.
    rows: u64,
    /// Lines that were rejected.
    rejected: u64,
    /// Stored bytes of the input.
    input_bytes: u64,
    /// Bytes of Parquet.
    output_bytes: u64,
    /// Output files.
    outputs: u64,
    /// Executors that made it.
    executors: u64,
    /// Time that its tasks computed, in seconds.
    cpu_seconds: f64,
}

impl From<millwork_tracking::RunSummary> for Summary {
    fn from(summary: millwork_tracking::RunSummary) -> Self {
        Self {
            rows: summary.rows,
            rejected: summary.rejected,
            input_bytes: summary.input_bytes,
            output_bytes: summary.output_bytes,
            outputs: summary.outputs,
            executors: summary.executors,
            cpu_seconds: summary.cpu_micros as f64 / 1e6,
        }
    }
}

impl From<millwork_tracking::Run> for Run {
    fn from(run: millwork_tracking::Run) -> Self {
        Self {
            manifest_id: run.manifest_id,
            date: run.date,
            manifest_uri: run.manifest_uri,
            state: run.state,
            priority: run.priority,
            files: run.files,
            bytes: run.bytes,
            attempts: run.attempts,
            failures: run.failures,
            generation: run.generation,
            not_before: run.not_before,
            cancel_requested: run.cancel_requested,
            failure: run.failure.map(Into::into),
            created_at: run.created_at,
            updated_at: run.updated_at,
            started_at: run.started_at,
            committed_at: run.committed_at,
            ended_at: run.ended_at,
            seconds: (run.started_at.zip(run.committed_at)).and_then(|(started, committed)| {
                Some((committed - started).as_seconds_f64()).filter(|seconds| *seconds >= 0.0)
            }),
            summary: run.summary.map(Into::into),
        }
    }
}

/// Why a run or an attempt failed.
#[derive(Serialize, ToSchema)]
pub(super) struct Failure {
    #[schema(schema_with = words::failure_class)]
    class: FailureClass,
    /// What happened, naming the file and line where there is one.
    message: String,
    /// The one input file that is at fault, if it is one.
    #[schema(required)]
    file: Option<String>,
}

impl From<millwork_manifest::Failure> for Failure {
    fn from(failure: millwork_manifest::Failure) -> Self {
        Self { class: failure.class, message: failure.message, file: failure.file }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunQuery {
    /// Only runs in this state.
    #[param(schema_with = words::run_state, required = false)]
    status: Option<RunState>,
    /// Only runs of manifests of this date.
    #[param(value_type = String, format = Date, required = false)]
    date: Option<DatePrefix>,
    /// Only runs with a failure of this kind.
    #[param(schema_with = words::failure_class, required = false)]
    failure_class: Option<FailureClass>,
    /// How many runs at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// Lists runs, the newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(RunQuery), responses(
    (status = 200, description = "A page of runs", body = Page<Run>)
))]
pub(super) async fn list_runs(
    State(api): State<Api>,
    Query(query): Query<RunQuery>,
) -> Result<Json<Page<Run>>, ApiError> {
    let filter = RunFilter {
        state: query.status,
        date: query.date,
        failure_class: query.failure_class,
        limit: query.limit.0,
        cursor: query.cursor,
    };
    Ok(Json(Page::from(api.service.store().list_runs(&filter).await?)))
}
