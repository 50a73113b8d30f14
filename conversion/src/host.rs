//! The executor, as its tasks see it.

use crate::turns::Turns;
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
    /// An executor of this name, in logs and in the records of output files. Its tasks share the turns of so many threads, at least one:
    /// a lane has a row group in memory. They read and write through this storage.
    pub fn new(name: String, threads: usize, storage: Storage) -> Arc<Self> {
        Arc::new(Self::with(name, threads, storage))
    }

    fn with(name: String, threads: usize, storage: Storage) -> Self {
        let threads = threads.max(1);
        let (reject_rooms, read_bytes) = (RejectRooms::default(), Arc::default());
        Self { name, threads, turns: Turns::new(threads), storage, reject_rooms, read_bytes }
    }

    /// The host of a task.
    pub(crate) fn of(context: &TaskContext) -> Arc<Self> {
        context.session_config().get_extension::<Self>().unwrap_or_default()
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

/// Host of a task that was handed none, as in tests: named for this process, with turns and storage that no other task shares.
impl Default for TaskHost {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(format!("pid-{}", std::process::id()), threads, Storage::from_env())
    }
}
