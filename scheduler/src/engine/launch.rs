//! Conversion of tasks from Ballista's form to that of executors.

use super::assigned::Assigned;
use ballista_core::serde::protobuf::MultiTaskDefinition;
use millwork_cluster::messages::{Setting, Task, TaskKey};

/// Splits a Ballista task definition, which holds a single task here, into tasks for an executor.
pub(super) fn single_tasks(definition: MultiTaskDefinition, executor: &str) -> Vec<(Task, Assigned)> {
    let MultiTaskDefinition { task_ids, job_id, stage_id, stage_attempt_num, plan, session_id, launch_time, props } =
        definition;
    let settings: Vec<Setting> = props.into_iter().map(|pair| Setting { key: pair.key, value: pair.value }).collect();
    let single = |id: ballista_core::serde::protobuf::TaskId| {
        let key = TaskKey { job: job_id.clone(), stage: stage_id, stage_attempt: stage_attempt_num, task: id.task_id };
        let partition = id.global_output_partition_ids.first().copied().unwrap_or(id.task_id) as usize;
        let task = Task {
            key: Some(key),
            attempt: id.task_attempt_num,
            plan: plan.clone(),
            settings: settings.clone(),
            session: session_id.clone(),
        };
        (task, Assigned::new(executor, partition, launch_time))
    };
    task_ids.into_iter().map(single).collect()
}
