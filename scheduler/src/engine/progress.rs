//! Progress of a job, as Ballista knows it.

use super::Engine;
use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::displayable;
use millwork_api::{JobProgress, StageProgress, TaskProgress, TaskState};
use std::collections::HashMap;

impl Engine {
    /// How far a job is, as long as the engine knows it.
    pub(crate) async fn progress(&self, id: &JobId) -> Option<JobProgress> {
        let running = self.server.state.task_manager.get_running_job_cache();
        let graph = running.get(id)?.execution_graph.read().await;
        let finished = self.results.executors(id);
        let mut stages: Vec<StageProgress> =
            graph.stages().iter().map(|(id, stage)| progress_of(*id, stage, &finished)).collect();
        stages.sort_by_key(|stage| stage.id);
        Some(JobProgress { stages })
    }
}

fn progress_of(id: usize, stage: &ExecutionStage, finished: &HashMap<usize, String>) -> StageProgress {
    let tasks: Vec<TaskProgress> =
        stage.task_infos().unwrap_or_default().iter().map(|task| task_progress(task, finished)).collect();
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

fn task_progress(task: &TaskInfo, finished: &HashMap<usize, String>) -> TaskProgress {
    let (state, executor) = match &task.task_status {
        task_status::Status::Running(running) => (TaskState::Running, Some(running.executor_id.clone())),
        // Ballista knows only who keeps the report.
        task_status::Status::Successful(_) => (TaskState::Successful, finished.get(&task.task_id).cloned()),
        task_status::Status::Failed(_) => (TaskState::Failed, None),
    };
    let millis = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    let ended_at_ms = (task.finish_time > 0).then(|| millis(task.finish_time));
    TaskProgress { id: task.task_id, state, executor, launched_at_ms: millis(task.scheduled_time), ended_at_ms }
}
