//! `millwork-executor`: runs conversion tasks for a scheduler.

use anyhow::Context;
use clap::Parser;
use metrics_exporter_prometheus::Matcher;
use millwork_cluster::{Access, Address, Identity, Secret, TlsFiles};
use millwork_executor::{Executor, Status, TASK_BUCKETS, follow_schedulers};
use millwork_process::{HealthOptions, HealthServer, Metrics};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Address for health and metrics where none is given.
const HTTP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8082));

/// Runs conversion tasks for a scheduler.
///
/// It dials the scheduler, and takes work on no port itself. Both prove that they have the same secret: of --executor-secret-file or
/// MILLWORK_EXECUTOR_SECRET, else one that the first of them makes for this user in ~/.local/state/millwork.
///
/// Of several schedulers on one state, one runs the manifests: name all of them, or a name that has the addresses of all. The
/// executor works for the first that accepts it; when that is gone, it gives up its tasks and goes on to the next, round and round.
/// Names are looked up anew each time.
///
/// It reads the input and writes the output itself, so it needs access to both. On SIGTERM it takes no
/// more tasks, finishes those it has within --drain-seconds, and ends; a second one ends it at once.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The schedulers' addresses for executors: several, if others stand by
    #[arg(
        long,
        env = "MILLWORK_SCHEDULER",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:50050"
    )]
    scheduler: Vec<Address>,

    /// Threads that convert, and tasks that run at once [default: the number of cores]
    #[arg(long, env = "MILLWORK_VCORES", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    vcores: Option<u32>,

    /// File with the secret that the scheduler has, too; MILLWORK_EXECUTOR_SECRET in the environment does the same
    #[arg(long, env = "MILLWORK_EXECUTOR_SECRET_FILE", value_name = "FILE")]
    executor_secret_file: Option<PathBuf>,

    /// PEM file with the authorities that the scheduler's certificate is of. With it, connections are encrypted
    #[arg(long, env = "MILLWORK_TLS_CA", value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,

    /// PEM file with the certificate to show to the scheduler, with a URI that ends in /executor, such as
    /// spiffe://example.org/millwork/executor. Read again when it changes, as is its key
    #[arg(long, env = "MILLWORK_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,

    /// PEM file with its key
    #[arg(long, env = "MILLWORK_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,

    /// Time that tasks have after SIGTERM; what is not done by then is given back to the scheduler at once, which gives it to other
    /// executors. Stay below what ends the process for good: in Kubernetes 300 s of terminationGracePeriodSeconds, on a spot
    /// instance two minutes
    #[arg(long, env = "MILLWORK_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 270, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    drain_seconds: u64,

    /// Address for /healthz, /readyz and /metrics [default: 127.0.0.1:8082, or none if another process has it]
    #[arg(long, env = "HTTP_LISTEN", value_name = "HOST:PORT")]
    http: Option<SocketAddr>,

    /// Serve health and metrics on an address that others can reach: they need no token
    #[arg(long, env = "INSECURE_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    insecure_http: bool,

    /// Name in logs and in the record of output files [default: HOST:PID]
    #[arg(long, env = "MILLWORK_EXECUTOR_ID", value_name = "NAME")]
    id: Option<String>,

    #[command(flatten)]
    retired: Retired,
}

/// Options of the time when executors listened on ports. They are accepted, so that deployments go on, and have no effect.
#[derive(clap::Args)]
struct Retired {
    #[arg(long, hide = true)]
    work_dir: Option<PathBuf>,
    #[arg(long, hide = true)]
    bind: Option<String>,
    #[arg(long, hide = true)]
    external_host: Option<String>,
    #[arg(long, hide = true)]
    port: Option<u16>,
    #[arg(long, hide = true)]
    grpc_port: Option<u16>,
    #[arg(long, hide = true)]
    insecure: bool,
}

impl Retired {
    fn warn(&self) {
        let given = [
            ("--work-dir", self.work_dir.is_some()),
            ("--bind", self.bind.is_some()),
            ("--external-host", self.external_host.is_some()),
            ("--port", self.port.is_some()),
            ("--grpc-port", self.grpc_port.is_some()),
            ("--insecure", self.insecure),
        ];
        for (option, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            tracing::warn!(option, "has no effect: executors listen on no port and keep nothing on disk; leave it out");
        }
    }
}

fn main() -> anyhow::Result<()> {
    let options: Options = millwork_process::parse();
    millwork_process::block_on(async {
        millwork_process::start_logs("millwork-executor", "info,ballista=warn,ballista_core=warn,datafusion=warn")?;
        serve(options).await
    })
}

async fn serve(options: Options) -> anyhow::Result<()> {
    options.retired.warn();
    let descriptors = millwork_net::raise_descriptor_limit().context("cannot raise the limit of open files")?;
    let secret = match Secret::configured(options.executor_secret_file.as_deref())? {
        Some(secret) => secret,
        None => Secret::of_this_user()?,
    };
    let tls = match (options.tls_ca, options.tls_cert, options.tls_key) {
        (Some(authorities), Some(certificate), Some(key)) => {
            Some(TlsFiles { authorities, identity: Identity { certificate, key } })
        }
        _ => None,
    };
    let access = Access::new(secret, tls)?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let name = options.id.unwrap_or_else(|| format!("{}:{}", host.trim(), std::process::id()));
    let slots =
        options.vcores.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize);
    let http = HealthOptions { address: options.http.unwrap_or(HTTP), insecure: options.insecure_http }.check()?;
    let buckets = [(Matcher::Full("millwork_task_duration_seconds".to_owned()), &TASK_BUCKETS[..])];
    let metrics = Metrics::install(env!("CARGO_PKG_VERSION"), &buckets)?;
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
    let done = follow_schedulers(Executor { name, slots, access, drain, status }, &options.scheduler).await;
    // Answers that nobody waits for must not hold up the end.
    drop(health);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_has_a_variable() {
        assert_eq!(millwork_process::unnamed(Options::command()), Vec::<String>::new());
    }
}
