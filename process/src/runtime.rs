//! Tokio runtime of a process.

use crate::traces;
use std::future::Future;

/// Runs the work of a process to its end. Threads that are still running then are abandoned, since everything important
/// was awaited.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    report_large_files();
    report_missing_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    traces::end();
    runtime.shutdown_background();
    done
}

/// Makes a thread that cannot be created end the process, with what to do. Libraries panic then, on whatever thread, and the process could
/// neither go on nor end by itself. A process may end at any time.
pub fn report_missing_threads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Texts of tokio and of the standard library.
        let known = ["OS can't spawn worker thread", "failed to spawn thread"];
        if panic.payload_as_str().is_some_and(|text| known.iter().any(|known| text.contains(known))) {
            eprintln!(
                "cannot create a thread: this user, container or service may have no more; raise the limit (`ulimit -u`, the limit of pids of \
                 the container, TasksMax of systemd), or use fewer cores"
            );
            std::process::exit(1);
        }
        usual(panic);
    }));
}

/// Makes a write beyond the file size limit (`ulimit -f`) return an error. By default it kills the process.
pub fn report_large_files() {
    // SAFETY: no handler is installed; the signal is ignored from here on.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
