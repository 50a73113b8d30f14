//! Progress of an attempt: its steps, and what its tasks have done.
//!
//! Nothing of it falls: a task that is done again after the loss of its executor begins anew, the attempt stays where it was until
//! that is caught up with. It is complete when the output is committed, and not before.

use super::steps::Steps;
use crate::accounts;
use crate::engine::TaskNow;
use chrono::Utc;
use millwork_api::{Phase, RunProgress, StageProgress, Step};
use millwork_manifest::ManifestId;
use millwork_tracking::AttemptWork;
use std::collections::VecDeque;

/// Number of the last looks whose speeds have to agree for the time that is left to be told.
const SPEEDS: usize = 3;
/// Factor by which these speeds may be apart.
const AGREE: f64 = 2.0;
/// Percent of an output that is converted but not committed.
const MOST_PERCENT: u8 = 99;

/// Steps and counts of an attempt, and the speeds of the last looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    steps: Steps,
    /// Stored bytes of the input: the manifest's until it is planned, then the plan's.
    bytes: u64,
    read_bytes: u64,
    rows: u64,
    rejected: u64,
    written_bytes: u64,
    cpu_micros: u64,
    tasks_done: u64,
    tasks: u64,
    speeds: VecDeque<f64>,
    /// Tasks as they were when all had ended; none before.
    ended_tasks: Vec<TaskNow>,
}

impl Progress {
    /// An attempt that has just begun, at a manifest with these stored bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Notes that the attempt comes to a step.
    pub(super) fn begin(&mut self, step: Step) {
        self.steps.begin(step, Utc::now());
    }

    /// Notes that the conversion begins, of these stored bytes.
    pub(super) fn begin_conversion(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.begin(Step::Convert);
    }

    /// Takes what is known of the tasks now.
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

    /// Takes the tasks as they were when all had ended: what they did is checked now.
    pub(super) fn end_conversion(&mut self, tasks: &[TaskNow]) {
        self.see(tasks, tasks.len());
        self.ended_tasks = tasks.to_vec();
        self.begin(Step::Check);
    }

    /// Account of the attempt, by its tasks or, where they are gone, by what was seen of them; none before its first step.
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

    /// Tasks as they were when all had ended; none before.
    pub(super) fn ended_tasks(&self) -> &[TaskNow] {
        &self.ended_tasks
    }

    /// Notes the speed at one of the regular looks.
    pub(super) fn note_speed(&mut self, bytes_per_second: f64) {
        self.speeds.push_back(bytes_per_second);
        if self.speeds.len() > SPEEDS {
            self.speeds.pop_front();
        }
    }

    /// The speed of the last looks.
    fn speed(&self) -> Option<f64> {
        let sum: f64 = self.speeds.iter().sum();
        (sum > 0.0).then(|| sum / self.speeds.len() as f64)
    }

    /// Time that the rest takes, in seconds, if the last speeds agree.
    fn eta(&self) -> Option<f64> {
        let least = self.speeds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.speeds.iter().copied().fold(0.0, f64::max);
        let agree = self.speeds.len() == SPEEDS && least > 0.0 && most <= AGREE * least;
        self.speed().filter(|_| agree).map(|speed| self.bytes.saturating_sub(self.read_bytes) as f64 / speed)
    }

    /// Progress as the API tells it; none before the first step.
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
