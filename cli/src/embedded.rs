//! Scheduler and executor within this process, without a port.

use millwork_cluster::in_process;
use millwork_executor::work;
use millwork_scheduler::Engine;
use millwork_storage::Storage;

/// Number of concurrent tasks: the number of cores by default.
pub(crate) fn vcores(given: Option<u32>) -> usize {
    given.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize)
}

/// Starts an engine with one executor.
pub(crate) async fn start(vcores: usize, storage: Storage) -> anyhow::Result<Engine> {
    let engine = Engine::start().await?;
    let (executor, scheduler) = in_process();
    engine.admit(executor);
    let name = format!("embedded:{}", std::process::id());
    tokio::spawn(async move {
        match work(scheduler, name, vcores, storage, std::future::pending()).await {
            Ok(end) => tracing::debug!(%end, "the executor in this process has ended"),
            Err(error) => tracing::error!(%error, "the executor in this process cannot work"),
        }
    });
    engine.connected().await;
    Ok(engine)
}
