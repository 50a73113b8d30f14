//! `millwork-scheduler`: takes manifests over HTTP, from a queue or from a directory, and runs them on the executors that
//! connect to it.

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser};
use futures::StreamExt;
use millwork_api::Setting;
use millwork_cluster::{DoorAccess, Identity, Secret, TlsFiles, TlsMode};
use millwork_scheduler::{
    About, ApiServer, Engine, FleetSize, HttpOptions, Intake, IntakeOptions, Lease, OutputLock, PlaceOptions,
    ReadPlaces, RunOptions, ScalerServer, ScalingOptions, Scheduler, Service, settings_in_force,
};
use millwork_tracking::TrackingStore;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs manifests on a fleet of executors.
///
/// Manifests come over HTTP (`millwork submit`), from the state where a manifest builder queues them, from the events of
/// a bucket or from a directory. Each becomes a run: planned here, converted by executors, committed and published here.
/// What is running when the scheduler stops goes on when it is started again. Of several schedulers on one state, one runs
/// the manifests; the others stand by, answer over HTTP, and take over when it dies.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Address for executors. They prove that they have the scheduler's secret, but what travels is not encrypted: keep it inside a
    /// network you trust
    #[arg(long, env = "MILLWORK_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
    listen: SocketAddr,

    /// State with runs and files: sqlite:PATH or dynamodb:TABLE
    #[arg(long, env = "MILLWORK_STATE", value_name = "URL")]
    state: String,

    /// File with the secret that executors have, too; MILLWORK_EXECUTOR_SECRET in the environment does the same [default: one that is made
    /// for this user in ~/.local/state/millwork, if --listen is on loopback]
    #[arg(long, env = "MILLWORK_EXECUTOR_SECRET_FILE", value_name = "FILE")]
    executor_secret_file: Option<PathBuf>,

    /// TLS with executors: off, permissive (for those that begin with it) or strict (nothing else)
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS", value_name = "MODE", default_value = "off")]
    executor_tls: TlsMode,

    /// PEM file with the certificate to show to executors, for the name they dial and a URI that ends in /scheduler, such as
    /// spiffe://example.org/millwork/scheduler. Read again when it changes, as is its key
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS_CERT", value_name = "FILE")]
    executor_tls_cert: Option<PathBuf>,

    /// PEM file with its key
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS_KEY", value_name = "FILE")]
    executor_tls_key: Option<PathBuf>,

    /// PEM file with the authorities that certificates of executors are of; they have a URI that ends in /executor
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS_CA", value_name = "FILE")]
    executor_tls_ca: Option<PathBuf>,

    /// Listen for executors on an address that others can reach, without encryption or with --executor-tls permissive
    #[arg(long, env = "INSECURE_EXECUTORS", value_parser = clap::builder::FalseyValueParser::new())]
    insecure_executors: bool,

    /// Time that commits and publications have after SIGTERM to come to their end; the next start, or another scheduler, goes on
    /// with what is left. Attempts are given up at once. Stay below what ends the process for good
    #[arg(long, env = "MILLWORK_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 270, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    drain_seconds: u64,

    #[command(flatten)]
    http: HttpOptions,

    #[command(flatten)]
    places: PlaceOptions,

    #[command(flatten)]
    intake: IntakeOptions,

    #[command(flatten)]
    run: RunOptions,

    #[command(flatten)]
    scaling: ScalingOptions,
}

/// Number of tries to listen on an address that is in use, and the pause between two of them.
const LISTEN_TRIES: u32 = 20;
const LISTEN_PAUSE: Duration = Duration::from_millis(250);

fn main() -> anyhow::Result<()> {
    let command = millwork_process::with_variables(Options::command());
    let matches = command.clone().get_matches();
    let settings = settings_in_force(&command, &matches);
    let options = Options::from_arg_matches(&matches)?;
    millwork_process::block_on(async {
        // Ballista's manager of executors tries to dial them now and then, which have no port.
        let filter = "info,ballista=warn,ballista_core=warn,ballista_scheduler=warn,ballista_scheduler::state::executor_manager=off,datafusion=warn";
        millwork_process::start_logs("millwork-scheduler", filter)?;
        serve(options, settings).await
    })
}

async fn serve(options: Options, settings: Vec<Setting>) -> anyhow::Result<()> {
    let door = options.http.door()?;
    check_listen(&options)?;
    let executors = executor_access(&options)?;
    let places = options.places.read(&options.intake, &options.run, &options.state)?;
    let (policy, scaler) = (options.scaling.policy(&options.run)?, options.scaling.door()?);
    let descriptors = millwork_net::raise_descriptor_limit().context("cannot raise the limit of open files")?;
    let http = listen(options.http.address).await?;
    let store = millwork_tracking::open(&options.state).await?;
    let about = About::of(&options.state, &options.run, &places.manifests)?;
    let service = Service::new(store.clone(), places).with_about(about);
    service.set_settings(settings);
    let server = ApiServer::start(http, service.clone(), door, &options.state, descriptors)?;
    let size = FleetSize::start(service.clone(), policy, f64::from(options.scaling.scale_executor_slots));
    let _scaler = match scaler {
        Some(door) => Some(ScalerServer::start(listen(door.address).await?, door, &size)),
        None => None,
    };
    tracing::info!(http = %options.http.address, "standing by");
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let led = lead(&options, executors, &store, &service, &mut signals).await;
    server.shut_down().await;
    led
}

/// Refuses an address for executors that others can reach, where what travels may be in plain text.
fn check_listen(options: &Options) -> anyhow::Result<()> {
    let is_safe = options.listen.ip().is_loopback() || options.executor_tls == TlsMode::Strict;
    anyhow::ensure!(
        is_safe || options.insecure_executors,
        "refusing to listen for executors on {}, which others can reach: what travels is not encrypted, or not always; say \
         --executor-tls strict with certificates, or limit who can reach it, then say --insecure-executors",
        options.listen
    );
    Ok(())
}

/// The means by which executors are known.
fn executor_access(options: &Options) -> anyhow::Result<DoorAccess> {
    let tls = match (&options.executor_tls_cert, &options.executor_tls_key, &options.executor_tls_ca) {
        _ if options.executor_tls == TlsMode::Off => None,
        (Some(certificate), Some(key), Some(authorities)) => {
            let identity = Identity { certificate: certificate.clone(), key: key.clone() };
            Some((TlsFiles { authorities: authorities.clone(), identity }, options.executor_tls))
        }
        _ => anyhow::bail!(
            "--executor-tls needs --executor-tls-cert, --executor-tls-key and --executor-tls-ca: certificates of both ends are checked"
        ),
    };
    Ok(DoorAccess::new(executor_secret(options)?, tls)?)
}

/// The secret that executors have, too. A fleet on several machines is given one; for those of one user on one machine it is made.
fn executor_secret(options: &Options) -> anyhow::Result<Secret> {
    if let Some(secret) = Secret::configured(options.executor_secret_file.as_deref())? {
        return Ok(secret);
    }
    anyhow::ensure!(
        options.listen.ip().is_loopback(),
        "executors on other machines need the secret of this scheduler: write one to a file (openssl rand -hex 32), give it to both \
         with --executor-secret-file, or to both as MILLWORK_EXECUTOR_SECRET"
    );
    Ok(Secret::of_this_user()?)
}

/// Waits for its turn to run the manifests, then does so until it is told to stop, or another has taken over.
async fn lead(
    options: &Options,
    access: DoorAccess,
    store: &Arc<dyn TrackingStore>,
    service: &Service,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let lease = tokio::select! {
        lease = Lease::wait(&options.state, store) => lease?,
        _ = signals.next() => return Ok(()),
    };
    let output = OutputLock::take(options.run.output()?)?;
    // Not before: executors connect to who listens.
    let listener = listen(options.listen).await?;
    let engine = Engine::start().await?;
    engine.admit_all(millwork_cluster::listen(listener, access)?);
    let ReadPlaces { input, manifests } = service.places().clone();
    let conversion = options.run.conversion(input)?;
    let (scheduler, _) = Scheduler::start(engine.clone(), &lease, output, options.run.clone(), conversion)?;
    service.lead(scheduler.clone());
    tracing::info!(executors = %options.listen, token = lease.lock().token, "running manifests");
    let stopped = CancellationToken::new();
    let intake = Intake::new(Arc::new(service.clone()), manifests);
    let intake = intake.start(&options.intake, &stopped).await?;
    tokio::select! {
        _ = signals.next() => {
            let seconds = options.drain_seconds;
            tracing::info!(
                seconds,
                "stopping: running attempts are given up and go on at the next start, commits come to their end within that time; \
                 another signal ends it at once"
            );
            stopped.cancel();
            let drained = async {
                // Manifests that the queue still hands out are submitted, and go on at the next start.
                tokio::join!(scheduler.shut_down(), intake.wait());
                lease.release().await;
            };
            tokio::select! {
                () = drained => {}
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {
                    tracing::warn!(seconds, "the time to stop is over (--drain-seconds): the next start goes on with what is left");
                }
                _ = signals.next() => tracing::warn!("told to stop again: the next start goes on with what is left"),
            }
            Ok(())
        }
        () = scheduler.deposed().cancelled() => {
            anyhow::bail!("another scheduler runs the manifests now: start this one again to stand by")
        }
        () = scheduler.stopped().cancelled() => {
            anyhow::bail!("the scheduler broke off, for the reason above: start it again to go on")
        }
    }
}

/// Listens. A port may be taken just then by a connection that somebody made from it, and for a minute after its end.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut tries = 0;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && tries < LISTEN_TRIES => {
                if tries == 0 {
                    tracing::warn!(%address, %error, "cannot listen; trying again");
                }
                tries += 1;
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
            listener => return listener.with_context(|| format!("cannot listen on {address}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_has_a_variable() {
        assert_eq!(millwork_process::unnamed(Options::command()), Vec::<String>::new());
    }

    #[test]
    fn executors_of_others_are_listened_to_with_strict_tls_or_at_a_risk() {
        let check = |arguments: &[&str]| {
            let start = ["it", "--state", "sqlite:/s.db", "--output", "/out"];
            let options = Options::try_parse_from([&start[..], arguments].concat()).unwrap();
            check_listen(&options).map_err(|error| error.to_string())
        };
        let everywhere = ["--listen", "0.0.0.0:0", "--executor-tls"];
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--listen", "[::1]:0"]), Ok(()));
        assert_eq!(check(&[&everywhere[..], &["strict"]].concat()), Ok(()));
        for mode in ["off", "permissive"] {
            let refused = check(&[&everywhere[..], &[mode]].concat()).unwrap_err();
            assert!(refused.contains("0.0.0.0:0") && refused.contains("--executor-tls strict"), "{refused}");
            assert_eq!(check(&[&everywhere[..], &[mode, "--insecure-executors"]].concat()), Ok(()));
        }
    }
}
