//! An executor of the fleet, and what is told of it while it is connected and after.

use chrono::{DateTime, Utc};
use millwork_cluster::messages::ToExecutor;
use tokio::sync::mpsc;

/// Identity of a connected executor.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ExecutorInfo {
    /// Id of the executor's session with this scheduler.
    pub id: String,
    /// Address from which it connected.
    pub host: String,
    /// Number of tasks that it runs concurrently.
    pub vcores: u32,
    /// Version of its program.
    pub version: String,
    /// Name of its machine; empty if unknown.
    pub machine: String,
    /// Time at which it connected.
    pub since: DateTime<Utc>,
    /// Memory limit of its process, in bytes, if known.
    pub memory_limit_bytes: Option<u64>,
}

/// Current state of a connected executor.
#[derive(Clone, Debug)]
pub struct ExecutorNow {
    /// Identity of the executor: its id, address, slots and version.
    pub info: ExecutorInfo,
    /// Time of its last message.
    pub last_seen: DateTime<Utc>,
    /// Memory of its process at that time, in bytes, if known.
    pub memory_bytes: Option<u64>,
    /// Time since which it accepts no more tasks, if it was told to stop.
    pub draining_since: Option<DateTime<Utc>>,
    /// Engine job of each of its tasks.
    pub jobs: Vec<String>,
    /// Recent reading speed of its tasks, in bytes of input per second.
    pub bytes_per_second: f64,
    /// Number of tasks that succeeded.
    pub finished: u64,
    /// Number of tasks that failed.
    pub failed: u64,
}

/// An executor that has disconnected.
#[derive(Clone, Debug)]
pub struct GoneExecutor {
    /// Identity of the executor that has left: its id, address, slots and version.
    pub info: ExecutorInfo,
    /// Time at which it disconnected.
    pub left_at: DateTime<Utc>,
    /// Reason for the disconnect.
    pub reason: String,
    /// Number of tasks that it had then, which other executors have to repeat.
    pub lost_tasks: u64,
}

/// A connected executor.
pub(super) struct Member {
    pub(super) info: ExecutorInfo,
    pub(super) outbound: mpsc::Sender<ToExecutor>,
    pub(super) draining_since: Option<DateTime<Utc>>,
    pub(super) last_seen: DateTime<Utc>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) finished: u64,
    pub(super) failed: u64,
}

impl Member {
    pub(super) fn now(&self) -> ExecutorNow {
        ExecutorNow {
            info: self.info.clone(),
            last_seen: self.last_seen,
            memory_bytes: self.memory_bytes,
            draining_since: self.draining_since,
            jobs: Vec::new(),
            bytes_per_second: 0.0,
            finished: self.finished,
            failed: self.failed,
        }
    }
}
