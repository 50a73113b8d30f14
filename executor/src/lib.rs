//! A Ballista executor that knows Millwork's plan nodes.
//!
//! It holds nothing that matters: what a task has not reported is written again by another. On SIGTERM it finishes its
//! tasks and takes no more.

mod address;
mod follow;
mod link;
mod session;

pub use address::Address;
pub use follow::follow_schedulers;

use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::health::ExecutorHealth;
use millwork_conversion::{MillworkCodec, set_executor_name};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

/// How an executor is set up.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// Its name in logs and in what is recorded of output files.
    pub id: String,
    /// The address it listens on, for the scheduler and for who fetches results.
    pub bind_host: String,
    /// The address others reach it by, if that is another.
    pub external_host: Option<String>,
    /// Port for results; 0 picks one.
    pub port: u16,
    /// Port for the scheduler's calls; 0 picks one.
    pub grpc_port: u16,
    /// How many tasks it runs at once.
    pub vcores: usize,
    /// Where results wait to be fetched.
    pub work_dir: PathBuf,
    /// How often it shows the scheduler that it is alive.
    pub heartbeat_seconds: u64,
}

/// The largest message between scheduler and executors.
const MAX_MESSAGE_BYTES: u32 = 64 << 20;

/// Works for one scheduler, until a signal or the scheduler says stop, or the scheduler is gone.
pub async fn run_executor(options: ExecutorOptions, scheduler: Address) -> anyhow::Result<()> {
    set_executor_name(options.id.clone());
    let id = options.id.clone();
    work(options, id, scheduler, ExecutorHealth::new()).await
}

/// The same, under a name by which the scheduler knows it.
async fn work(
    options: ExecutorOptions,
    executor_id: String,
    scheduler: Address,
    health: ExecutorHealth,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.work_dir)?;
    let (port, grpc_port) = pick_ports(&options)?;
    let config = ExecutorProcessConfig {
        executor_id,
        external_host: Some(options.external_host.unwrap_or_else(|| options.bind_host.clone())),
        bind_host: options.bind_host,
        port,
        grpc_port,
        scheduler_host: scheduler.host,
        scheduler_port: scheduler.port,
        // Once, not for ever: whoever calls has seen that the scheduler is there.
        scheduler_connect_timeout_seconds: 0,
        vcores: options.vcores,
        work_dir: Some(options.work_dir.display().to_string()),
        executor_heartbeat_interval_seconds: options.heartbeat_seconds,
        // Reports that nobody fetched.
        job_data_ttl_seconds: 3600,
        job_data_clean_up_interval_seconds: 600,
        grpc_max_decoding_message_size: MAX_MESSAGE_BYTES,
        grpc_max_encoding_message_size: MAX_MESSAGE_BYTES,
        // Conversion bounds its memory itself, by row groups in flight; it has nothing to spill.
        memory_pool_size: Some(0),
        override_physical_codec: Some(Arc::new(MillworkCodec::default())),
        health,
        ..ExecutorProcessConfig::default()
    };
    Ok(start_executor_process(Arc::new(config)).await?)
}

/// Ports that are free now, in place of those given as 0.
fn pick_ports(options: &ExecutorOptions) -> std::io::Result<(u16, u16)> {
    let bind = |port: u16| TcpListener::bind((options.bind_host.as_str(), port));
    let (results, calls) = (bind(options.port)?, bind(options.grpc_port)?);
    let port = |listener: &TcpListener| listener.local_addr().as_ref().map(SocketAddr::port).ok();
    Ok((port(&results).unwrap_or(options.port), port(&calls).unwrap_or(options.grpc_port)))
}
