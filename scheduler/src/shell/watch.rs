//! Progress of runs, in bytes: looked at each second, and when somebody asks.
//!
//! Within an attempt nothing of it falls: a task that is done again after the loss of its executor begins anew, the run stays where
//! it was until that is caught up with. It is complete when the output is committed, and not before.

use super::Shell;
use super::work::Work;
use crate::accounts;
use crate::engine::TaskNow;
use millwork_api::{Phase, RunProgress, StageProgress, Step, StepTime};
use millwork_manifest::ManifestId;
use millwork_tracking::AttemptWork;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks at the runs that are being converted.
const LOOK: Duration = Duration::from_secs(1);
/// Number of the last looks whose speeds have to agree for the time that is left to be told.
const SPEEDS: usize = 3;
/// Factor by which these speeds may be apart.
const AGREE: f64 = 2.0;
/// Percent of an output that is converted but not committed.
const MOST_PERCENT: u8 = 99;

/// Counts of an attempt that were shown, and the speeds of the last looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    read_bytes: u64,
    rows: u64,
    rejected: u64,
    written_bytes: u64,
    cpu_micros: u64,
    tasks_done: u64,
    tasks: u64,
    /// Stored bytes of the input, as planned.
    bytes: Option<u64>,
    speeds: VecDeque<f64>,
}

impl Shown {
    /// Takes what is known of the tasks now.
    pub(super) fn see(&mut self, tasks: &[TaskNow], all: usize, bytes: u64) {
        let sum = |of: fn(&TaskNow) -> u64| tasks.iter().map(of).fold(0, u64::saturating_add);
        self.read_bytes = self.read_bytes.max(sum(|task| task.counts.read_bytes)).min(bytes);
        self.rows = self.rows.max(sum(|task| task.counts.rows));
        self.rejected = self.rejected.max(sum(|task| task.counts.rejected));
        self.written_bytes = self.written_bytes.max(sum(|task| task.counts.written_bytes));
        self.cpu_micros = self.cpu_micros.max(sum(|task| task.counts.cpu_micros));
        self.tasks_done = self.tasks_done.max(tasks.iter().filter(|task| task.ended_at_ms.is_some()).count() as u64);
        (self.tasks, self.bytes) = (all as u64, Some(bytes));
    }

    /// Account of the attempt, by its tasks or, where they are gone, by what was shown.
    pub(super) fn account(&self, steps: &[StepTime], tasks: &[TaskNow]) -> AttemptWork {
        let mut all = accounts::work(steps, tasks);
        all.read_bytes = all.read_bytes.max(self.read_bytes);
        all.rows = all.rows.max(self.rows);
        all.rejected = all.rejected.max(self.rejected);
        all.cpu_micros = all.cpu_micros.max(self.cpu_micros);
        all.tasks = all.tasks.max(self.tasks);
        all
    }

    /// Notes the speed at one of the regular looks.
    fn note_speed(&mut self, bytes_per_second: f64) {
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
    fn eta(&self, bytes: u64) -> Option<f64> {
        let least = self.speeds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.speeds.iter().copied().fold(0.0, f64::max);
        let agree = self.speeds.len() == SPEEDS && least > 0.0 && most <= AGREE * least;
        self.speed().filter(|_| agree).map(|speed| bytes.saturating_sub(self.read_bytes) as f64 / speed)
    }
}

impl Shell {
    /// Progress of a run, if this process has an attempt at it.
    pub(crate) async fn progress(&self, id: &ManifestId) -> Option<RunProgress> {
        let job = self.works.job(id);
        if let Some(job) = &job {
            let (tasks, all) = self.engine.tasks(job);
            self.works.seen(
                id,
                |work| work.job.as_ref() == Some(job),
                |work| work.shown.see(&tasks, all, work.input_bytes),
            );
        }
        let stages = match &job {
            Some(job) => self.engine.stages(job).await.unwrap_or_default(),
            None => Vec::new(),
        };
        self.progress_of(id, stages)
    }

    /// Progress of a run, as it was last looked at.
    fn progress_of(&self, id: &ManifestId, stages: Vec<StageProgress>) -> Option<RunProgress> {
        self.works.look(id, |work| {
            let (name, since) = work.steps.now()?;
            let shown = &work.shown;
            let manifest_bytes = || work.manifest.as_ref().map_or(0, |manifest| manifest_bytes(manifest));
            let bytes = shown.bytes.unwrap_or_else(manifest_bytes);
            let share = u8::try_from(shown.read_bytes.saturating_mul(100) / bytes.max(1)).unwrap_or(100);
            let is_committed = name == Step::Publish;
            let is_converting = name == Step::Convert;
            Some(RunProgress {
                manifest_id: id.to_string(),
                attempt: work.attempt,
                phase: Phase { name, since },
                steps: work.steps.ended().to_vec(),
                read_bytes: shown.read_bytes,
                bytes,
                percent: if is_committed { 100 } else { share.min(MOST_PERCENT) },
                rows: shown.rows,
                rejected: shown.rejected,
                written_bytes: shown.written_bytes,
                tasks_done: shown.tasks_done,
                tasks: shown.tasks,
                bytes_per_second: shown.speed().filter(|_| is_converting),
                eta_seconds: shown.eta(bytes).filter(|_| is_converting),
                stages,
            })
        })?
    }

    /// Looks at the runs that are being converted, as long as anything is run.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.stopped.cancelled() => return,
            }
            for (id, job) in self.works.jobs() {
                let (tasks, all) = self.engine.tasks(&job);
                let speed = tasks.iter().map(|task| task.bytes_per_second).sum();
                let is_same = |work: &Work| work.job.as_ref() == Some(&job);
                self.works.seen(&id, is_same, |work| {
                    work.shown.see(&tasks, all, work.input_bytes);
                    work.shown.note_speed(speed);
                });
                if self.progresses.receiver_count() > 0
                    && let Some(progress) = self.progress_of(&id, Vec::new())
                {
                    // Whoever listened may be gone by now.
                    let _ = self.progresses.send(Arc::new(progress));
                }
            }
        }
    }
}

fn manifest_bytes(manifest: &millwork_manifest::Manifest) -> u64 {
    manifest.files.iter().filter_map(|file| file.size_bytes).fold(0, u64::saturating_add)
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
        let mut shown = Shown::default();
        shown.see(&[task(50), task(30)], 2, 100);
        shown.see(&[task(50)], 2, 100);
        assert_eq!((shown.read_bytes, shown.rows), (80, 80));
        shown.see(&[task(50), task(u64::MAX)], 2, 100);
        assert_eq!(shown.read_bytes, 100, "no more than there is");
    }

    #[test]
    fn the_rest_is_told_only_when_the_last_speeds_agree() {
        let mut shown = Shown { read_bytes: 40, ..Shown::default() };
        for (speed, eta) in
            [(10.0, None), (15.0, None), (20.0, Some(4.0)), (50.0, None), (40.0, None), (30.0, Some(1.5))]
        {
            shown.note_speed(speed);
            assert_eq!(shown.eta(100), eta, "{speed}");
        }
        shown.note_speed(0.0);
        assert_eq!(shown.eta(100), None);
    }
}
