//! Progress of the conversion of a run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobProgress {
    /// Its stages, in order. A conversion has one.
    pub stages: Vec<StageProgress>,
}

/// How far a stage is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
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

/// A task that an executor has, or had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskProgress {
    /// Its number in the stage.
    pub id: usize,
    pub state: TaskState,
    /// The executor it was given to.
    pub executor: Option<String>,
    /// When it was given away, in milliseconds since 1970.
    pub launched_at_ms: u64,
    /// When it ended, in the same.
    pub ended_at_ms: Option<u64>,
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
