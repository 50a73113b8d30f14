//! Totals that are shown, as they were counted last.

use crate::forecast::Facts;
use chrono::{DateTime, Utc};
use millwork_api::Forecast;
use millwork_manifest::FileState;
use millwork_tracking::{Capacity, FileTotal, RunCount};
use std::collections::HashMap;

/// A counted value, with its time.
#[derive(Clone)]
pub(super) struct Counted<T> {
    pub(super) at: DateTime<Utc>,
    pub(super) values: Vec<T>,
}

/// Totals, as of the last update.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// Runs that have not ended.
    pub(super) runs: Option<Counted<RunCount>>,
    pub(super) files: Option<Counted<(FileState, FileTotal)>>,
    /// Capacity measured by the leader.
    pub(super) capacity: Option<Capacity>,
    /// Arrival rate in bytes per second: the lower and the higher of those of the last ten minutes and the last hour.
    pub(super) arrival: Option<(f64, f64)>,
    pub(super) executors: u64,
    pub(super) slots: u64,
    /// Number of tasks of each executor.
    pub(super) tasks: HashMap<String, u64>,
    pub(super) input_bytes: u64,
    pub(super) output_bytes: u64,
    pub(super) rows: u64,
    pub(super) bytes_per_second: Option<f64>,
}

impl Known {
    /// Time at which the oldest queued run was queued.
    pub(super) fn oldest_queued(&self) -> Option<DateTime<Utc>> {
        use millwork_manifest::RunState::Queued;
        self.counts().iter().find(|count| count.state == Queued).and_then(|count| count.oldest)
    }

    pub(super) fn counts(&self) -> &[RunCount] {
        self.runs.as_ref().map_or(&[], |counted| &counted.values)
    }

    pub(super) fn slots_used(&self) -> u64 {
        self.tasks.values().sum()
    }

    /// Forecasts the backlog.
    pub(super) fn forecast(&self) -> Forecast {
        let capacity = self.capacity.unwrap_or_default();
        let learnt = capacity.bytes_per_slot_second.map(|speed| speed * capacity.slots as f64);
        let facts = Facts {
            backlog_bytes: self.backlog_bytes().unwrap_or_else(|| capacity.unfinished_bytes()),
            arrival: self.arrival,
            learnt,
            measured: self.bytes_per_second.filter(|_| capacity.slots > 0),
        };
        facts.forecast()
    }

    /// Bytes of open runs and pending files, by the counts that are shown beside; `None` until both were made.
    fn backlog_bytes(&self) -> Option<u64> {
        self.runs.as_ref()?;
        let files = &self.files.as_ref()?.values;
        let pending = files.iter().filter(|(state, _)| *state == FileState::Pending).map(|(_, total)| total.bytes);
        let runs = self.counts().iter().map(|count| count.bytes);
        Some(runs.chain(pending).fold(0, u64::saturating_add))
    }

    /// Time in seconds that open runs will take at the recent speed.
    pub(super) fn backlog_seconds(&self) -> Option<f64> {
        let bytes: u64 = self.counts().iter().map(|count| count.bytes).sum();
        self.bytes_per_second.map(|speed| bytes as f64 / speed)
    }
}
