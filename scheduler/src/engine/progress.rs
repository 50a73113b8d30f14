//! Progress of a job, as Ballista knows it.

use super::{Engine, TaskNow};
use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::displayable;
use std::collections::HashMap;

/// How far a job is.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct JobProgress {
    /// Its stages, in order. A conversion has one.
    pub stages: Vec<StageProgress>,
}

/// How far a stage is.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
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
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct TaskProgress {
    /// Its number in the stage.
    pub id: usize,
    /// `running`, `successful` or `failed`.
    pub state: &'static str,
    /// The executor it was given to.
    pub executor: Option<String>,
    /// When it was given away, in milliseconds since 1970.
    pub launched_at_ms: u64,
    /// When it ended, in the same.
    pub ended_at_ms: Option<u64>,
    /// `converting`, or `finishing` once it has read all of its input.
    pub phase: &'static str,
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

impl Engine {
    /// How far a job is, as long as the engine knows it.
    pub(crate) async fn progress(&self, id: &JobId) -> Option<JobProgress> {
        let running = self.server.state.task_manager.get_running_job_cache();
        let graph = running.get(id)?.execution_graph.read().await;
        let known: HashMap<usize, TaskNow> =
            self.tasks(id).0.into_iter().map(|task| (task.task as usize, task)).collect();
        let mut stages: Vec<StageProgress> =
            graph.stages().iter().map(|(id, stage)| progress_of(*id, stage, &known)).collect();
        stages.sort_by_key(|stage| stage.id);
        Some(JobProgress { stages })
    }
}

fn progress_of(id: usize, stage: &ExecutionStage, known: &HashMap<usize, TaskNow>) -> StageProgress {
    let tasks: Vec<TaskProgress> =
        stage.task_infos().unwrap_or_default().iter().map(|task| task_progress(task, known)).collect();
    let partitions = match stage {
        ExecutionStage::Resolved(stage) => stage.partitions,
        ExecutionStage::Running(stage) => stage.partitions,
        ExecutionStage::Successful(stage) => stage.partitions,
        ExecutionStage::Failed(stage) => stage.partitions,
        ExecutionStage::UnResolved(_) => 0,
    };
    let plan = displayable(stage.plan()).indent(false).to_string();
    StageProgress { id, state: stage.variant_name().to_owned(), partitions, plan, tasks }
}

fn task_progress(task: &TaskInfo, known: &HashMap<usize, TaskNow>) -> TaskProgress {
    let now = known.get(&task.task_id);
    let (state, executor) = match &task.task_status {
        task_status::Status::Running(running) => ("running", Some(running.executor_id.clone())),
        // Ballista knows only who keeps the report.
        task_status::Status::Successful(_) => ("successful", now.map(|now| now.executor.clone())),
        task_status::Status::Failed(_) => ("failed", None),
    };
    let millis = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    let ended_at_ms = (task.finish_time > 0).then(|| millis(task.finish_time));
    let TaskNow { counts, input, bytes_per_second, .. } = now.cloned().unwrap_or_default();
    TaskProgress {
        id: task.task_id,
        state,
        executor,
        launched_at_ms: millis(task.scheduled_time),
        ended_at_ms,
        phase: if counts.is_finishing { "finishing" } else { "converting" },
        input_bytes: input.bytes,
        read_bytes: counts.read_bytes,
        rows: counts.rows,
        rejected: counts.rejected,
        written_bytes: counts.written_bytes,
        parts: counts.parts,
        bytes_per_second,
    }
}
