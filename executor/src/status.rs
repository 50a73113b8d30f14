//! State of an executor, for health checks and Prometheus.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Histogram buckets of task durations, in seconds: a task of small files takes a fraction of a second, one of four
/// large outputs minutes.
pub const TASK_BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0];

/// Ways in which a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskEnd {
    /// A report to the scheduler, which may contain a failure of the input.
    Completed,
    /// A failure that is not due to the input, such as a panic.
    Failed,
    /// Cancelled, or abandoned because its scheduler was lost or the executor had to end.
    GivenUp,
}

impl TaskEnd {
    const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::GivenUp];

    fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// Shared state of an executor.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connected: AtomicBool,
    draining: AtomicBool,
}

impl Status {
    /// Describes each metric. Counters start at 0 and are not absent, so that rates can be queried.
    pub fn describe(slots: usize) -> Self {
        describe_counter!("millwork_tasks_total", "Tasks that ended here, by outcome: completed, failed or given_up");
        TaskEnd::ALL
            .into_iter()
            .for_each(|end| counter!("millwork_tasks_total", "outcome" => end.as_str()).increment(0));
        millwork_storage::describe_metrics();
        describe_gauge!("millwork_tasks_running", "Tasks that run here now");
        describe_gauge!("millwork_slots", "Tasks that can run here at once, and threads that they share");
        describe_histogram!("millwork_task_duration_seconds", metrics::Unit::Seconds, "Time that completed tasks took");
        describe_gauge!("millwork_connected", "1 while this executor works for a scheduler");
        describe_gauge!("millwork_draining", "1 while this executor takes no more tasks, since it was told to end");
        describe_gauge!(
            "millwork_task_last_success_timestamp_seconds",
            "When the last task was completed, since 1970; 0 before the first"
        );
        gauge!("millwork_tasks_running").set(0.0);
        gauge!("millwork_slots").set(slots as f64);
        gauge!("millwork_task_last_success_timestamp_seconds").set(0.0);
        let status = Self::default();
        status.set_connected(false);
        gauge!("millwork_draining").set(0.0);
        status
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.0.connected.store(connected, Ordering::Relaxed);
        gauge!("millwork_connected").set(f64::from(u8::from(connected)));
    }

    pub(crate) fn set_draining(&self) {
        // The metric is set first, so that it agrees once readiness reports "draining".
        gauge!("millwork_draining").set(1.0);
        self.0.draining.store(true, Ordering::Release);
    }

    /// Tells whether it accepts tasks, or why not.
    pub fn ready(&self) -> Result<String, String> {
        match (self.0.draining.load(Ordering::Acquire), self.0.connected.load(Ordering::Relaxed)) {
            (true, _) => Err("draining: no more tasks are taken".to_owned()),
            (false, false) => Err("no scheduler takes this executor".to_owned()),
            (false, true) => Ok("ready".to_owned()),
        }
    }
}

/// Sets the number of running tasks.
pub(crate) fn note_running(tasks: usize) {
    gauge!("millwork_tasks_running").set(tasks as f64);
}

/// Counts ended tasks.
pub(crate) fn note_ends(end: TaskEnd, tasks: usize) {
    counter!("millwork_tasks_total", "outcome" => end.as_str()).increment(tasks as u64);
}

/// Counts a completed task, with its duration.
pub(crate) fn note_completed(took: Duration) {
    note_ends(TaskEnd::Completed, 1);
    histogram!("millwork_task_duration_seconds").record(took.as_secs_f64());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!("millwork_task_last_success_timestamp_seconds").set(since.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_while_it_takes_tasks() {
        let status = Status::default();
        assert!(status.ready().unwrap_err().contains("no scheduler"));
        status.set_connected(true);
        assert!(status.ready().is_ok());
        status.set_draining();
        assert!(status.ready().unwrap_err().contains("draining"));
    }
}
