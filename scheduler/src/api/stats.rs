//! How it goes, in one answer.

use super::Api;
use super::words;
use crate::forecast::Forecast;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use millwork_manifest::FileState;
use millwork_tracking::RunState;
use serde::Serialize;
use utoipa::ToSchema;

/// How it goes. Numbers that are costly to make are some seconds old: each says when it was made.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    /// Millwork's version.
    version: &'static str,
    /// How long this process has been up, in seconds.
    uptime_seconds: u64,
    /// Whether this process runs the manifests. One that stands by knows neither executors nor throughput.
    leads: bool,
    /// When the runs were counted; null until they were.
    #[schema(required)]
    runs_counted_at: Option<DateTime<Utc>>,
    /// The runs that have not ended. States without runs are left out.
    runs: Vec<RunsInState>,
    /// How long ago the oldest run that waits was queued first, in seconds; null if none waits.
    #[schema(required)]
    queue_age_seconds: Option<f64>,
    /// When the totals of files were read: at most once a minute. They are kept as files change.
    #[schema(required)]
    files_counted_at: Option<DateTime<Utc>>,
    /// The files by state. States without files are left out.
    files: Vec<FilesInState>,
    /// Executors that are connected.
    executors: u64,
    /// Tasks that all of them run at once.
    slots: u64,
    /// Tasks that they run now.
    slots_used: u64,
    /// Since this process runs the manifests.
    converted: Converted,
    /// Input bytes of completed runs a second, over the last five minutes in which there was something to do; null until a
    /// run has completed.
    #[schema(required)]
    bytes_per_second: Option<f64>,
    /// How long the runs that have not ended will take at that rate, in seconds.
    #[schema(required)]
    backlog_seconds: Option<f64>,
    /// What becomes of the backlog, by arrivals and by what slots were seen to convert.
    forecast: Forecast,
}

/// Runs in one state.
#[derive(Serialize, ToSchema)]
struct RunsInState {
    #[schema(schema_with = words::run_state)]
    state: RunState,
    /// How many.
    runs: u64,
    /// The bytes of their manifests.
    bytes: u64,
    /// When the oldest of them was queued first.
    #[schema(required)]
    oldest: Option<DateTime<Utc>>,
}

/// Files in one state.
#[derive(Serialize, ToSchema)]
struct FilesInState {
    #[schema(schema_with = words::file_state)]
    state: FileState,
    /// How many.
    files: u64,
    /// Their bytes.
    bytes: u64,
}

/// What was converted.
#[derive(Serialize, ToSchema)]
struct Converted {
    /// Stored bytes of the input.
    input_bytes: u64,
    /// Bytes of Parquet.
    output_bytes: u64,
    /// Rows.
    rows: u64,
}

/// How it goes: runs, files, executors, throughput.
#[utoipa::path(get, path = "/api/v1/stats", tag = "cluster", responses(
    (status = 200, description = "All numbers", body = Stats)
))]
pub(super) async fn get_stats(State(api): State<Api>) -> Json<Stats> {
    let known = api.numbers.ask();
    let age = |at: DateTime<Utc>| (Utc::now() - at).as_seconds_f64().max(0.0);
    Json(Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: api.numbers.started.elapsed().as_secs(),
        leads: api.service.leader().is_some(),
        runs_counted_at: known.runs.as_ref().map(|counted| counted.at),
        queue_age_seconds: known.oldest_queued().map(age),
        files_counted_at: known.files.as_ref().map(|counted| counted.at),
        executors: known.executors,
        slots: known.slots,
        slots_used: known.slots_used(),
        bytes_per_second: known.bytes_per_second,
        backlog_seconds: known.backlog_seconds(),
        forecast: known.forecast(),
        converted: Converted { input_bytes: known.input_bytes, output_bytes: known.output_bytes, rows: known.rows },
        runs: known
            .counts()
            .iter()
            .map(|count| RunsInState { state: count.state, runs: count.runs, bytes: count.bytes, oldest: count.oldest })
            .collect(),
        files: known
            .files
            .iter()
            .flat_map(|counted| &counted.values)
            .map(|&(state, total)| FilesInState { state, files: total.files, bytes: total.bytes })
            .collect(),
    })
}
