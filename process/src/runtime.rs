//! The runtime of a process.

use crate::traces;
use std::future::Future;

/// Runs the work of a process to its end. Threads that are still at something then are left: what was worth waiting for has been.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    report_large_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    traces::end();
    runtime.shutdown_background();
    done
}

/// Makes a write beyond the limit of a file's size (`ulimit -f`) fail. By default it ends the process.
pub fn report_large_files() {
    // SAFETY: no handler is installed; from here on the signal is ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
