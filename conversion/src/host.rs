//! Executor as its tasks see it.

use crate::turns::Turns;
use datafusion::execution::TaskContext;
use std::sync::Arc;

/// Executor that hosts tasks. Whoever runs tasks makes one, and hands it to each as an extension of its session.
#[derive(Debug)]
pub struct TaskHost {
    name: String,
    threads: usize,
    turns: Arc<Turns>,
}

impl TaskHost {
    /// An executor of this name, in logs and in the records of output files. Its tasks share the turns of so many threads, at least one:
    /// a lane has a row group in memory.
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

    /// Name in logs and in the records of output files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of its threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The turns of its threads.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }
}

/// This process, for a task that nobody hosts, as in tests: it shares its turns with no other.
impl Default for TaskHost {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(format!("pid-{}", std::process::id()), threads)
    }
}
