//! Fair sharing of slots between jobs: each job gets a task before another gets a second one.
//!
//! Ballista serves jobs in no particular order, and gives a job all free slots. Here the job with the fewest running
//! tasks goes first, and the oldest among equals. A job without a task need not wait for a slot: an executor accepts a
//! few tasks beyond its threads, which share the threads, so that long runs do not block short ones.

use ballista_core::JobId;
use ballista_core::serde::protobuf::{AvailableVcores, job_status::Status};
use ballista_core::serde::scheduler::TaskKey;
use ballista_scheduler::cluster::{BoundTask, DistributionPolicy};
use ballista_scheduler::state::execution_graph::{ExecutionGraph, TaskDescription, create_task_info};
use ballista_scheduler::state::task_manager::JobInfoCache;
use std::collections::HashMap;
use std::sync::Arc;

/// Limit of the tasks that an executor accepts beyond its slots, for jobs that have no other task. Bounds memory, since
/// each task has a plan.
pub(super) const BEYOND: u32 = 6;

/// Task distribution policy for Ballista.
#[derive(Debug)]
pub(super) struct FairShare;

/// A job with tasks that are not launched yet.
struct Waiting {
    running: usize,
    since: u64,
    id: JobId,
    job: JobInfoCache,
}

#[async_trait::async_trait]
impl DistributionPolicy for FairShare {
    async fn bind_tasks(
        &self,
        mut budgets: Vec<&mut AvailableVcores>,
        running_jobs: Arc<HashMap<JobId, JobInfoCache>>,
    ) -> datafusion::error::Result<Vec<BoundTask>> {
        let (mut bound, mut waiting) = (Vec::new(), Vec::new());
        for (id, job) in running_jobs.iter().filter(|(_, job)| matches!(job.status, Some(Status::Running(_)))) {
            let graph = job.execution_graph.read().await;
            if graph.available_tasks() > 0 {
                let (running, since) = (graph.running_tasks().len(), graph.start_time());
                waiting.push(Waiting { running, since, id: id.clone(), job: job.clone() });
            }
        }
        while let Some(at) = first(&waiting) {
            let next = &mut waiting[at];
            let Some(budget) = budget_for(next.running, &mut budgets) else {
                // Jobs with more running tasks get no slot either.
                break;
            };
            let task = bind(&mut **next.job.execution_graph.write().await, &next.id, budget);
            next.running += 1;
            match task {
                Some(task) => bound.push(task),
                None => drop(waiting.swap_remove(at)),
            }
        }
        Ok(bound)
    }

    fn name(&self) -> &str {
        "fair share"
    }
}

/// The job to be served next.
fn first(waiting: &[Waiting]) -> Option<usize> {
    let order = |at: &usize| (waiting[*at].running, waiting[*at].since, &waiting[*at].id);
    (0..waiting.len()).min_by(|one, other| order(one).cmp(&order(other)))
}

/// The executor with the most free slots for a task of a job with `running` tasks.
fn budget_for<'a>(running: usize, budgets: &'a mut [&mut AvailableVcores]) -> Option<&'a mut AvailableVcores> {
    let most = budgets.iter_mut().max_by_key(|budget| budget.vcores)?;
    let kept = if running == 0 { 0 } else { BEYOND };
    (most.vcores > kept).then_some(&mut **most)
}

/// Binds the next task of a job, a single partition, to an executor.
fn bind(graph: &mut dyn ExecutionGraph, id: &JobId, budget: &mut AvailableVcores) -> Option<BoundTask> {
    let session_id = graph.session_id().to_owned();
    let stage = graph.fetch_running_stage(&[])?;
    let partitions = stage.pending.next_slice(1);
    let failed = partitions.iter().filter_map(|partition| stage.task_failure_numbers.get(*partition)).max()?;
    let (task_id, task_attempt) = (stage.task_infos.len(), *failed);
    let mut info = create_task_info(budget.executor_id.clone(), task_id);
    (info.global_input_partition_ids, info.vcores_consumed) = (partitions.clone(), 1);
    stage.task_infos.push(info);
    budget.vcores -= 1;
    let task = TaskDescription {
        session_id,
        key: TaskKey { job_id: id.clone(), stage_id: stage.stage_id, task_id },
        stage_attempt_num: stage.stage_attempt_num,
        task_attempt,
        global_input_partition_ids: partitions,
        vcores_consumed: 1,
        plan: stage.plan.clone(),
        session_config: stage.session_config.clone(),
    };
    Some((budget.executor_id.clone(), task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_without_tasks_goes_beyond_the_slots() {
        let budget = |id: &str, vcores| AvailableVcores { executor_id: id.to_owned(), vcores };
        let (mut a, mut b) = (budget("a", BEYOND), budget("b", BEYOND + 1));
        let mut found = |running| budget_for(running, &mut [&mut a, &mut b]).map(|budget| budget.executor_id.clone());
        assert_eq!((found(0).as_deref(), found(3).as_deref()), (Some("b"), Some("b")));
        b.vcores -= 1;
        let mut found = |running| budget_for(running, &mut [&mut a, &mut b]).map(|budget| budget.vcores);
        assert_eq!((found(0), found(1)), (Some(BEYOND), None));
        (a.vcores, b.vcores) = (0, 0);
        assert!(budget_for(0, &mut [&mut a, &mut b]).is_none() && budget_for(0, &mut []).is_none());
    }
}
