//! A Ballista executor that knows Millwork's plan nodes.
//!
//! It holds nothing that matters: what a task has not reported is written again by another. On SIGTERM it takes no
//! more tasks, finishes those it has, and ends when the scheduler has fetched what they report.

mod address;
mod follow;
mod link;
mod process;
mod session;

pub use address::Address;
pub use follow::follow_schedulers;

use millwork_conversion::set_executor_name;
use std::path::PathBuf;

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

/// Works for one scheduler, until that says stop, or does not answer any more.
pub async fn run_executor(options: ExecutorOptions, scheduler: Address) -> anyhow::Result<()> {
    set_executor_name(options.id.clone());
    let name = options.id.clone();
    process::work(options, name, scheduler, std::future::pending()).await
}
