//! Options of `millwork-executor`, and their validation.

use anyhow::Context;
use clap::Parser;
use millwork_cluster::{Access, Address, Identity, Secret, TlsFiles};
use millwork_process::HealthOptions;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

/// Default address of the scheduler.
const SCHEDULER: &str = "127.0.0.1:50050";
/// Former name of the variable with the schedulers' addresses. A URL in it is that of the HTTP API, for commands.
const FORMER_VARIABLE: &str = "MILLWORK_SCHEDULER";
/// Default address for health and metrics.
const HTTP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8082));

/// Runs conversion tasks for a scheduler.
///
/// An executor dials the scheduler, and takes work on no port itself. Both prove that they have the same secret: of --executor-secret-file or
/// MILLWORK_EXECUTOR_SECRET, else one that the first of them makes for this user in ~/.local/state/millwork.
///
/// Of several schedulers on one state, one runs the manifests: name all of them, or a name that has the addresses of all. The
/// executor works for the first that accepts it; when that is gone, it gives up its tasks and goes on to the next, round and round.
/// Names are looked up anew each time.
///
/// An executor reads the input and writes the output itself, so it needs access to both. On SIGTERM it takes no
/// more tasks, finishes those it has within --drain-seconds, and ends; a second one ends it at once.
#[derive(Parser)]
#[command(version)]
pub struct Program {
    /// Addresses at which schedulers accept executors; name all that stand by [default: 127.0.0.1:50050]
    #[arg(long, env = "MILLWORK_EXECUTOR_SCHEDULER", value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub scheduler: Vec<Address>,

    /// Threads that convert, and tasks that run at once [default: the number of cores]
    #[arg(long, env = "MILLWORK_VCORES", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub vcores: Option<u32>,

    /// File with the secret that the scheduler has, too; MILLWORK_EXECUTOR_SECRET in the environment does the same
    #[arg(long, env = "MILLWORK_EXECUTOR_SECRET_FILE", value_name = "FILE")]
    pub executor_secret_file: Option<PathBuf>,

    /// PEM file with the authorities that the scheduler's certificate is of. With it, connections are encrypted
    #[arg(long, env = "MILLWORK_TLS_CA", value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    pub tls_ca: Option<PathBuf>,

    /// PEM file with the certificate to show to the scheduler, with a URI that ends in /executor, such as
    /// spiffe://example.org/millwork/executor. Read again when it changes, as is its key
    #[arg(long, env = "MILLWORK_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with its key
    #[arg(long, env = "MILLWORK_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    pub tls_key: Option<PathBuf>,

    /// Time that tasks have after SIGTERM; what is not done by then is given back to the scheduler at once, which gives it to other
    /// executors. Stay below what ends the process for good: in Kubernetes 300 s of terminationGracePeriodSeconds, on a spot
    /// instance two minutes
    #[arg(long, env = "MILLWORK_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 270, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub drain_seconds: u64,

    /// Address for /healthz, /readyz and /metrics [default: 127.0.0.1:8082, or none if another process has it]
    #[arg(long, env = "HTTP_LISTEN", value_name = "HOST:PORT")]
    pub http: Option<SocketAddr>,

    /// Serve health and metrics on an address that others can reach: they need no token
    #[arg(long, env = "INSECURE_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    pub insecure_http: bool,

    /// Name in logs and in the record of output files [default: HOST:PID]
    #[arg(long, env = "MILLWORK_EXECUTOR_ID", value_name = "NAME")]
    pub id: Option<String>,

    #[command(flatten)]
    pub retired: Retired,
}

/// Options from when executors listened on ports. Accepted without effect, so that existing deployments keep working.
#[derive(clap::Args)]
pub struct Retired {
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
    /// Logs a warning for each of them that is given.
    pub fn warn(&self) {
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

impl Program {
    /// Addresses of the schedulers.
    pub fn schedulers(&self) -> anyhow::Result<Vec<Address>> {
        if !self.scheduler.is_empty() {
            return Ok(self.scheduler.clone());
        }
        former_or_usual(std::env::var(FORMER_VARIABLE).ok().as_deref())
    }

    /// Loads the credentials for authenticating the scheduler.
    pub fn access(&self) -> anyhow::Result<Access> {
        let secret = match Secret::configured(self.executor_secret_file.as_deref())? {
            Some(secret) => secret,
            None => Secret::of_this_user()?,
        };
        Ok(Access::new(secret, self.tls())?)
    }

    fn tls(&self) -> Option<TlsFiles> {
        let authorities = self.tls_ca.clone()?;
        let identity = Identity { certificate: self.tls_cert.clone()?, key: self.tls_key.clone()? };
        Some(TlsFiles { authorities, identity })
    }

    /// Address for health and metrics. An address that other hosts can reach is refused unless explicitly allowed.
    pub fn health(&self) -> anyhow::Result<HealthOptions> {
        HealthOptions { address: self.http.unwrap_or(HTTP), insecure: self.insecure_http }.check()
    }

    /// All errors for which the executor would refuse to start, as far as they show without a network or changes.
    pub fn problems(&self) -> Vec<anyhow::Error> {
        let access = Secret::configured(self.executor_secret_file.as_deref()).map_err(anyhow::Error::from);
        let access = access.and_then(|secret| match secret {
            Some(secret) => Ok(Access::new(secret, self.tls()).map(|_| ())?),
            // The start creates a secret for this user.
            None => Ok(()),
        });
        [access.err(), self.health().err(), self.schedulers().err()].into_iter().flatten().collect()
    }
}

fn former_or_usual(former: Option<&str>) -> anyhow::Result<Vec<Address>> {
    let of_executors = former.filter(|text| !text.is_empty() && !text.contains("://"));
    let addresses = of_executors.unwrap_or(SCHEDULER).split(',').map(|text| {
        let address = text.parse::<Address>().map_err(|error| anyhow::anyhow!("{error}"));
        address.with_context(|| format!("{FORMER_VARIABLE} is no list of addresses, HOST:PORT,…"))
    });
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_former_variable_counts_unless_it_is_for_commands() {
        let addresses = |former| former_or_usual(former).map(|found| found.iter().map(ToString::to_string).collect());
        let usual: Vec<String> = vec!["127.0.0.1:50050".to_owned()];
        for of_commands in [None, Some(""), Some("https://localhost:8080")] {
            assert_eq!(addresses(of_commands).unwrap(), usual, "{of_commands:?}");
        }
        let both: Vec<String> = addresses(Some("a:1,b:2")).unwrap();
        assert_eq!(both, ["a:1", "b:2"]);
        let error = format!("{:#}", addresses(Some("a:1,b")).unwrap_err());
        assert!(error.contains("MILLWORK_SCHEDULER"), "{error}");
    }
}
