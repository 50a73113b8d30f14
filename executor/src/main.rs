//! `millwork-executor`: runs conversion tasks for a scheduler.

use anyhow::Context;
use clap::Parser;
use millwork_executor::{Address, ExecutorOptions, follow_schedulers};
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs conversion tasks for a scheduler.
///
/// Of several schedulers on one state, one runs the manifests: name all of them. The executor works for the first that
/// accepts it; when that is gone, it gives up its tasks and goes on to the next, round and round.
///
/// It reads the input and writes the output itself, so it needs access to both. On SIGTERM it takes no
/// more tasks, finishes those it has, and ends when their reports are fetched; a second one ends it at once.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The schedulers' addresses for executors: several, if others stand by
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', default_value = "127.0.0.1:50050")]
    scheduler: Vec<Address>,

    /// How many threads convert, and how many tasks run at once [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    vcores: Option<u32>,

    /// Directory for results that wait to be fetched; a few kilobytes a task
    #[arg(long, value_name = "DIR")]
    work_dir: PathBuf,

    /// Name in logs and in the record of output files [default: HOST:PID]
    #[arg(long, value_name = "NAME")]
    id: Option<String>,

    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: String,

    /// Address that the scheduler reaches this executor by, if it is not --bind
    #[arg(long, value_name = "HOST")]
    external_host: Option<String>,

    /// Port for results; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// Port for the scheduler's calls; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    grpc_port: u16,

    /// Listen on an address that others can reach: the executor's endpoints have no authentication
    #[arg(long)]
    insecure: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,ballista=warn,ballista_core=warn,ballista_executor=warn,datafusion=warn".into());
    // Who reads the log may go; that must end nothing.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false).init();
    let options = Options::parse();
    let ip: std::net::IpAddr =
        options.bind.parse().with_context(|| format!("--bind `{}` is no IP address", options.bind))?;
    anyhow::ensure!(
        ip.is_loopback() || options.insecure,
        "refusing to listen on {ip}, which others can reach: an executor's endpoints have no authentication; limit who \
         can reach it, then say --insecure"
    );
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let id = options.id.unwrap_or_else(|| format!("{}:{}", name.trim(), std::process::id()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let vcores = options.vcores.map_or(cores, |n| n as usize);
    tracing::info!(id, vcores, "executor starting");
    let executor = ExecutorOptions {
        id,
        bind_host: options.bind,
        external_host: options.external_host,
        port: options.port,
        grpc_port: options.grpc_port,
        vcores,
        work_dir: options.work_dir,
        heartbeat_seconds: 2,
    };
    follow_schedulers(executor, &options.scheduler).await
}
