//! Desired size of the fleet: the number of executors to run, published for an autoscaler.
//!
//! Every scheduler of a state publishes it, leader or standby, since all inputs come from the store ([`look`]),
//! including the work of executors ([`record`]). Published as a metric, and to KEDA as an external scaler
//! ([`service`]); the calculation is in `millwork-scaling`.

mod asker;
mod listen;
mod look;
mod messages;
mod metrics;
mod options;
mod record;
mod service;

pub use listen::ScalerServer;
pub use options::{ScalerDoor, ScalingOptions};

use crate::service::Service;
use chrono::Utc;
use look::Look;
use millwork_scaling::{Load, Policy, Speed, desired_executors};
use record::Recorder;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Interval of reading the store; an autoscaler polls every 15 or 30 seconds.
const LOOK: Duration = Duration::from_secs(5);
/// Least pause after a read, as a multiple of its duration, so that a store with very many runs is read rarely.
const PAUSE_FACTOR: u32 = 20;
/// Age from which an answer is no longer given: callers get an error, and use their fallback.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(120);

/// Desired number of executors, and its inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) executors: u32,
    load: Load,
    speed: Speed,
    at: Instant,
}

impl Wanted {
    pub(crate) fn is_fresh(&self) -> bool {
        self.at.elapsed() <= MAX_AGE
    }
}

/// Latest answer; `None` before the store was first read.
pub(crate) type Answers = watch::Receiver<Option<Wanted>>;

/// Background task that keeps the answer current; stops when dropped.
#[derive(Clone)]
pub struct FleetSize {
    answers: Answers,
}

impl FleetSize {
    /// Starts reading the store. `slots` is the number of slots per executor until any has worked.
    pub fn start(service: Service, policy: Policy, slots: f64) -> Self {
        let (sender, answers) = watch::channel(None);
        metrics::describe(&policy);
        tokio::spawn(keep_current(service, policy, slots, sender));
        Self { answers }
    }

    pub(crate) fn answers(&self) -> Answers {
        self.answers.clone()
    }
}

async fn keep_current(service: Service, policy: Policy, slots: f64, answers: watch::Sender<Option<Wanted>>) {
    let mut look = Look::new(service.store().clone(), slots);
    let recorder = Arc::new(Recorder::default());
    let mut listens = false;
    loop {
        let began = Instant::now();
        if let Some(scheduler) = service.leader() {
            if !std::mem::replace(&mut listens, true) {
                tokio::spawn(recorder.clone().listen(scheduler.ended()));
            }
            recorder.record(scheduler, &**service.store()).await;
        }
        match look.at(Utc::now()).await {
            Ok((load, speed)) => {
                let executors = desired_executors(&policy, &load, speed);
                let wanted = Wanted { executors, load, speed, at: Instant::now() };
                metrics::show(&wanted);
                let before = answers.send_replace(Some(wanted));
                if before.is_none_or(|before| before.executors != executors) {
                    let (runs, bytes, oldest) = (load.runs, load.bytes, load.oldest.as_secs());
                    tracing::info!(
                        executors,
                        runs,
                        bytes,
                        oldest_seconds = oldest,
                        "another number of executors is wanted"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "cannot tell how many executors are wanted; trying again"),
        }
        tokio::time::sleep(LOOK.max(began.elapsed() * PAUSE_FACTOR)).await;
    }
}
