//! A scheduler and an executor in this process, which listens on no port.

use millwork_cluster::in_process;
use millwork_executor::work;
use millwork_scheduler::Engine;

/// Number of tasks that run at once: as many as there are cores, unless told.
pub(crate) fn vcores(given: Option<u32>) -> usize {
    given.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize)
}

/// Starts an engine with one executor.
pub(crate) async fn start(vcores: usize) -> anyhow::Result<Engine> {
    let engine = Engine::start().await?;
    let (executor, scheduler) = in_process();
    engine.admit(executor);
    let name = format!("embedded:{}", std::process::id());
    tokio::spawn(async move {
        match work(scheduler, name, vcores, std::future::pending()).await {
            Ok(end) => tracing::debug!(%end, "the executor in this process has ended"),
            Err(error) => tracing::error!(%error, "the executor in this process cannot work"),
        }
    });
    engine.connected().await;
    Ok(engine)
}
