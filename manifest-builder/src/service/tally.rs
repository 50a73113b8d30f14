//! What the service counts: for Prometheus, and per day in the store.

use crate::builder::Arrived;
use crate::sweep::Swept;
use metrics::{counter, gauge};
use millwork_tracking::TrackingStore;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Numbers on their way to the store.
#[derive(Clone)]
pub(crate) struct Tally {
    store: Arc<dyn TrackingStore>,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Tally {
    pub(crate) fn new(store: Arc<dyn TrackingStore>) -> Self {
        Self { store, counts: Arc::default() }
    }

    fn add(&self, name: &str, n: u64) {
        if n > 0 {
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += n;
        }
    }

    pub(crate) fn arrived(&self, arrived: &Arrived) {
        let outcomes = [
            ("pending", arrived.pending),
            ("known", arrived.known),
            ("overwritten", arrived.overwritten),
            ("removed", arrived.removed),
            ("ignored", arrived.ignored),
        ];
        for (outcome, n) in outcomes {
            counter!("millwork_files_total", "outcome" => outcome).increment(n);
            self.add(&format!("files_{outcome}"), n);
        }
        for (reason, n) in &arrived.quarantined {
            counter!("millwork_files_total", "outcome" => "quarantined", "reason" => reason.as_str()).increment(*n);
            self.add(&format!("files_quarantined:{reason}"), *n);
        }
    }

    pub(crate) fn made(&self, manifests: u64) {
        counter!("millwork_manifests_total").increment(manifests);
        self.add("manifests_made", manifests);
    }

    pub(crate) fn swept(&self, swept: &Swept) {
        self.made((swept.made.len() + swept.finished.len()) as u64);
        gauge!("millwork_pending_files").set(swept.pending_files as f64);
        gauge!("millwork_pending_bytes").set(swept.pending_bytes as f64);
        if !swept.finished.is_empty() || swept.dropped > 0 {
            tracing::info!(finished = ?swept.finished, dropped = swept.dropped, "a sweep finished what a crash had left");
        }
    }

    /// Writes the numbers; those that cannot be written wait for the next time.
    pub(crate) async fn flush(&self) {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if counts.is_empty() {
            return;
        }
        let pairs: Vec<(&str, u64)> = counts.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        if let Err(error) = self.store.count(&pairs, chrono::Utc::now()).await {
            tracing::warn!(%error, "cannot write the day's numbers");
            for (name, n) in counts {
                self.add(&name, n);
            }
        }
    }

    pub(crate) async fn flush_often(self, interval: Duration, done: CancellationToken) {
        loop {
            tokio::select! {
                () = done.cancelled() => return,
                () = tokio::time::sleep(interval) => self.flush().await,
            }
        }
    }
}
