//! What people and other programs ask of a scheduler, whether it runs the manifests or stands by: all of it goes by way of
//! the store, and is told to the scheduler that runs, if that is this one.

use crate::shell::Scheduler;
use chrono::Utc;
use millwork_manifest::{Manifest, ManifestId};
use millwork_tracking::{QueuedManifest, Run, RunState, TrackingError, TrackingResult, TrackingStore};
use std::sync::{Arc, OnceLock};

/// A scheduler process, as those see it who use it.
#[derive(Clone)]
pub struct Service {
    store: Arc<dyn TrackingStore>,
    leader: Arc<OnceLock<Scheduler>>,
}

impl Service {
    /// A process that stands by.
    pub fn new(store: Arc<dyn TrackingStore>) -> Self {
        Self { store, leader: Arc::default() }
    }

    /// From now on this process runs the manifests.
    pub fn lead(&self, scheduler: Scheduler) {
        // It happens once in the life of a process.
        let _ = self.leader.set(scheduler);
    }

    /// The scheduler, if this process runs the manifests.
    pub fn leader(&self) -> Option<&Scheduler> {
        self.leader.get()
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn TrackingStore> {
        &self.store
    }

    /// Asks the store something that costs little, to see whether it answers.
    pub(crate) async fn ping(&self) -> TrackingResult<()> {
        match "ping".parse() {
            Ok(id) => self.store.run_head(&id).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    /// Queues a manifest. One that is known is not run again: its run is returned as it is, with the higher priority of
    /// the two while it waits.
    pub async fn submit(&self, manifest: Manifest, uri: &str, priority: i32) -> TrackingResult<Run> {
        let id = manifest.id.clone();
        let queued = QueuedManifest { manifest, uri: uri.to_owned() };
        let is_new = self.store.submit(&queued, priority, Utc::now()).await?;
        let mut run = self.known(&id).await?;
        if !is_new && run.state == RunState::Queued && run.priority < priority {
            self.store.prioritise(&id, priority, Utc::now()).await?;
            run = self.known(&id).await?;
        }
        self.queued(&run, run.priority > 0);
        Ok(run)
    }

    /// Queues a run that failed or was cancelled once more.
    pub async fn retry(&self, id: &ManifestId) -> TrackingResult<Run> {
        self.store.requeue(id, Utc::now()).await?;
        self.queue_again(id).await
    }

    /// Queues a completed run once more, for an output that takes the place of the one it has.
    pub async fn force(&self, id: &ManifestId) -> TrackingResult<Run> {
        self.store.force(id, Utc::now()).await?;
        self.queue_again(id).await
    }

    /// Changes the place of a queued run in the queue; others stay as they are.
    pub async fn prioritise(&self, id: &ManifestId, priority: i32) -> TrackingResult<Run> {
        self.store.prioritise(id, priority, Utc::now()).await?;
        let run = self.known(id).await?;
        self.queued(&run, true);
        Ok(run)
    }

    /// Ends a run, at once if it waits, else as soon as its attempt has stopped.
    pub async fn cancel(&self, id: &ManifestId) -> TrackingResult<Run> {
        self.store.cancel(id, Utc::now()).await?;
        if let Some(scheduler) = self.leader() {
            scheduler.cancel(id);
        }
        self.known(id).await
    }

    async fn queue_again(&self, id: &ManifestId) -> TrackingResult<Run> {
        let run = self.known(id).await?;
        self.queued(&run, run.priority > 0);
        Ok(run)
    }

    /// Tells the scheduler of a queued run; whether the order of the queue may be another now.
    fn queued(&self, run: &Run, is_urgent: bool) {
        if let (Some(scheduler), RunState::Queued) = (self.leader(), run.state) {
            scheduler.queued(&run.manifest_id, is_urgent);
        }
    }

    async fn known(&self, id: &ManifestId) -> TrackingResult<Run> {
        let run = self.store.run_head(id).await?;
        run.ok_or_else(|| TrackingError::Corrupt { what: "no run of manifest", value: id.to_string() })
    }
}
