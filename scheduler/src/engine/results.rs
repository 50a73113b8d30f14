//! Reports of finished tasks, kept from when they arrive until their job is dropped.

use ballista_core::JobId;
use millwork_conversion::TaskReport;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The reports of all jobs. One counts for each partition: if a task ran twice, the later.
#[derive(Default)]
pub(super) struct Results(Mutex<HashMap<JobId, Finished>>);

/// What has finished of a job.
#[derive(Default)]
struct Finished {
    reports: BTreeMap<usize, TaskReport>,
    /// The executors that ran tasks, by the task's number in its stage.
    executors: HashMap<usize, String>,
}

impl Results {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Finished>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the report of a task.
    pub(super) fn put(&self, job: JobId, partition: usize, task: usize, executor: &str, report: TaskReport) {
        let mut jobs = self.jobs();
        let finished = jobs.entry(job).or_default();
        finished.reports.insert(partition, report);
        finished.executors.insert(task, executor.to_owned());
    }

    /// Gives the reports of a job, in the order of their partitions.
    pub(super) fn take(&self, job: &JobId) -> Vec<TaskReport> {
        let reports = self.jobs().get_mut(job).map(|finished| std::mem::take(&mut finished.reports));
        reports.unwrap_or_default().into_values().collect()
    }

    /// The executors that ran the tasks of a job that have finished.
    pub(super) fn executors(&self, job: &JobId) -> HashMap<usize, String> {
        self.jobs().get(job).map(|finished| finished.executors.clone()).unwrap_or_default()
    }

    pub(super) fn forget(&self, job: &JobId) {
        self.jobs().remove(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_was_run_twice_has_one_report() {
        let (results, job) = (Results::default(), JobId::from("job".to_owned()));
        let by = |name: &str| {
            let mut report = TaskReport::default();
            report.executor = name.to_owned();
            report
        };
        results.put(job.clone(), 1, 0, "a", by("a"));
        results.put(job.clone(), 0, 1, "b", by("b"));
        results.put(job.clone(), 1, 2, "c", by("c"));
        assert_eq!(results.executors(&job)[&0], "a");
        let names: Vec<String> = results.take(&job).into_iter().map(|report| report.executor).collect();
        assert_eq!(names, ["b", "c"]);
        results.forget(&job);
        assert!(results.take(&job).is_empty());
    }
}
