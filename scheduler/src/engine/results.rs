//! Reports of finished tasks, kept from when they arrive until their job is dropped.

use super::counts::TaskNow;
use ballista_core::JobId;
use millwork_conversion::{TaskInput, TaskReport};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The reports of all jobs. One counts for each partition: if a task ran twice, the later.
#[derive(Default)]
pub(super) struct Results(Mutex<HashMap<JobId, Finished>>);

/// Reports and tasks of a job that have finished so far, and the input of all its tasks.
#[derive(Default)]
struct Finished {
    reports: BTreeMap<usize, TaskReport>,
    /// The tasks, by their partition.
    tasks: BTreeMap<usize, TaskNow>,
    inputs: Vec<TaskInput>,
}

impl Results {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Finished>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the report of a task.
    pub(super) fn put(&self, job: JobId, task: TaskNow, report: TaskReport) {
        let mut jobs = self.jobs();
        let finished = jobs.entry(job).or_default();
        finished.reports.insert(task.partition, report);
        finished.tasks.insert(task.partition, task);
    }

    /// Notes the input of the tasks of a job: nothing that is said of them can be more.
    pub(super) fn expect(&self, job: JobId, inputs: Vec<TaskInput>) {
        self.jobs().entry(job).or_default().inputs = inputs;
    }

    /// The tasks of a job that have finished, and the input of all.
    pub(super) fn tasks(&self, job: &JobId) -> (Vec<TaskNow>, Vec<TaskInput>) {
        let jobs = self.jobs();
        let Some(finished) = jobs.get(job) else { return (Vec::new(), Vec::new()) };
        (finished.tasks.values().cloned().collect(), finished.inputs.clone())
    }

    /// Gives the reports of a job, in the order of their partitions.
    pub(super) fn take(&self, job: &JobId) -> Vec<TaskReport> {
        let reports = self.jobs().get_mut(job).map(|finished| std::mem::take(&mut finished.reports));
        reports.unwrap_or_default().into_values().collect()
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
        let task = |partition| TaskNow { partition, ..TaskNow::default() };
        results.put(job.clone(), task(1), by("a"));
        results.put(job.clone(), task(0), by("b"));
        results.put(job.clone(), task(1), by("c"));
        assert_eq!(results.tasks(&job).0.len(), 2);
        let names: Vec<String> = results.take(&job).into_iter().map(|report| report.executor).collect();
        assert_eq!(names, ["b", "c"]);
        results.forget(&job);
        assert!(results.take(&job).is_empty());
    }
}
