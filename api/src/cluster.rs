//! The scheduler, its executors, and numbers of both.

use crate::words;
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, RunState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The executors that are connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Executors {
    /// Whether this process runs the manifests. Executors connect to the one that does: a standby has none.
    pub leads: bool,
    pub items: Vec<Executor>,
}

/// An executor that is connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Executor {
    /// Its id.
    pub id: String,
    /// Where it can be reached.
    #[schema(example = "10.0.0.7:50051")]
    pub host: String,
    /// How many tasks it runs at once.
    pub vcores: u32,
    /// How many tasks it ran when that was last looked at, at most some seconds ago.
    pub tasks: u64,
}

/// How it goes. Numbers that are costly to make are some seconds old: each says when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Millwork's version.
    pub version: String,
    /// How long this process has been up, in seconds.
    pub uptime_seconds: u64,
    /// Whether this process runs the manifests. One that stands by knows neither executors nor throughput.
    pub leads: bool,
    /// When the runs were counted; null until they were.
    #[schema(required)]
    pub runs_counted_at: Option<DateTime<Utc>>,
    /// The runs that have not ended. States without runs are left out.
    pub runs: Vec<RunsInState>,
    /// How long ago the oldest run that waits was queued first, in seconds; null if none waits.
    #[schema(required)]
    pub queue_age_seconds: Option<f64>,
    /// When the files were counted: at most once a minute, since the store reads all of them for it.
    #[schema(required)]
    pub files_counted_at: Option<DateTime<Utc>>,
    /// The files by state. States without files are left out.
    pub files: Vec<FilesInState>,
    /// Executors that are connected.
    pub executors: u64,
    /// Tasks that all of them run at once.
    pub slots: u64,
    /// Tasks that they run now.
    pub slots_used: u64,
    /// Since this process runs the manifests.
    pub converted: Converted,
    /// Input bytes of completed runs a second, over the last five minutes in which there was something to do; null until a
    /// run has completed.
    #[schema(required)]
    pub bytes_per_second: Option<f64>,
    /// How long the runs that have not ended will take at that rate, in seconds.
    #[schema(required)]
    pub backlog_seconds: Option<f64>,
}

/// Runs in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunsInState {
    #[schema(schema_with = words::run_state)]
    pub state: RunState,
    /// How many.
    pub runs: u64,
    /// The bytes of their manifests.
    pub bytes: u64,
    /// When the oldest of them was queued first.
    #[schema(required)]
    pub oldest: Option<DateTime<Utc>>,
}

/// Files in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilesInState {
    #[schema(schema_with = words::file_state)]
    pub state: FileState,
    /// How many.
    pub files: u64,
}

/// What was converted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Converted {
    /// Stored bytes of the input.
    pub input_bytes: u64,
    /// Bytes of Parquet.
    pub output_bytes: u64,
    /// Rows.
    pub rows: u64,
}
