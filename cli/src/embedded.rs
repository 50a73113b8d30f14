//! A scheduler and an executor in this process.

use anyhow::Context;
use millwork_executor::{Address, ExecutorOptions, run_executor};
use millwork_scheduler::Engine;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long the executor may take to connect to its scheduler, in this very process.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How many tasks run at once: as many as there are cores, unless told.
pub(crate) fn vcores(given: Option<u32>) -> usize {
    given.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize)
}

/// An engine with one executor. The executor's files go when this is dropped.
pub(crate) struct Embedded {
    pub(crate) engine: Engine,
    _work_dir: tempfile::TempDir,
}

impl Embedded {
    /// Starts both; they listen on loopback only.
    pub(crate) async fn start(vcores: usize) -> anyhow::Result<Self> {
        let work_dir = tempfile::Builder::new()
            .prefix("millwork-")
            .tempdir()
            .context("cannot make a directory for the executor")?;
        let engine = Engine::start(TcpListener::bind("127.0.0.1:0").await?).await?;
        let scheduler = Address { host: "127.0.0.1".to_owned(), port: engine.address().port() };
        let options = ExecutorOptions {
            id: format!("embedded:{}", std::process::id()),
            bind_host: "127.0.0.1".to_owned(),
            external_host: None,
            port: 0,
            grpc_port: 0,
            vcores,
            work_dir: work_dir.path().to_owned(),
            heartbeat_seconds: millwork_scheduler::HEARTBEAT_SECONDS,
        };
        let executor = tokio::spawn(run_executor(options, scheduler));
        let connected = async {
            while engine.slots().await == 0 {
                anyhow::ensure!(!executor.is_finished(), "the executor ended before it was connected");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connected).await.context("the executor does not connect")??;
        Ok(Self { engine, _work_dir: work_dir })
    }
}
