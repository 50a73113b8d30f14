//! Background task that makes the manifests of due dates, so that messages do not wait for it.

use super::tally::Tally;
use crate::builder::Builder;
use crate::cut::Cut;
use millwork_manifest::{DatePrefix, Flush};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Pause between two attempts to get a lock, and limit of the random addition in milliseconds, so that processes do not
/// retry in step.
const TRY_AGAIN: Duration = Duration::from_millis(100);
const JITTER_MILLIS: u32 = 200;

/// Set of due dates, and the task that works on it.
#[derive(Clone)]
pub(crate) struct Maker {
    builder: Builder,
    tally: Tally,
    max_lock_wait: Duration,
    due: Arc<Mutex<BTreeSet<DatePrefix>>>,
    woken: Arc<Notify>,
}

impl Maker {
    pub(crate) fn new(builder: Builder, tally: Tally, max_lock_wait: Duration) -> Self {
        Self { builder, tally, max_lock_wait, due: Arc::default(), woken: Arc::default() }
    }

    /// Requests manifests for these dates.
    pub(crate) fn ask(&self, dates: &[DatePrefix]) {
        if !dates.is_empty() {
            self.due.lock().unwrap_or_else(PoisonError::into_inner).extend(dates);
            self.woken.notify_one();
        }
    }

    fn next(&self) -> Option<DatePrefix> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// Makes manifests until `done` is cancelled and no request is left.
    pub(crate) async fn work(self, done: CancellationToken) {
        loop {
            while let Some(date) = self.next() {
                self.make(date).await;
            }
            tokio::select! {
                () = self.woken.notified() => {}
                () = done.cancelled() => {
                    while let Some(date) = self.next() {
                        self.make(date).await;
                    }
                    return;
                }
            }
        }
    }

    /// Makes the manifests of one date, waiting for its lock for a limited time. If it stays locked, its holder makes
    /// them, or has died, and the sweep makes them later.
    pub(crate) async fn make(&self, date: DatePrefix) {
        let started = Instant::now();
        loop {
            match self.builder.cut(date, Flush::WhenAged(self.builder.now())).await {
                Ok(Cut::Made(manifests)) => {
                    return self.tally.made(manifests.len() as u64);
                }
                Ok(Cut::Busy) if started.elapsed() < self.max_lock_wait => {
                    let jitter = chrono::Utc::now().timestamp_subsec_micros() % JITTER_MILLIS;
                    tokio::time::sleep(TRY_AGAIN + Duration::from_millis(jitter.into())).await;
                }
                Ok(Cut::Busy) => return,
                Err(error) => {
                    return tracing::error!(%date, %error, "cannot make manifests; the sweep goes on with it");
                }
            }
        }
    }
}
