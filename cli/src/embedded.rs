//! Scheduler and executor within this process, without a port.

use crate::failure::Told;
use millwork_cluster::in_process;
use millwork_conversion::TaskHost;
use millwork_executor::work;
use millwork_scheduler::Engine;
use millwork_storage::Storage;
use std::sync::Arc;

/// Number of concurrent tasks: the number of cores by default.
pub(crate) fn vcores(given: Option<u32>) -> usize {
    given.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize)
}

/// Executor in this process.
pub(crate) fn host(vcores: usize, storage: Storage) -> Arc<TaskHost> {
    TaskHost::new(format!("embedded:{}", std::process::id()), vcores, storage)
}

/// Starts an engine with one executor.
pub(crate) async fn start(host: Arc<TaskHost>) -> anyhow::Result<Engine> {
    let engine = Engine::start().await?;
    let (executor, scheduler) = in_process();
    engine.admit(executor);
    let working = tokio::spawn(work(scheduler, host, std::future::pending()));
    let ended = async move {
        match working.await {
            Ok(Ok(end)) => tracing::debug!(%end, "the executor in this process has ended"),
            Ok(Err(error)) => end_process(&error.into()),
            Err(error) => end_process(&error.into()),
        }
    };
    tokio::spawn(ended);
    engine.connected().await;
    Ok(engine)
}

/// Error number of Linux for a process that may open no more files: `EMFILE`.
const TOO_MANY_FILES: i32 = 24;

/// Ends the process after its only executor has failed: nothing would be converted any more, and what waits for it would wait for ever.
/// The process may end at any time; the next one goes on.
fn end_process(error: &anyhow::Error) {
    let has_no_descriptors = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.raw_os_error() == Some(TOO_MANY_FILES))
    };
    let remedy = match error.chain().any(has_no_descriptors) {
        true => "; raise the limit of open files (`ulimit -n`, LimitNOFILE of systemd)",
        false => "",
    };
    let as_json = std::env::args_os().any(|argument| argument == "--json");
    let told = Told::of(&anyhow::anyhow!("cannot convert in this process: {error:#}{remedy}"));
    std::process::exit(told.print(as_json).code().into());
}
