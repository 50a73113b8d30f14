//! The executor, as its tasks see it.

use crate::turns::Turns;
use datafusion::execution::TaskContext;
use std::sync::Arc;

/// Executor that hosts tasks for one session with a scheduler. The code that runs tasks creates one, and passes it to
/// each task as an extension of its DataFusion session.
#[derive(Debug)]
pub struct TaskHost {
    name: String,
    threads: usize,
    turns: Arc<Turns>,
}

impl TaskHost {
    /// Creates the host for an executor of this name, which appears in logs and in the records of output files. Its
    /// tasks share `threads` turns, at least one: each lane holds a row group in memory.
    pub fn new(name: String, threads: usize) -> Arc<Self> {
        Arc::new(Self::with(name, threads))
    }

    fn with(name: String, threads: usize) -> Self {
        let threads = threads.max(1);
        Self { name, threads, turns: Turns::new(threads) }
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

    /// Number of threads of the executor.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Turns that the tasks share.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }
}

/// Host of a task that was given none, as in tests: named after this process, with turns that no other task shares.
impl Default for TaskHost {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(format!("pid-{}", std::process::id()), threads)
    }
}
