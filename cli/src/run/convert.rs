//! Rounds of `millwork run`: open runs are converted until none is left.

use super::told::{tell_gone, tell_some};
use crate::report::{Report, count};
use crate::unheard::unheard;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millwork_conversion::TaskHost;
use millwork_manifest::{Flush, ManifestId, ObjectUri, RunState};
use millwork_manifest_builder::Builder;
use millwork_scheduler::{Change, EndedRun, Scheduler};
use millwork_storage::Location;
use millwork_tracking::{RunCount, TrackingStore};
use signal_hook_tokio::Signals;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Interval at which the store is asked for remaining work.
const LOOK: Duration = Duration::from_secs(2);

/// Time limit for commits when the command is interrupted.
const LAST_COMMITS: Duration = Duration::from_secs(10);

/// Remaining work: open runs, and the bytes of their manifests.
#[derive(Clone, Copy, Default)]
pub(super) struct Left {
    pub(super) runs: u64,
    bytes: u64,
}

impl Left {
    pub(super) async fn in_store(store: &Arc<dyn TrackingStore>) -> anyhow::Result<Self> {
        let add = |left: Self, count: RunCount| Self { runs: left.runs + count.runs, bytes: left.bytes + count.bytes };
        Ok(store.count_runs().await?.into_iter().fold(Self::default(), add))
    }
}

/// Received ends of runs, and their consequences.
pub(super) struct Heard {
    /// Start of the command: runs that ended earlier are ignored.
    since: DateTime<Utc>,
    told: HashSet<ManifestId>,
    /// True if ends of runs may have been missed.
    is_behind: bool,
    /// Files at fault in runs that failed in this round.
    at_fault: Vec<ObjectUri>,
}

impl Heard {
    pub(super) fn since(since: DateTime<Utc>) -> Self {
        Self { since, told: HashSet::new(), is_behind: false, at_fault: Vec::new() }
    }
}

/// Open runs, and parts by which they are converted.
pub(super) struct Rounds<'a> {
    pub(super) scheduler: &'a Scheduler,
    pub(super) host: &'a TaskHost,
    pub(super) ended: broadcast::Receiver<EndedRun>,
    pub(super) signals: &'a mut Signals,
    pub(super) left: Left,
    pub(super) heard: Heard,
    pub(super) report: &'a mut Report,
}

impl Rounds<'_> {
    /// Converts in rounds until nothing is left. Returns false if the user interrupted.
    pub(super) async fn convert(mut self, builder: &Builder, input: &Location) -> anyhow::Result<bool> {
        while self.left.runs > 0 {
            if !self.round().await? {
                return Ok(false);
            }
            // A file at fault is left out, and the other files of its manifest are pending again. Each round
            // removes at least one file.
            self.left = self.recut(builder, input).await?;
        }
        Ok(true)
    }

    /// Makes manifests of the files that are pending after all runs have ended. If a failed file is gone, all other missing
    /// files are found now, since otherwise each would cost its manifest another round. After a crash the next listing
    /// finds them.
    async fn recut(&mut self, builder: &Builder, input: &Location) -> anyhow::Result<Left> {
        for file in &std::mem::take(&mut self.heard.at_fault) {
            if builder.is_gone(file).await {
                tell_gone(&builder.mark_all_gone(input).await?);
                break;
            }
        }
        let made = builder.cut_all(Flush::Now).await?;
        for queued in &made {
            self.scheduler.queued(&queued.manifest.id, false);
        }
        if made.is_empty() { Ok(Left::default()) } else { Left::in_store(self.scheduler.store()).await }
    }

    /// Runs all runs to their end. Returns false if the user interrupted.
    async fn round(&mut self) -> anyhow::Result<bool> {
        let bar = progress_bar(self.left.bytes);
        let is_over = self.wait(&bar).await?;
        self.take_rest(is_over, &bar).await?;
        if self.left.runs > 0 && !is_over {
            bar.abandon();
            eprintln!("millwork: interrupted: what was finished is published, the rest goes on next time");
            // Commits that take longer continue in the next run.
            let _ = tokio::time::timeout(LAST_COMMITS, self.scheduler.shut_down()).await;
            return Ok(false);
        }
        bar.finish_and_clear();
        Ok(true)
    }

    /// Waits until no run is left or the user interrupts. Returns true if the store has no open run and the scheduler is
    /// idle: ends may be unheard then.
    async fn wait(&mut self, bar: &ProgressBar) -> anyhow::Result<bool> {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut look = tokio::time::interval(LOOK);
        let mut changes = self.scheduler.changes();
        let (before, all) = (self.host.read_bytes(), self.left.bytes);
        let mut is_over = false;
        while self.left.runs > 0 && !is_over {
            tokio::select! {
                biased;
                run = self.ended.recv() => match run {
                    Ok(run) => self.add(run, bar),
                    // Missed runs are read from the store.
                    Err(RecvError::Lagged(_)) => self.heard.is_behind = true,
                    Err(RecvError::Closed) => anyhow::bail!("the scheduler has ended by itself: run it again to go on"),
                },
                // Reported before the retry, so that the user can fix the cause meanwhile.
                Ok(Change { manifest_id, state: RunState::Queued, attempt, failure: Some(failure), .. }) = changes.recv() => {
                    let class = failure.class;
                    bar.suspend(|| eprintln!("millwork: manifest {manifest_id}: attempt {attempt} failed ({class}), and is made again soon: {failure}"));
                }
                _ = self.signals.next() => break,
                () = self.scheduler.deposed().cancelled() => anyhow::bail!("another process runs the manifests of this state now"),
                () = self.scheduler.stopped().cancelled() => anyhow::bail!("the scheduler stopped for the reason above: run it again, and it continues"),
                _ = tick.tick() => {
                    bar.set_position((self.host.read_bytes() - before).min(all));
                    bar.set_message(format!("{} to go", count(self.left.runs, "manifest")));
                }
                // A run may end without a notification, for example if another process cancels it.
                _ = look.tick() => match Left::in_store(self.scheduler.store()).await {
                    Ok(in_store) => is_over = in_store.runs == 0 && self.scheduler.is_idle(),
                    Err(error) => tracing::debug!(%error, "cannot ask what is left"),
                },
            }
        }
        Ok(is_over)
    }

    /// Takes ends of runs that were sent by now, and those of which nothing was sent.
    async fn take_rest(&mut self, is_over: bool, bar: &ProgressBar) -> anyhow::Result<()> {
        loop {
            match self.ended.try_recv() {
                Ok(run) => self.add(run, bar),
                Err(TryRecvError::Lagged(_)) => self.heard.is_behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        // Runs that another process has ended are not announced either.
        if std::mem::take(&mut self.heard.is_behind) || is_over && self.left.runs > 0 {
            for run in unheard(&**self.scheduler.store(), self.heard.since, &self.heard.told).await? {
                self.add(run, bar);
            }
        }
        Ok(())
    }

    /// Adds the end of a run to the report. A run whose publication is delayed is reported as failed, and again when it
    /// completes.
    fn add(&mut self, run: EndedRun, bar: &ProgressBar) {
        if self.heard.told.insert(run.manifest_id.clone()) {
            self.left.runs = self.left.runs.saturating_sub(1);
        } else {
            self.report.forget(run.manifest_id.as_str());
        }
        if let Err(failure) = &run.outcome {
            self.heard.at_fault.extend(failure.files().filter_map(|file| file.parse().ok()));
            bar.suspend(|| {
                eprintln!("millwork: manifest {} failed ({}): {failure}", run.manifest_id, failure.class);
                tell_some(failure.others.iter().map(|fault| format!("of the same manifest: {}", fault.message)));
            });
        }
        self.report.add(run.manifest_id.as_str(), &run.outcome);
    }
}

fn progress_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{bar:32} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
