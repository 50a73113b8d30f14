//! Accounts of a run: the work and resources of each of its tasks.

use crate::engine::TaskNow;
use millwork_api::{Requests, StepTime, TaskRecord};
use millwork_tracking::{AttemptStep, AttemptWork};

/// Limit of the tasks that are kept with a run: 1,000. Those that ended last are kept, since they delayed the run. A
/// manifest of 200 files has a few.
const MAX_TASKS: usize = 1000;

fn record(task: &TaskNow) -> TaskRecord {
    TaskRecord {
        task: task.partition as u64,
        executor: task.executor.clone(),
        started_at_ms: task.launched_at_ms,
        ended_at_ms: task.ended_at_ms.unwrap_or(task.launched_at_ms),
        input_bytes: task.input.bytes,
        rows: task.counts.rows,
        rejected: task.counts.rejected,
        parts: task.counts.parts,
        output_bytes: task.counts.written_bytes,
        cpu_micros: task.counts.cpu_micros,
        peak_memory_bytes: task.counts.peak_memory_bytes,
    }
}

/// Records of the tasks, in task order.
pub(crate) fn records(tasks: &[TaskNow]) -> Vec<TaskRecord> {
    let mut records: Vec<TaskRecord> = tasks.iter().map(record).collect();
    if records.len() > MAX_TASKS {
        records.sort_by_key(|record| std::cmp::Reverse(record.ended_at_ms));
        records.truncate(MAX_TASKS);
    }
    records.sort_by_key(|record| record.task);
    records
}

/// Total work of an attempt, from its steps and tasks.
pub(crate) fn work(steps: &[StepTime], tasks: &[TaskNow]) -> AttemptWork {
    let step = |time: &StepTime| AttemptStep {
        step: time.step.as_str().to_owned(),
        began_at: time.began_at,
        millis: (time.seconds * 1000.0).round() as u64,
    };
    let sum = |of: fn(&TaskNow) -> u64| tasks.iter().map(of).fold(0, u64::saturating_add);
    AttemptWork {
        steps: steps.iter().map(step).collect(),
        read_bytes: sum(|task| task.counts.read_bytes),
        rows: sum(|task| task.counts.rows),
        rejected: sum(|task| task.counts.rejected),
        cpu_micros: sum(|task| task.counts.cpu_micros),
        tasks: tasks.len() as u64,
    }
}

/// Size of an upload's part: 5 MiB, as for the first thousand parts of an output.
const PART_BYTES: u64 = 5 << 20;
/// Limit of the bytes that one read request returns: 8 MiB.
const READ_BYTES: u64 = 8 << 20;
/// Requests per upload besides its parts: write the note, begin, complete, remove the note.
const UPLOAD_REQUESTS: u64 = 4;
/// Read requests per output: one before its upload is completed, and one after.
const LOOKS_AT_OUTPUT: u64 = 2;

/// Estimated requests to object storage, from the stored bytes of inputs and outputs in buckets: actual requests are
/// not counted per run.
pub(crate) fn requests(inputs: impl Iterator<Item = u64>, outputs: impl Iterator<Item = u64>) -> Requests {
    let mut all = Requests::default();
    for bytes in inputs {
        all.reads = all.reads.saturating_add(bytes.div_ceil(READ_BYTES).max(1));
    }
    for bytes in outputs {
        all.writes = all.writes.saturating_add(bytes.div_ceil(PART_BYTES).max(1) + UPLOAD_REQUESTS);
        all.reads = all.reads.saturating_add(LOOKS_AT_OUTPUT);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_tasks_the_last_to_end_are_kept() {
        let task = |number: usize| TaskNow {
            partition: number,
            ended_at_ms: Some(if number == 7 { u64::MAX } else { number as u64 }),
            ..TaskNow::default()
        };
        let kept = records(&(0..2 * MAX_TASKS).map(task).collect::<Vec<_>>());
        assert_eq!((kept.len(), kept[0].task, kept[1].task), (MAX_TASKS, 7, MAX_TASKS as u64 + 1));
    }

    #[test]
    fn requests_follow_files_and_parts() {
        let requests = super::requests([1, 9 << 20].into_iter(), [20 << 20, 1].into_iter());
        assert_eq!(requests, Requests { reads: 1 + 2 + 4, writes: 4 + 1 + 2 * UPLOAD_REQUESTS });
    }
}
