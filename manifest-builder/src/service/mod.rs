//! The builder as a service: turns messages into manifests until it is told to stop.
//!
//! A message is deleted once its effect is durable. A message that can never be processed is sent to the dead-letter
//! queue with the reason, then deleted. All others are delivered again.

mod depth;
mod handle;
mod http;
pub(crate) mod lambda;
mod maker;
mod signs;
mod tally;

use crate::builder::Builder;
use crate::error::BuilderError;
use crate::wishes::WISH_INTERVAL;
use handle::Intake;
use http::Health;
use maker::Maker;
use millwork_queue::{Consumer, ConsumerOptions};
use millwork_storage::Location;
pub use signs::Signs;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Interval at which the counts of the day are written to the store.
const TALLY_INTERVAL: Duration = Duration::from_secs(10);

/// Options of the service.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Options of the queue that is read.
    pub queue: ConsumerOptions,
    /// Number of message batches that are handled concurrently.
    pub workers: usize,
    /// Time limit for getting the lock of a date.
    pub max_lock_wait: Duration,
    /// Interval of the sweeps, each made by one of all processes.
    pub sweep_interval: Duration,
    /// Address for health and metrics; `None` to serve neither.
    pub http: Option<SocketAddr>,
}

/// Runs until `stop`; received messages are then finished or released.
pub async fn serve(builder: Builder, options: ServiceOptions, stop: CancellationToken) -> anyhow::Result<()> {
    let builder = builder.with_stop(stop.clone());
    builder.check_input()?;
    let health = Health::start(options.http).await?;
    let tally = Tally::new(builder.store.clone());
    let consumer = Arc::new(Consumer::connect(options.queue.clone()).await?);
    let maker = Maker::new(builder.clone(), tally.clone(), options.max_lock_wait);
    let intake = Intake { builder: builder.clone(), maker: maker.clone(), tally: tally.clone(), health };
    let intake = Arc::new(intake);
    tracing::info!(queue = options.queue.queue_url, workers = options.workers, "manifest builder started");
    let tasks = start_workers(options.workers, &consumer, &intake, &stop);
    // These tasks continue until the last worker has ended, so that its results are still counted and cut.
    let done = CancellationToken::new();
    let helpers = TaskTracker::new();
    helpers.spawn(depth::look_often(consumer, done.clone()));
    helpers.spawn(maker.clone().work(done.clone()));
    helpers.spawn(signs(&builder, &options).give_often(done.clone()));
    helpers.spawn(take_often(builder.clone(), tally.clone(), stop.clone()));
    helpers.spawn(sweep_often(builder, tally.clone(), options.sweep_interval, stop));
    helpers.spawn(tally.clone().flush_often(TALLY_INTERVAL, done.clone()));
    helpers.close();
    tasks.wait().await;
    done.cancel();
    helpers.wait().await;
    tally.flush().await;
    tracing::info!("manifest builder stopped");
    Ok(())
}

fn signs(builder: &Builder, options: &ServiceOptions) -> Signs {
    Signs::new(builder, "serve")
        .sweeping(options.sweep_interval)
        .taking_wishes(WISH_INTERVAL)
        .reading(&options.queue.queue_url, options.queue.dead_letter_queue_url.as_deref())
}

fn start_workers(
    workers: usize,
    consumer: &Arc<Consumer>,
    intake: &Arc<Intake>,
    stop: &CancellationToken,
) -> TaskTracker {
    let tasks = TaskTracker::new();
    for _ in 0..workers {
        let (consumer, intake, stop) = (consumer.clone(), intake.clone(), stop.clone());
        tasks.spawn(async move { consumer.work(&*intake, &stop).await });
    }
    tasks.close();
    tasks
}

/// Sweeps at intervals, with only one process of a store sweeping at a time.
async fn sweep_often(builder: Builder, tally: Tally, interval: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        // The lock is never released, but expires when the next sweep is due.
        let ttl = chrono::Duration::from_std(interval).unwrap_or(chrono::Duration::minutes(1));
        match builder.store.lock("LOCK#sweep", &builder.holder, ttl, builder.now()).await {
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot take the lock of the sweep");
                continue;
            }
        }
        match builder.sweep().await {
            Ok(swept) => tally.swept(&swept),
            Err(BuilderError::Stopped) => return,
            Err(error) => tracing::error!(%error, "a sweep failed; the next one goes on"),
        }
    }
}

/// Makes rounds requested by operators, without waiting for the sweep.
async fn take_often(builder: Builder, tally: Tally, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WISH_INTERVAL) => {}
        }
        match builder.take_wishes().await {
            Ok(taken) => tally.made((taken.made.len() + taken.finished.len()) as u64),
            Err(BuilderError::Stopped) => return,
            Err(error) => tracing::error!(%error, "wishes of operators wait for the next look"),
        }
    }
}

/// Watches a place by listing it at intervals, until `stop`.
pub async fn watch(
    builder: Builder,
    place: Location,
    interval: Duration,
    http: Option<SocketAddr>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let builder = builder.with_stop(stop.clone());
    builder.check_apart(&place)?;
    let health = Health::start(http).await?;
    let tally = Tally::new(builder.store.clone());
    tracing::info!(input = %place, seconds = interval.as_secs(), "watching");
    let signs = Signs::new(&builder, "watch").sweeping(interval).taking_wishes(interval);
    tokio::spawn(signs.give_often(stop.clone()));
    let mut told = HashSet::new();
    while !stop.is_cancelled() {
        match watch_once(&builder, &place, &tally, &mut told).await {
            Ok(()) => health.beat(),
            Err(BuilderError::Stopped) => tracing::info!("stopped: what is left is done by the next process"),
            Err(error) => tracing::error!(%error, "a look at the input failed; the next one goes on"),
        }
        tally.flush().await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
    Ok(())
}

/// Lists the place once. A refused entry is logged and counted the first time it is found.
async fn watch_once(
    builder: &Builder,
    place: &Location,
    tally: &Tally,
    told: &mut HashSet<String>,
) -> Result<(), BuilderError> {
    let listed = look(builder, place, tally, told).await;
    // Pending files are swept even if the place cannot be listed.
    tally.swept(&builder.sweep().await?);
    listed
}

async fn look(
    builder: &Builder,
    place: &Location,
    tally: &Tally,
    told: &mut HashSet<String>,
) -> Result<(), BuilderError> {
    let mut found = builder.backfill(place).await?;
    let foreign = found.foreign.iter().map(|file| file.uri.clone());
    let refused: HashSet<String> = foreign.chain(found.unmoved.iter().map(|file| file.uri.to_string())).collect();
    found.foreign.retain(|file| !told.contains(&file.uri));
    found.unmoved.retain(|file| !told.contains(file.uri.as_str()));
    for file in &found.foreign {
        tracing::warn!(file = file.uri, detail = file.detail, "an entry of the input is refused, and stays as it is");
    }
    for file in &found.quarantined {
        tracing::info!(file = %file.uri, reason = %file.reason, detail = file.detail, "a file is refused");
    }
    for file in &found.unmoved {
        let (uri, reason) = (&file.uri, file.reason);
        tracing::warn!(file = %uri, %reason, error = file.detail, "a refused file cannot be moved: it is marked, and stays where it is");
    }
    *told = refused;
    tally.arrived(&found.arrived());
    Ok(())
}
