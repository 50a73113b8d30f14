//! Tokio runtime of a process.

use crate::traces;
use std::future::Future;

/// Runs the work of a process to its end. Threads that are still running then are abandoned, since everything important
/// was awaited.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    report_large_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    traces::end();
    runtime.shutdown_background();
    done
}

/// Makes a write beyond the file size limit (`ulimit -f`) return an error. By default it kills the process.
pub fn report_large_files() {
    // SAFETY: no handler is installed; the signal is ignored from here on.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
