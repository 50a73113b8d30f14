//! A task that an executor has.

use super::counts::{Heard, TaskNow};
use millwork_cluster::messages::Counts;
use std::time::Instant;

/// A task that is assigned to an executor.
#[derive(Clone, Debug)]
pub(super) struct Assigned {
    pub(super) executor: String,
    /// Partition of the stage.
    pub(super) partition: usize,
    /// Time at which it was launched, in Unix milliseconds.
    pub(super) launched_at_ms: u64,
    /// Progress reported by the executor so far.
    pub(super) heard: Heard,
}

impl Assigned {
    pub(super) fn new(executor: &str, partition: usize, launched_at_ms: u64) -> Self {
        Self { executor: executor.to_owned(), partition, launched_at_ms, heard: Heard::default() }
    }

    /// State of the task by the executor's last progress message.
    pub(super) fn now(&self, task: u32, slots: u32) -> TaskNow {
        TaskNow {
            task,
            partition: self.partition,
            executor: self.executor.clone(),
            slots,
            launched_at_ms: self.launched_at_ms,
            counts: self.heard.counts(),
            bytes_per_second: self.heard.bytes_per_second(),
            ..TaskNow::default()
        }
    }

    /// State of the task at its end, with the executor's last counts, if there are any.
    pub(super) fn ended(mut self, task: u32, slots: u32, last: Option<&Counts>) -> TaskNow {
        if let Some(last) = last {
            self.heard.take(last, Instant::now());
        }
        TaskNow { bytes_per_second: 0.0, ..self.now(task, slots) }
    }
}
