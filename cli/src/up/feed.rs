//! Loop that turns files arriving in the directory into manifests.

use millwork_manifest::{Flush, printable};
use millwork_manifest_builder::{Backfilled, Builder, BuilderError, WISH_INTERVAL};
use millwork_scheduler::Scheduler;
use millwork_storage::Location;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Pause between two listings of the directory.
const PAUSE: Duration = Duration::from_millis(700);
/// Pause between two listings in whole seconds, as pages and commands show it.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Number of consecutive listings with new files after which a manifest is cut even though more files are
/// arriving, so that a manifest need not wait for the end of a long copy.
const PATIENCE: u32 = 10;
/// Longest waiting time that results: listings and their pauses.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(PATIENCE as u64);

/// Lists the directory, tracks files and cuts manifests, in a loop.
pub(super) struct Feed {
    builder: Builder,
    place: Location,
    scheduler: Scheduler,
    told: HashSet<String>,
}

impl Feed {
    pub(super) fn new(builder: Builder, place: Location, scheduler: Scheduler) -> Self {
        Self { builder, place, scheduler, told: HashSet::new() }
    }

    /// Runs until dropped. Can be interrupted at any step; the next start continues from the store.
    pub(super) async fn work(mut self) {
        // Files left by an earlier process wait as if they had just arrived.
        let mut looks = 1;
        let mut looked_for_wishes = Instant::now();
        loop {
            if looked_for_wishes.elapsed() >= WISH_INTERVAL {
                self.take_wishes().await;
                looked_for_wishes = Instant::now();
            }
            match self.look().await {
                Ok(0) if looks == 0 && !self.has_waiting().await => {}
                Ok(0) => looks = self.cut().await,
                Ok(_) if looks >= PATIENCE => looks = self.cut().await,
                Ok(_) => looks += 1,
                Err(error) => eprintln!("millwork: a look at the input failed, the next one goes on: {error}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tracks new files. Returns their number.
    async fn look(&mut self) -> Result<u64, BuilderError> {
        let found = self.builder.backfill(&self.place).await?;
        self.tell(&found);
        Ok(found.pending)
    }

    /// Tells whether files are pending that no listing found: those released by a run that failed over another file,
    /// and those taken back by an operator.
    async fn has_waiting(&self) -> bool {
        self.scheduler.store().backlogs().await.is_ok_and(|backlogs| !backlogs.is_empty())
    }

    /// Makes manifests of all pending files, of any date. Returns 0, the new count of listings, if that succeeded.
    async fn cut(&self) -> u32 {
        let cut = async {
            self.builder.sweep_all().await?;
            self.builder.cut_all(Flush::Now).await
        };
        match cut.await {
            Ok(cut) => {
                for queued in &cut {
                    self.scheduler.queued(&queued.manifest.id, false);
                }
                0
            }
            Err(error) => {
                eprintln!("millwork: no manifest could be made, trying again: {error}");
                1
            }
        }
    }

    /// Makes rounds that operators requested. Their files are usually cut anyway; this answers the requests.
    async fn take_wishes(&self) {
        match self.builder.take_wishes().await {
            Ok(taken) => taken.made.iter().for_each(|queued| self.scheduler.queued(&queued.manifest.id, false)),
            Err(error) => eprintln!("millwork: a wish waits for the next look: {error}"),
        }
    }

    fn tell(&mut self, found: &Backfilled) {
        let now = chrono::Utc::now().format("%H:%M:%S");
        if found.pending > 0 {
            eprintln!("{now}  found {}", crate::report::count(found.pending, "file"));
        }
        for file in &found.quarantined {
            if self.told.insert(file.uri.to_string()) {
                eprintln!("{now}  refused {}: {}: {}", printable(file.uri.as_str()), file.reason, file.detail);
            }
        }
        for file in &found.unmoved {
            if self.told.insert(format!("unmoved {}", file.uri)) {
                eprintln!("{now}  cannot move {}: {}", printable(file.uri.as_str()), printable(&file.detail));
            }
        }
        if found.unfinished > 0 && self.told.insert("unfinished".to_owned()) {
            let files = crate::report::count(found.unfinished, "file");
            eprintln!(
                "{now}  left alone {files} with names of what is not whole yet, such as .part; see --unfinished-hours"
            );
        }
        for file in &found.foreign {
            if self.told.insert(file.uri.clone()) {
                eprintln!("{now}  left alone {}: {}", printable(&file.uri), printable(&file.detail));
            }
        }
    }
}
