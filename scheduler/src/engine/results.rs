//! Reports of finished tasks, kept from their arrival until their job is dropped.

use super::counts::TaskNow;
use ballista_core::JobId;
use millwork_conversion::{TaskInput, TaskReport};
use millwork_manifest::{Failure, FailureClass};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Limit of the reports that are kept, in bytes: 1 GiB. A report usually has some kilobytes, one of 20,000 columns in a
/// bucket up to 30 MiB. Beyond the limit, a job that uses more than an equal share fails, so that a faulty executor
/// affects only its own job.
const MAX_KEPT_BYTES: usize = 1 << 30;

/// Reports of all jobs, one per partition: if a task ran twice, the later one.
#[derive(Default)]
pub(super) struct Results(Mutex<HashMap<JobId, Finished>>);

/// Finished tasks of a job with their reports, and the planned input of all its tasks.
#[derive(Default)]
struct Finished {
    reports: BTreeMap<usize, TaskReport>,
    /// Encoded size of each report, by partition.
    bytes: BTreeMap<usize, usize>,
    /// Finished tasks, by partition.
    tasks: BTreeMap<usize, TaskNow>,
    inputs: Vec<TaskInput>,
}

impl Finished {
    fn kept_bytes(&self) -> usize {
        self.bytes.values().sum()
    }
}

impl Results {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Finished>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the report of a task, whose encoded size is `bytes`, or a failure if there is no room for it.
    pub(super) fn put(&self, job: JobId, task: TaskNow, report: TaskReport, bytes: usize) {
        let mut jobs = self.jobs();
        jobs.entry(job.clone()).or_default().bytes.insert(task.partition, bytes);
        let all: usize = jobs.values().map(Finished::kept_bytes).sum();
        let share = MAX_KEPT_BYTES / jobs.len();
        let Some(finished) = jobs.get_mut(&job) else { return };
        let of_job = finished.kept_bytes();
        let report = match all > MAX_KEPT_BYTES && of_job > share {
            false => report,
            true => {
                finished.bytes.remove(&task.partition);
                no_room(of_job)
            }
        };
        finished.reports.insert(task.partition, report);
        finished.tasks.insert(task.partition, task);
    }

    /// Sets the planned input of a job's tasks, which bounds their reported progress.
    pub(super) fn expect(&self, job: JobId, inputs: Vec<TaskInput>) {
        self.jobs().entry(job).or_default().inputs = inputs;
    }

    /// Finished tasks of a job, and the input of all its tasks.
    pub(super) fn tasks(&self, job: &JobId) -> (Vec<TaskNow>, Vec<TaskInput>) {
        let jobs = self.jobs();
        let Some(finished) = jobs.get(job) else { return (Vec::new(), Vec::new()) };
        (finished.tasks.values().cloned().collect(), finished.inputs.clone())
    }

    /// Removes and returns the reports of a job, ordered by partition.
    pub(super) fn take(&self, job: &JobId) -> Vec<TaskReport> {
        let reports = self.jobs().get_mut(job).map(|finished| {
            finished.bytes.clear();
            std::mem::take(&mut finished.reports)
        });
        reports.unwrap_or_default().into_values().collect()
    }

    pub(super) fn forget(&self, job: &JobId) {
        self.jobs().remove(job);
    }
}

/// Failure that replaces a report if the reports of its job would take this many bytes.
fn no_room(bytes: usize) -> TaskReport {
    let message = format!(
        "the reports of this run's tasks have {bytes} bytes, and those of all runs together may have {MAX_KEPT_BYTES}: make smaller \
         manifests, of fewer columns, or run fewer at once"
    );
    let mut report = TaskReport::default();
    report.failure = Some(Failure::new(FailureClass::Input, message));
    report
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
        for (partition, executor) in [(1, "a"), (0, "b"), (1, "c")] {
            results.put(job.clone(), task(partition), by(executor), 100);
        }
        assert_eq!(results.tasks(&job).0.len(), 2);
        let names: Vec<String> = results.take(&job).into_iter().map(|report| report.executor).collect();
        assert_eq!(names, ["b", "c"]);
        results.forget(&job);
        assert!(results.take(&job).is_empty());
    }

    #[test]
    fn a_job_with_more_than_its_share_is_refused_and_no_other() {
        let results = Results::default();
        let [large, small] = ["large", "small"].map(|job| JobId::from(job.to_owned()));
        let put = |job: &JobId, partition, bytes| {
            let task = TaskNow { partition, ..TaskNow::default() };
            results.put(job.clone(), task, TaskReport::default(), bytes);
            results.jobs()[job].reports[&partition].failure.is_none()
        };
        assert!(put(&large, 0, MAX_KEPT_BYTES) && !put(&large, 1, 1));
        assert!(put(&large, 0, MAX_KEPT_BYTES), "that of a task that ran twice counts once");
        assert!(put(&small, 0, 10_000), "the share of another");
        results.forget(&large);
        assert!(put(&small, 1, MAX_KEPT_BYTES - 10_000) && !put(&small, 2, 1));
    }
}
