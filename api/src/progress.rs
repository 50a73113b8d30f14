//! Progress of the conversion of a run.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far an attempt at a run is.
#[derive(Clone, Debug, Serialize, ToSchema, PartialEq, Deserialize)]
pub struct RunProgress {
    /// The attempt.
    pub attempt: u32,
    /// The step that it is at.
    pub phase: Phase,
    /// The steps before, with their times.
    pub steps: Vec<StepTime>,
    /// Stored bytes of the input that were read.
    pub read_bytes: u64,
    /// Stored bytes of the input.
    pub bytes: u64,
    /// Share of the input that was read, in percent: at most 99 until the output is committed.
    pub percent: u8,
    /// Lines that became rows.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Bytes of Parquet written.
    pub written_bytes: u64,
    /// Tasks that have ended.
    pub tasks_done: u64,
    /// All tasks; 0 until the plan is made.
    pub tasks: u64,
    /// Bytes of input read a second, lately; null while nothing is read.
    #[schema(required)]
    pub bytes_per_second: Option<f64>,
    /// How long reading the rest will take, in seconds; null unless the speeds of the last three seconds agree within a factor of two.
    #[schema(required)]
    pub eta_seconds: Option<f64>,
    /// The engine's stages and tasks, while it has them.
    pub stages: Vec<StageProgress>,
}

/// The step that an attempt is at.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, Deserialize)]
pub struct Phase {
    /// The step.
    pub name: Step,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Step of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The input is looked at: every file is there and unchanged, columns are found, large files are cut.
    Survey,
    /// The plan is made, with a trial on a sample if the output will be more than a file.
    Plan,
    /// Executors convert, or are waited for.
    Convert,
    /// What executors reported is compared with the plan and with what they wrote.
    Check,
    /// The output is settled, and the store is told what it is: from then on it counts.
    Commit,
    /// The output gets its names.
    Publish,
}

/// A step that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepTime {
    /// The step.
    pub step: Step,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// How far a stage is.
#[derive(Clone, Debug, Serialize, ToSchema, PartialEq, Deserialize)]
pub struct StageProgress {
    /// Its number in the job.
    pub id: usize,
    /// `Running`, `Successful` and the like, in Ballista's words.
    pub state: String,
    /// How many partitions it has in all; each is a task.
    pub partitions: usize,
    /// The stage's physical plan.
    pub plan: String,
    /// The tasks that have been given to executors.
    pub tasks: Vec<TaskProgress>,
}

/// A task that an executor has, or had. Its counts are the executor's word while it runs, within what it was given.
#[derive(Clone, Debug, Serialize, ToSchema, PartialEq, Deserialize)]
pub struct TaskProgress {
    /// Its number in the stage.
    pub id: usize,
    /// Where it is.
    pub state: TaskState,
    /// The executor it was given to.
    pub executor: Option<String>,
    /// When it was given away, in milliseconds since 1970.
    pub launched_at_ms: u64,
    /// When it ended, in the same.
    pub ended_at_ms: Option<u64>,
    /// Step that it is at.
    pub phase: TaskPhase,
    /// Stored bytes of its input.
    pub input_bytes: u64,
    /// How many of them it has read.
    pub read_bytes: u64,
    /// Lines that became rows.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Bytes of Parquet that it has written.
    pub written_bytes: u64,
    /// Output files that it has begun.
    pub parts: u64,
    /// Bytes of input that it reads a second, lately.
    pub bytes_per_second: f64,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// An executor has it.
    Running,
    /// Its report is here.
    Successful,
    /// It was lost, or failed.
    Failed,
}

/// Step that a task is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskPhase {
    /// It reads and writes.
    Converting,
    /// It has read all of its input.
    Finishing,
}
