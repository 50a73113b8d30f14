//! Observation of the runs that are being converted: each second, and on request.

use super::Shell;
use millwork_api::RunProgress;
use millwork_manifest::ManifestId;
use std::sync::Arc;
use std::time::Duration;

/// Interval of the observation.
const LOOK: Duration = Duration::from_secs(1);

impl Shell {
    /// Progress of a run, if this process has an attempt at it.
    pub(crate) async fn progress(&self, id: &ManifestId) -> Option<RunProgress> {
        let mut stages = Vec::new();
        if let Some(job) = self.runs.job(id) {
            let (tasks, all) = self.engine.tasks(&job);
            self.runs.note_job(id, &job, |progress| progress.see(&tasks, all));
            stages = self.engine.stages(&job).await.unwrap_or_default();
        }
        self.runs.attempt(id, |attempt| attempt.progress.shown(id, attempt.number, stages))?
    }

    /// Observes the runs that are being converted, while anything runs.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.stopped.cancelled() => return,
            }
            for (id, job) in self.runs.jobs() {
                let (tasks, all) = self.engine.tasks(&job);
                let speed = tasks.iter().map(|task| task.bytes_per_second).sum();
                self.runs.note_job(&id, &job, |progress| {
                    progress.see(&tasks, all);
                    progress.note_speed(speed);
                });
                if self.progresses.receiver_count() > 0
                    && let Some(Some(progress)) =
                        self.runs.attempt(&id, |attempt| attempt.progress.shown(&id, attempt.number, Vec::new()))
                {
                    // There may be no listener.
                    let _ = self.progresses.send(Arc::new(progress));
                }
            }
        }
    }
}
