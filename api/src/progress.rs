//! Progress of runs, and the records kept of completed ones.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Progress of an attempt at a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunProgress {
    /// The run.
    pub manifest_id: String,
    /// The attempt; 0 where the output was committed before this process began.
    pub attempt: u32,
    /// The step that it is at.
    pub phase: Phase,
    /// Steps that have ended, with their times.
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
    /// Time that reading the rest will take, in seconds; null unless the speeds of the last three seconds agree within a factor
    /// of two.
    #[schema(required)]
    pub eta_seconds: Option<f64>,
    /// The engine's stages, in order, while it has them. A conversion has one.
    pub stages: Vec<StageProgress>,
}

/// Step that an attempt is at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// Input is examined: every file exists unchanged; columns are inferred and large files are split.
    Survey,
    /// Plan is created, with a trial conversion of a sample if more than one output file is expected.
    Plan,
    /// Conversion by executors, or waiting for executors.
    Convert,
    /// Comparison of executors' reports with the plan and with the objects they wrote.
    Check,
    /// Output is finalised and recorded in the store. From then on the run is committed.
    Commit,
    /// Output objects are given their final names.
    Publish,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 6] = [Self::Survey, Self::Plan, Self::Convert, Self::Check, Self::Commit, Self::Publish];

    /// Name of the step, as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Survey => "survey",
            Self::Plan => "plan",
            Self::Convert => "convert",
            Self::Check => "check",
            Self::Commit => "commit",
            Self::Publish => "publish",
        }
    }
}

/// Step that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepTime {
    /// The step.
    pub step: Step,
    /// Moment it began.
    pub began_at: DateTime<Utc>,
    /// Duration of the step, in seconds.
    pub seconds: f64,
}

/// Work of an attempt, as far as it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptWork {
    /// Steps of the attempt, in order.
    pub steps: Vec<StepTime>,
    /// Stored bytes of input that were read.
    pub read_bytes: u64,
    /// Lines that became rows.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Time that its tasks computed, in seconds.
    pub cpu_seconds: f64,
    /// Number of tasks of the attempt.
    pub tasks: u64,
}

/// Progress of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageProgress {
    /// Number of the stage in the job.
    pub id: usize,
    /// `Running`, `Successful` and the like, in Ballista's words.
    pub state: String,
    /// Number of partitions of the stage in all; each is a task.
    pub partitions: usize,
    /// The stage's physical plan.
    pub plan: String,
    /// The tasks that have been given to executors.
    pub tasks: Vec<TaskProgress>,
}

/// A task that an executor has, or had. Its counts are the executor's word while it runs, within what it was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskProgress {
    /// Number of the task in the stage.
    pub id: usize,
    pub state: TaskState,
    /// The executor it was given to.
    pub executor: Option<String>,
    /// Moment it was given away, in milliseconds since 1970.
    pub launched_at_ms: u64,
    /// Moment it ended, in milliseconds since 1970.
    pub ended_at_ms: Option<u64>,
    /// True if the task has read all of its input, and only finishes its files.
    pub is_finishing: bool,
    /// Stored bytes of its input.
    pub input_bytes: u64,
    /// Stored bytes of its input that the task has read.
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

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Task in work on an executor.
    Running,
    /// Task that reported success.
    Successful,
    /// Task that was lost or failed.
    Failed,
}

/// A task of a committed run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskRecord {
    /// Place of the task among the tasks of the run, from 0.
    pub task: u64,
    /// The executor that ran it.
    pub executor: String,
    /// Moment it was given to its executor, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Moment its report came, in milliseconds since 1970.
    pub ended_at_ms: u64,
    /// Stored bytes of its input.
    pub input_bytes: u64,
    /// Lines that became rows.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Output files.
    pub parts: u64,
    /// Bytes of the task's output files.
    pub output_bytes: u64,
    /// Time that it computed, in microseconds.
    pub cpu_micros: u64,
    /// The most memory that its executor had meanwhile, in bytes: that of other tasks of the executor included.
    pub peak_memory_bytes: u64,
}

/// Requests to object storage that a committed run took, estimated by the sizes of what was read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Requests {
    /// Requests that read: one for each file, or each 8 MiB of a large one, and two looks at each output.
    pub reads: u64,
    /// Requests that write: the parts of each output, its beginning and its completion.
    pub writes: u64,
}
