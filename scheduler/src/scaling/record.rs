//! Record of the executors' work and busy time in the store's daily numbers, so that it outlives the process, and every
//! scheduler of the state can read it. A crash loses the last seconds, which is negligible.

use crate::changes::EndedRun;
use crate::shell::Scheduler;
use chrono::Utc;
use millwork_tracking::NumberStore;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Names of the daily numbers: stored input of completed runs in bytes, and busy time of slots and of executors in
/// milliseconds.
pub(super) const BYTES: &str = "converted_bytes";
pub(super) const SLOT_MILLIS: &str = "busy_slot_milliseconds";
pub(super) const EXECUTOR_MILLIS: &str = "busy_executor_milliseconds";

/// Sums that are not yet written.
#[derive(Default)]
pub(super) struct Recorder(Mutex<Unwritten>);

#[derive(Clone, Copy, Default)]
struct Unwritten {
    bytes: u64,
    slots: Duration,
    executors: Duration,
}

impl Recorder {
    /// Adds the input of runs that complete from now on.
    pub(super) async fn listen(self: Arc<Self>, mut ended: Receiver<EndedRun>) {
        loop {
            match ended.recv().await {
                Ok(EndedRun { outcome: Ok(result), .. }) => {
                    self.with(|unwritten| unwritten.bytes += result.input_bytes)
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Unwritten) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes the sums. On failure they are kept for the next time.
    pub(super) async fn record(&self, scheduler: &Scheduler, store: &dyn NumberStore) {
        let (slots, executors) = scheduler.engine().take_busy();
        let unwritten = self.with(|unwritten| {
            unwritten.slots += slots;
            unwritten.executors += executors;
            std::mem::take(unwritten)
        });
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let counts = [
            (BYTES, unwritten.bytes),
            (SLOT_MILLIS, millis(unwritten.slots)),
            (EXECUTOR_MILLIS, millis(unwritten.executors)),
        ];
        let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        if counts.is_empty() {
            return;
        }
        if let Err(error) = store.count(&counts, Utc::now()).await {
            tracing::warn!(%error, "cannot note what executors did; trying again");
            self.with(|again| {
                again.bytes += unwritten.bytes;
                again.slots += unwritten.slots;
                again.executors += unwritten.executors;
            });
        }
    }
}
