//! The executor, as its tasks see it.

use crate::turns::Turns;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use millwork_ndjson::{RejectRooms, TaskCounters};
use millwork_storage::Storage;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Executor that hosts tasks for one session with a scheduler. The code that runs tasks creates one, and passes it to
/// each task as an extension of its DataFusion session.
#[derive(Debug)]
pub struct TaskHost {
    name: String,
    threads: usize,
    turns: Arc<Turns>,
    storage: Storage,
    reject_rooms: RejectRooms,
    read_bytes: Arc<AtomicU64>,
}

impl TaskHost {
    /// An executor of this name, in logs and in the records of output files. Its tasks share the turns of `threads` threads, at least one,
    /// since a lane has a row group in memory, and read and write through `storage`.
    pub fn new(name: String, threads: usize, storage: Storage) -> Arc<Self> {
        let threads = threads.max(1);
        let (reject_rooms, read_bytes) = (RejectRooms::default(), Arc::default());
        Arc::new(Self { name, threads, turns: Turns::new(threads), storage, reject_rooms, read_bytes })
    }

    /// The host of a task, which its session must have as an extension: turns and storage of its own would undo their limits.
    pub(crate) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        let missing =
            || DataFusionError::Internal("the session of a task has no `TaskHost` as an extension".to_owned());
        context.session_config().get_extension::<Self>().ok_or_else(missing)
    }

    /// Wakes the lanes that wait for a turn, and grants no further turns. Must be called before the threads of the
    /// tasks are told to end.
    pub fn close(&self) {
        self.turns.close();
    }

    /// Name in logs and in the records of output files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Storage through which its tasks read and write.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Remaining bytes for rejected lines, of each plan whose tasks run here.
    pub(crate) fn reject_rooms(&self) -> &RejectRooms {
        &self.reject_rooms
    }

    /// Counters of a new task.
    pub fn counters(&self) -> Arc<TaskCounters> {
        Arc::new(TaskCounters::adding_to(self.read_bytes.clone()))
    }

    /// Stored bytes of input that its tasks have read, for progress display.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Number of threads of the executor.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Turns that the tasks share.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use datafusion::prelude::SessionConfig;

    /// Context of tasks of a host with one thread.
    pub(crate) fn hosted() -> Arc<TaskContext> {
        let host = TaskHost::new("test".to_owned(), 1, Storage::from_env());
        Arc::new(TaskContext::default().with_session_config(SessionConfig::new().with_extension(host)))
    }

    #[test]
    fn a_session_without_a_host_is_refused() {
        assert!(TaskHost::of(&TaskContext::default()).unwrap_err().to_string().contains("no `TaskHost`"));
        assert_eq!(TaskHost::of(&hosted()).unwrap().name(), "test");
    }
}
