//! Heartbeats in the store, which show that a builder is running, and its settings.

use crate::builder::Builder;
use chrono::{DateTime, Utc};
use millwork_tracking::{BuilderAbout, BuilderNote};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval of heartbeats, in seconds: 30. A builder counts as gone after four missing ones.
const INTERVAL: Duration = Duration::from_secs(30);

/// Facts that a builder publishes about itself in the store.
#[derive(Clone)]
pub struct Signs {
    builder: Builder,
    about: BuilderAbout,
}

impl Signs {
    /// Facts of a builder running as `serve`, `watch` or `lambda`, or within `up`.
    pub fn new(builder: &Builder, mode: &str) -> Self {
        let settings = &builder.settings;
        let about = BuilderAbout {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: mode.to_owned(),
            started_at: Some(builder.now()),
            ..BuilderAbout::judging(&settings.rules, &settings.caps)
        };
        Self { builder: builder.clone(), about }
    }

    /// Adds the interval of the builder's sweeps.
    pub fn sweeping(mut self, interval: Duration) -> Self {
        self.about.sweep_interval_seconds = Some(interval.as_secs());
        self
    }

    /// Adds the interval at which the builder looks for rounds requested by operators.
    pub fn taking_wishes(mut self, interval: Duration) -> Self {
        self.about.wish_interval_seconds = Some(interval.as_secs());
        self
    }

    /// Adds the queues that the builder reads from and sends to.
    pub(crate) fn reading(mut self, queue_url: &str, dead_letter_queue_url: Option<&str>) -> Self {
        self.about.queue_url = Some(queue_url.to_owned());
        self.about.dead_letter_queue_url = dead_letter_queue_url.map(str::to_owned);
        self
    }

    /// Writes one heartbeat. A failure is logged, and does not stop the builder.
    pub(crate) async fn give(&self, now: DateTime<Utc>) {
        let note = match serde_json::to_string(&self.about) {
            Ok(note) => note,
            Err(error) => {
                return tracing::warn!(%error, "the heartbeat cannot be encoded; this builder will count as gone");
            }
        };
        let sign = BuilderNote { id: self.builder.holder.clone(), seen_at: now, note };
        if let Err(error) = self.builder.store.inspection().note_builder(&sign).await {
            tracing::warn!(%error, "cannot note in the state that this builder is alive; trying again");
        }
    }

    /// Writes heartbeats until `done`.
    pub async fn give_often(self, done: CancellationToken) {
        loop {
            self.give(self.builder.now()).await;
            tokio::select! {
                () = done.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}
