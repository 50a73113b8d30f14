//! `millwork-scheduler`: takes manifests over HTTP, from a queue or from a directory, and runs them on the executors that
//! connect to it.

use anyhow::Context;
use futures::StreamExt;
use millwork_api::Setting;
use millwork_cluster::DoorAccess;
use millwork_conversion::{ConversionOptions, EarlySurvey};
use millwork_scheduler::{
    About, ApiServer, Engine, FleetSize, Intake, Lease, OutputLock, Program, ScalerDoor, ScalerServer, Scheduler,
    Service, claim_output, settings_in_force,
};
use millwork_storage::Storage;
use millwork_tracking::{StateUrl, TrackingStore};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of attempts to listen on an address in use, and the pause between them.
const LISTEN_TRIES: u32 = 20;
const LISTEN_PAUSE: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let parsed = millwork_process::try_parse_from::<Program>(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let settings = settings_in_force(&parsed.command, &parsed.matches);
    let done = millwork_process::block_on(async {
        // Ballista's executor manager occasionally tries to connect to executors, which have no port, and logs errors.
        let filter = "info,ballista=warn,ballista_core=warn,ballista_scheduler=warn,ballista_scheduler::state::executor_manager=off,\
                      ballista_scheduler::state::execution_stage=error,datafusion=warn";
        millwork_process::start_logs("millwork-scheduler", filter)?;
        serve(parsed.options, settings).await
    });
    millwork_process::ended("millwork-scheduler", done.map(|()| ExitCode::SUCCESS))
}

async fn serve(options: Program, settings: Vec<Setting>) -> anyhow::Result<()> {
    let door = options.http.door()?;
    let executors = options.executor_access()?;
    let state: StateUrl = options.state.parse()?;
    let places = options.places.read(&options.intake, &options.run, state.file())?;
    let storage = Storage::from_env();
    let conversion = options.run.service_conversion(places.convertible(), storage.clone())?;
    let (policy, scaler) = (options.scaling.policy(&options.run)?, options.scaling.door()?);
    let descriptors = millwork_net::raise_descriptor_limit().context("cannot raise the limit of open files")?;
    let http = listen(options.http.address).await?;
    let store = millwork_tracking::open(&options.state).await?;
    let about = About { manifest_queue: options.intake.urls(), ..About::of(&options.run, &places.manifests)? };
    let service = Service::new(store.clone(), places, storage).with_about(about);
    service.set_settings(settings);
    executors.note_certificates(service.certificates());
    if let Some(door) = &scaler {
        door.note_certificates(service.certificates());
    }
    let server = ApiServer::start(http, service.clone(), door, descriptors)?;
    let size = FleetSize::start(service.clone(), policy, f64::from(options.scaling.scale_executor_slots));
    let _scaler = start_scaler(scaler, &size).await?;
    tracing::info!(http = %options.http.address, "standing by");
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let led = lead(&options, conversion, executors, &store, &service, &mut signals).await;
    server.shut_down().await;
    led
}

async fn start_scaler(door: Option<ScalerDoor>, size: &FleetSize) -> anyhow::Result<Option<ScalerServer>> {
    let Some(door) = door else { return Ok(None) };
    Ok(Some(ScalerServer::start(listen(door.address).await?, door, size)))
}

/// Waits to become the leader, then runs the manifests until it is told to stop or another process takes over.
async fn lead(
    options: &Program,
    conversion: ConversionOptions,
    access: DoorAccess,
    store: &Arc<dyn TrackingStore>,
    service: &Service,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let lease = tokio::select! {
        lease = Lease::wait(store) => lease?,
        _ = signals.next() => return Ok(()),
    };
    let storage = service.storage();
    let output = take_output(options, &lease, storage).await?;
    // Only the leader listens, since executors connect to any scheduler that does.
    let engine = start_engine(options.listen, access).await?;
    let manifests = service.places().manifests.clone();
    let (scheduler, _) =
        Scheduler::start(engine.clone(), &lease, output, options.run.clone(), (conversion, EarlySurvey::default()))?;
    service.lead(scheduler.clone());
    tracing::info!(executors = %options.listen, token = lease.lock().token, "running manifests");
    let stopped = CancellationToken::new();
    let intake = Intake::new(Arc::new(service.clone()), Arc::new(storage.clone()), manifests);
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
                // Manifests still received from the queue are submitted; their runs start after the next start.
                tokio::join!(scheduler.shut_down(), intake.wait());
                lease.release().await;
            };
            wait_drained(drained, seconds, signals).await;
            Ok(())
        }
        () = scheduler.deposed().cancelled() => {
            anyhow::bail!("another scheduler runs the manifests now: start this one again to stand by")
        }
        () = scheduler.stopped().cancelled() => {
            anyhow::bail!("the scheduler stopped for the reason above: start it again, and it continues")
        }
    }
}

/// Takes the lock of the output, and claims it for this state.
async fn take_output(options: &Program, lease: &Lease, storage: &Storage) -> anyhow::Result<OutputLock> {
    let output = OutputLock::take(options.run.output()?)?;
    let adopted = claim_output(lease, storage, &options.run.output()?, &options.run.layout, options.adopt).await?;
    if !adopted.completed.is_empty() {
        tracing::info!(manifests = adopted.completed.len(), "manifests of another state are taken as converted");
    }
    for (manifest, why) in &adopted.left {
        tracing::warn!(manifest, why, "a manifest of another state is not taken over");
    }
    Ok(output)
}

async fn start_engine(address: SocketAddr, access: DoorAccess) -> anyhow::Result<Engine> {
    let listener = listen(address).await?;
    let engine = Engine::start().await?;
    engine.admit_all(millwork_cluster::listen(listener, access)?);
    Ok(engine)
}

/// Waits until all is stopped, but not longer than the time limit, and not after another signal.
async fn wait_drained(drained: impl Future<Output = ()>, seconds: u64, signals: &mut Signals) {
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {
            tracing::warn!(seconds, "the time to stop is over (--drain-seconds): the next start goes on with what is left");
        }
        _ = signals.next() => tracing::warn!("told to stop again: the next start goes on with what is left"),
    }
}

/// Listens on the address. Retries, since a port can be in use by an outgoing connection, and for a minute after its
/// end.
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
            Err(error) => anyhow::bail!(millwork_net::cannot_listen(address, &error)),
            Ok(listener) => return Ok(listener),
        }
    }
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
