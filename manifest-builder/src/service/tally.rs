//! Counts of the service: for Prometheus, and per day in the store.

use crate::builder::Arrived;
use crate::sweep::Swept;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use millwork_manifest::QuarantineReason;
use millwork_tracking::NumberStore;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Describes each metric. Counters start at 0 and are not absent, so that rates can be queried.
pub(crate) fn describe() {
    describe_counter!("millwork_messages_total", "Messages handled, by outcome: done, bad, or retry, which come again");
    describe_counter!("millwork_files_total", "Files seen, by outcome; those quarantined by reason, too");
    describe_counter!("millwork_manifests_total", "Manifests made");
    describe_gauge!("millwork_pending_files", "Files that wait for a manifest, at the last sweep");
    describe_gauge!("millwork_pending_bytes", "Their bytes");
    describe_gauge!(
        "millwork_oldest_pending_file_seconds",
        "How long ago the oldest of them arrived, at the last sweep; 0 if none waits"
    );
    describe_gauge!("millwork_queue_messages", "Messages that wait in a queue or are being handled, by queue");
    describe_gauge!(
        "millwork_dead_letters",
        "Messages that could never be processed, in the dead-letter queue of this queue"
    );
    describe_gauge!(
        "millwork_receive_last_success_timestamp_seconds",
        "When the queue answered last, or the place was looked at; 0 before"
    );
    describe_gauge!(
        "millwork_sweep_last_success_timestamp_seconds",
        "When a sweep of this process was completed last; 0 before"
    );
    millwork_tracking::describe_metrics();
    millwork_storage::describe_metrics();
    for name in ["millwork_receive_last_success_timestamp_seconds", "millwork_sweep_last_success_timestamp_seconds"] {
        gauge!(name).set(0.0);
    }
    for outcome in ["done", "bad", "retry"] {
        counter!("millwork_messages_total", "outcome" => outcome).increment(0);
    }
    for (outcome, _) in outcomes(&Arrived::default()) {
        counter!("millwork_files_total", "outcome" => outcome).increment(0);
    }
    for reason in QuarantineReason::ALL {
        counter!("millwork_files_total", "outcome" => "quarantined", "reason" => reason.as_str()).increment(0);
    }
    counter!("millwork_manifests_total").increment(0);
}

fn outcomes(arrived: &Arrived) -> [(&'static str, u64); 8] {
    [
        ("pending", arrived.pending),
        ("known", arrived.known),
        ("overwritten", arrived.overwritten),
        ("removed", arrived.removed),
        ("ignored", arrived.ignored),
        ("foreign", arrived.foreign),
        ("unmoved", arrived.unmoved),
        ("unfinished", arrived.unfinished),
    ]
}

/// Counts that are not yet written to the store.
#[derive(Clone)]
pub(crate) struct Tally {
    store: Arc<dyn NumberStore>,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Tally {
    pub(crate) fn new(store: Arc<dyn NumberStore>) -> Self {
        Self { store, counts: Arc::default() }
    }

    fn add(&self, name: &str, n: u64) {
        if n > 0 {
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += n;
        }
    }

    pub(crate) fn arrived(&self, arrived: &Arrived) {
        for (outcome, n) in outcomes(arrived) {
            counter!("millwork_files_total", "outcome" => outcome).increment(n);
            match outcome {
                "pending" => self.add("file_uploaded", n),
                other => self.add(&format!("files_{other}"), n),
            }
        }
        for (reason, n) in &arrived.quarantined {
            counter!("millwork_files_total", "outcome" => "quarantined", "reason" => reason.as_str()).increment(*n);
            self.add(&format!("files_quarantined:{reason}"), *n);
        }
    }

    pub(crate) fn made(&self, manifests: u64) {
        counter!("millwork_manifests_total").increment(manifests);
        self.add("manifest_created", manifests);
    }

    pub(crate) fn swept(&self, swept: &Swept) {
        self.made((swept.made.len() + swept.finished.len()) as u64);
        gauge!("millwork_pending_files").set(swept.pending_files as f64);
        gauge!("millwork_pending_bytes").set(swept.pending_bytes as f64);
        let now = chrono::Utc::now();
        let age = swept.oldest_pending.map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0));
        gauge!("millwork_oldest_pending_file_seconds").set(age);
        gauge!("millwork_sweep_last_success_timestamp_seconds").set(now.timestamp() as f64);
        if !swept.finished.is_empty() || swept.dropped > 0 {
            tracing::info!(finished = ?swept.finished, dropped = swept.dropped, "a sweep finished what a crash had left");
        }
    }

    /// Writes the counts; on failure they are kept for the next time.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_zero_and_described() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, describe);
        let text = recorder.handle().render();
        for series in [
            "millwork_messages_total{outcome=\"retry\"} 0",
            "millwork_files_total{outcome=\"pending\"} 0",
            "millwork_files_total{outcome=\"quarantined\",reason=\"too-small\"} 0",
            "# HELP millwork_manifests_total",
        ] {
            assert!(text.contains(series), "{series} is not in {text}");
        }
    }
}
