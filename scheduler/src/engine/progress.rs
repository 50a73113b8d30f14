//! Progress of a job, from Ballista's state and the executors' messages.

use super::{Engine, TaskNow};
use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::displayable;
use millwork_api::{StageProgress, TaskProgress, TaskState};
use std::collections::HashMap;

impl Engine {
    /// Stages of a job; `None` if the engine does not know the job any more.
    pub(crate) async fn stages(&self, id: &JobId) -> Option<Vec<StageProgress>> {
        let running = self.server.state.task_manager.get_running_job_cache();
        let graph = running.get(id)?.execution_graph.read().await;
        let tasks = self.tasks(id).0.into_iter();
        let known: HashMap<usize, TaskNow> = tasks.map(|task| (task.task as usize, task)).collect();
        let stages = graph.stages();
        let mut stages: Vec<StageProgress> = stages.iter().map(|(id, stage)| progress_of(*id, stage, &known)).collect();
        stages.sort_by_key(|stage| stage.id);
        Some(stages)
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
        task_status::Status::Running(running) => (TaskState::Running, Some(running.executor_id.clone())),
        // Ballista knows only the keeper of the report, so that the executor is taken from the scheduler's own records.
        task_status::Status::Successful(_) => (TaskState::Successful, now.map(|now| now.executor.clone())),
        task_status::Status::Failed(_) => (TaskState::Failed, None),
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
        is_finishing: counts.is_finishing,
        input_bytes: input.bytes,
        read_bytes: counts.read_bytes,
        rows: counts.rows,
        rejected: counts.rejected,
        written_bytes: counts.written_bytes,
        parts: counts.parts,
        bytes_per_second,
    }
}
