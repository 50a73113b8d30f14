//! `millwork-executor`: runs conversion tasks for a scheduler.

use anyhow::Context;
use clap::Parser;
use millwork_cluster::{Access, Address, Identity, Secret, TlsFiles};
use millwork_executor::{Executor, follow_schedulers};
use std::io::IsTerminal;
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs conversion tasks for a scheduler.
///
/// It dials the scheduler and listens on no port itself. Both prove that they have the same secret: of --executor-secret-file or
/// MILLWORK_EXECUTOR_SECRET, else one that the first of them makes for this user in ~/.local/state/millwork.
///
/// Of several schedulers on one state, one runs the manifests: name all of them. The executor works for the first that
/// accepts it; when that is gone, it gives up its tasks and goes on to the next, round and round.
///
/// It reads the input and writes the output itself, so it needs access to both. On SIGTERM it takes no
/// more tasks, finishes those it has, and ends; a second one ends it at once.
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

    /// How many threads convert, and how many tasks run at once [default: the number of cores]
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,ballista=warn,ballista_core=warn,datafusion=warn".into());
    // Who reads the log may go; that must end nothing.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .log_internal_errors(false)
        .init();
    let options = Options::parse();
    options.retired.warn();
    millwork_net::raise_descriptor_limit().context("cannot raise the limit of open files")?;
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
    tracing::info!(id = name, slots, "executor starting");
    follow_schedulers(Executor { name, slots, access }, &options.scheduler).await
}
