//! Arrivals in the directory, on their way into manifests.

use millwork_manifest::{Flush, printable};
use millwork_manifest_builder::{Backfilled, Builder, BuilderError, WISH_INTERVAL};
use millwork_scheduler::Scheduler;
use millwork_storage::Location;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Pause between two looks at the directory.
const PAUSE: Duration = Duration::from_millis(700);
/// Pause in whole seconds, as people are told of it.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Looks that bring something new, after which a manifest is cut even though more is arriving: a manifest does not wait for the end of
/// a long copy.
const PATIENCE: u32 = 10;
/// Time that this makes: the looks, and their pauses.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(PATIENCE as u64);

/// Looks, tracks, cuts, again and again.
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

    /// Works until it is dropped. Whatever step that ends at, the next start goes on from the store.
    pub(super) async fn work(mut self) {
        // Files that an earlier process left wait as if they had just come.
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

    /// Tracks what is new. How many files that were.
    async fn look(&mut self) -> Result<u64, BuilderError> {
        let found = self.builder.backfill(&self.place).await?;
        self.tell(&found);
        Ok(found.pending)
    }

    /// Tells whether files wait that no look has brought: those of a run that failed over another file, and those that somebody has
    /// taken back.
    async fn has_waiting(&self) -> bool {
        self.scheduler.store().backlogs().await.is_ok_and(|backlogs| !backlogs.is_empty())
    }

    /// Makes manifests of all that waits, whatever date it is of. Zero if that went well: nothing waits any more.
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

    /// Takes wishes of operators. Their files, too, are cut by themselves as a rule: this answers those who asked.
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
