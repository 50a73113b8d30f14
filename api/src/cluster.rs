//! Scheduler, executors, and statistics of both.

use crate::{Forecast, words};
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, RunState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The executors that are connected, and those that have left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Executors {
    /// True while this process runs the manifests. Executors connect only to the process that does: a standby has none.
    pub leads: bool,
    pub items: Vec<Executor>,
    /// Executors that left since yesterday, while this process ran the manifests: the last 200, the newest first.
    pub gone: Vec<LeftExecutor>,
}

/// An executor that is connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Executor {
    /// Id of the executor.
    pub id: String,
    /// The address that it called from.
    #[schema(example = "10.0.0.7:50051")]
    pub host: String,
    /// Name of the machine it runs on; empty if it does not know.
    pub machine: String,
    /// Version of the executor.
    pub version: String,
    /// Moment it came.
    pub since: DateTime<Utc>,
    /// Moment of its last sign of life: one comes each second.
    pub last_seen: DateTime<Utc>,
    /// Since when it takes no more tasks; null if it does.
    #[schema(required)]
    pub draining_since: Option<DateTime<Utc>>,
    /// Number of tasks that the executor runs at once.
    pub vcores: u32,
    /// Number of tasks that the executor has now; those beyond `vcores` wait there for a slot.
    pub tasks: u64,
    /// Runs that the executor's tasks are of.
    pub runs: Vec<String>,
    /// Bytes of input that the executor's tasks read a second.
    pub bytes_per_second: f64,
    /// Memory that its process has, in bytes; null if it does not know.
    #[schema(required)]
    pub memory_bytes: Option<u64>,
    /// Limit of that, in bytes; null if it does not know one.
    #[schema(required)]
    pub memory_limit_bytes: Option<u64>,
    /// Tasks that it finished.
    pub finished_tasks: u64,
    /// Tasks that it failed.
    pub failed_tasks: u64,
}

impl Executor {
    /// Slots in use: tasks that were sent ahead of a free one share those that are there, and do not count.
    pub fn slots_used(&self) -> u64 {
        self.tasks.min(self.vcores.into())
    }
}

/// An executor that has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeftExecutor {
    /// Id of the executor.
    pub id: String,
    /// The address that it called from.
    pub host: String,
    /// Version of the executor.
    pub version: String,
    /// Number of tasks that the executor ran at once.
    pub vcores: u32,
    /// Moment it came.
    pub since: DateTime<Utc>,
    /// Moment it left.
    pub left_at: DateTime<Utc>,
    /// Reason for which it left.
    pub reason: String,
    /// Tasks that it had when it left, which other executors had to do again.
    pub lost_tasks: u64,
}

/// Numbers of runs, files and executors. Numbers that are costly to make are some seconds old: each says when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Millwork's version.
    pub version: String,
    /// Time that this process has been up, in seconds.
    pub uptime_seconds: u64,
    /// True while this process runs the manifests. A process that stands by knows neither executors nor throughput.
    pub leads: bool,
    /// Moment the runs were counted; null until they were.
    #[schema(required)]
    pub runs_counted_at: Option<DateTime<Utc>>,
    /// The runs that have not ended. States without runs are left out.
    pub runs: Vec<RunsInState>,
    /// Time since the oldest run that waits was queued first, in seconds; null if none waits.
    #[schema(required)]
    pub queue_age_seconds: Option<f64>,
    /// Moment the totals of files were read: at most every five seconds. They are kept as files change.
    #[schema(required)]
    pub files_counted_at: Option<DateTime<Utc>>,
    /// The files by state. States without files are left out.
    pub files: Vec<FilesInState>,
    /// Executors that are connected.
    pub executors: u64,
    /// Limit of the tasks that all executors run at once.
    pub slots: u64,
    /// Tasks that the executors run now.
    pub slots_used: u64,
    /// Since this process runs the manifests.
    pub converted: Converted,
    /// Input bytes of completed runs a second, over the last five minutes in which there was something to do; null until a
    /// run has completed.
    #[schema(required)]
    pub bytes_per_second: Option<f64>,
    /// Time that the runs that have not ended will take at `bytes_per_second`, in seconds.
    #[schema(required)]
    pub backlog_seconds: Option<f64>,
    /// Forecast of the backlog, by arrivals and by what slots were seen to convert.
    pub forecast: Forecast,
}

/// Runs in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunsInState {
    #[schema(schema_with = words::run_state)]
    pub state: RunState,
    /// Number of runs in this state.
    pub runs: u64,
    /// The bytes of their manifests; files whose sizes no manifest tells count with the mean of others.
    pub bytes: u64,
    /// Moment the oldest queued run was queued first.
    #[schema(required)]
    pub oldest: Option<DateTime<Utc>>,
}

/// Files in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilesInState {
    #[schema(schema_with = words::file_state)]
    pub state: FileState,
    /// Number of files in this state.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Amounts of data that were converted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Converted {
    /// Stored bytes of the input.
    pub input_bytes: u64,
    /// Bytes of Parquet.
    pub output_bytes: u64,
    /// Rows.
    pub rows: u64,
}
