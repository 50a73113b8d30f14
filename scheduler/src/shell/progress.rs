//! Progress of an attempt: its steps, and the counts of its tasks.
//!
//! Progress never decreases: when a task is repeated after the loss of its executor, the attempt's progress
//! stays where it was until the task has caught up. It reaches 100 % only at the commit.

use super::steps::Steps;
use crate::accounts;
use crate::engine::TaskNow;
use chrono::Utc;
use millwork_api::{Phase, RunProgress, StageProgress, Step};
use millwork_manifest::ManifestId;
use millwork_tracking::AttemptWork;
use std::collections::VecDeque;

/// Number of recent measurements whose speeds must agree before a remaining time is shown.
const SPEEDS: usize = 3;
/// Largest factor between the recent speeds at which they count as agreeing.
const AGREE: f64 = 2.0;
/// Limit of the percentage before the commit.
const MOST_PERCENT: u8 = 99;

/// Steps and counts of an attempt, and recent speeds.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    steps: Steps,
    /// Stored bytes of the input: the manifest's until planning, then the plan's.
    bytes: u64,
    read_bytes: u64,
    rows: u64,
    rejected: u64,
    written_bytes: u64,
    cpu_micros: u64,
    tasks_done: u64,
    tasks: u64,
    speeds: VecDeque<f64>,
    /// Final state of all tasks; empty before.
    ended_tasks: Vec<TaskNow>,
}

impl Progress {
    /// Progress of a new attempt at a manifest of this many stored bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Notes the start of a step.
    pub(super) fn begin(&mut self, step: Step) {
        self.steps.begin(step, Utc::now());
    }

    /// Notes the start of the conversion of this many stored bytes.
    pub(super) fn begin_conversion(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.begin(Step::Convert);
    }

    /// Updates the counts from the present state of the tasks.
    pub(super) fn see(&mut self, tasks: &[TaskNow], all: usize) {
        let sum = |of: fn(&TaskNow) -> u64| tasks.iter().map(of).fold(0, u64::saturating_add);
        self.read_bytes = self.read_bytes.max(sum(|task| task.counts.read_bytes)).min(self.bytes);
        self.rows = self.rows.max(sum(|task| task.counts.rows));
        self.rejected = self.rejected.max(sum(|task| task.counts.rejected));
        self.written_bytes = self.written_bytes.max(sum(|task| task.counts.written_bytes));
        self.cpu_micros = self.cpu_micros.max(sum(|task| task.counts.cpu_micros));
        self.tasks_done = self.tasks_done.max(tasks.iter().filter(|task| task.ended_at_ms.is_some()).count() as u64);
        self.tasks = all as u64;
    }

    /// Takes the final state of the tasks, and starts the step of checking.
    pub(super) fn end_conversion(&mut self, tasks: &[TaskNow]) {
        self.see(tasks, tasks.len());
        self.ended_tasks = tasks.to_vec();
        self.begin(Step::Check);
    }

    /// Work of the attempt, from its tasks or, if they are gone, from the last observation; `None` before the first
    /// step.
    pub(super) fn account(&self) -> Option<AttemptWork> {
        self.steps.now()?;
        let mut all = accounts::work(&self.steps.until(Utc::now()), &self.ended_tasks);
        all.read_bytes = all.read_bytes.max(self.read_bytes);
        all.rows = all.rows.max(self.rows);
        all.rejected = all.rejected.max(self.rejected);
        all.cpu_micros = all.cpu_micros.max(self.cpu_micros);
        all.tasks = all.tasks.max(self.tasks);
        Some(all)
    }

    /// Final state of all tasks; empty before.
    pub(super) fn ended_tasks(&self) -> &[TaskNow] {
        &self.ended_tasks
    }

    /// Adds a regular measurement of the speed.
    pub(super) fn note_speed(&mut self, bytes_per_second: f64) {
        self.speeds.push_back(bytes_per_second);
        if self.speeds.len() > SPEEDS {
            self.speeds.pop_front();
        }
    }

    /// Mean of the recent speeds.
    fn speed(&self) -> Option<f64> {
        let sum: f64 = self.speeds.iter().sum();
        (sum > 0.0).then(|| sum / self.speeds.len() as f64)
    }

    /// Remaining time in seconds, if the recent speeds agree.
    fn eta(&self) -> Option<f64> {
        let least = self.speeds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.speeds.iter().copied().fold(0.0, f64::max);
        let agree = self.speeds.len() == SPEEDS && least > 0.0 && most <= AGREE * least;
        self.speed().filter(|_| agree).map(|speed| self.bytes.saturating_sub(self.read_bytes) as f64 / speed)
    }

    /// Progress for the API; `None` before the first step.
    pub(super) fn shown(&self, id: &ManifestId, attempt: u32, stages: Vec<StageProgress>) -> Option<RunProgress> {
        let (name, since) = self.steps.now()?;
        let share = u8::try_from(self.read_bytes.saturating_mul(100) / self.bytes.max(1)).unwrap_or(100);
        let is_committed = name == Step::Publish;
        let is_converting = name == Step::Convert;
        Some(RunProgress {
            manifest_id: id.to_string(),
            attempt,
            phase: Phase { name, since },
            steps: self.steps.ended().to_vec(),
            read_bytes: self.read_bytes,
            bytes: self.bytes,
            percent: if is_committed { 100 } else { share.min(MOST_PERCENT) },
            rows: self.rows,
            rejected: self.rejected,
            written_bytes: self.written_bytes,
            tasks_done: self.tasks_done,
            tasks: self.tasks,
            bytes_per_second: self.speed().filter(|_| is_converting),
            eta_seconds: self.eta().filter(|_| is_converting),
            stages,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_cluster::messages::Counts;

    fn task(read_bytes: u64) -> TaskNow {
        TaskNow { counts: Counts { read_bytes, rows: read_bytes, ..Counts::default() }, ..TaskNow::default() }
    }

    #[test]
    fn progress_does_not_fall_when_a_task_begins_anew() {
        let mut progress = Progress::new(100);
        progress.see(&[task(50), task(30)], 2);
        progress.see(&[task(50)], 2);
        assert_eq!((progress.read_bytes, progress.rows), (80, 80));
        progress.see(&[task(50), task(u64::MAX)], 2);
        assert_eq!(progress.read_bytes, 100, "no more than there is");
    }

    #[test]
    fn the_rest_is_told_only_when_the_last_speeds_agree() {
        let mut progress = Progress { read_bytes: 40, ..Progress::new(100) };
        for (speed, eta) in
            [(10.0, None), (15.0, None), (20.0, Some(4.0)), (50.0, None), (40.0, None), (30.0, Some(1.5))]
        {
            progress.note_speed(speed);
            assert_eq!(progress.eta(), eta, "{speed}");
        }
        progress.note_speed(0.0);
        assert_eq!(progress.eta(), None);
    }
}
