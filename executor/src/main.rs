//! `millwork-executor`: runs conversion tasks for a scheduler.

use anyhow::Context;
use metrics_exporter_prometheus::Matcher;
use millwork_executor::{Executor, Program, Status, TASK_BUCKETS, follow_schedulers};
use millwork_net::CertificatesInUse;
use millwork_process::{HealthServer, Metrics};
use millwork_storage::Storage;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options: Program = millwork_process::parse();
    let done = millwork_process::block_on(async {
        millwork_process::start_logs("millwork-executor", "info,ballista=warn,ballista_core=warn,datafusion=warn")?;
        serve(options).await
    });
    millwork_process::ended("millwork-executor", done.map(|()| ExitCode::SUCCESS))
}

async fn serve(options: Program) -> anyhow::Result<()> {
    options.retired.warn();
    let descriptors = millwork_net::raise_descriptor_limit().context("cannot raise the limit of open files")?;
    let (access, certificates) = (options.access()?, CertificatesInUse::default());
    access.note_certificates(&certificates);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let name = options.id.clone().unwrap_or_else(|| format!("{}:{}", host.trim(), std::process::id()));
    let slots =
        options.vcores.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize);
    let http = options.health()?;
    let buckets = [(Matcher::Full("millwork_task_duration_seconds".to_owned()), &TASK_BUCKETS[..])];
    let metrics = Metrics::install(env!("CARGO_PKG_VERSION"), &buckets, certificates)?;
    let status = Status::describe(slots);
    let ready = Arc::new({
        let status = status.clone();
        move || status.ready()
    });
    let address = (http.address, options.http.is_some());
    let alive = Arc::new(|| Ok("ok".to_owned()));
    let health = HealthServer::start_if_free(address, metrics, alive, ready, descriptors).await?;
    tracing::info!(id = name, slots, "executor starting");
    let drain = Duration::from_secs(options.drain_seconds);
    let executor = Executor { name, slots, storage: Storage::from_env(), access, drain, status };
    let done = follow_schedulers(executor, &options.schedulers()?).await;
    // Pending answers to health checks must not delay the end.
    drop(health);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_has_a_variable() {
        assert_eq!(millwork_process::unnamed(Program::command()), Vec::<String>::new());
    }
}
