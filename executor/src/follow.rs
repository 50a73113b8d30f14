//! Work for one scheduler after the other.

use crate::candidates::{Candidate, Candidates};
use crate::status::Status;
use crate::worker::{End, work};
use futures::StreamExt;
use millwork_cluster::messages::{FromScheduler, ToExecutor};
use millwork_cluster::{Access, Address, SchedulerLink, connect_at};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The pause before the next address is tried.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause after a scheduler refused or dismissed the executor: it would again.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Limit of the causes that are told while no scheduler takes the executor: 16. Several addresses may have a cause each.
const MAX_CAUSES: usize = 16;

/// An executor's settings.
#[derive(Clone)]
pub struct Executor {
    /// Name in logs and in the record of output files.
    pub name: String,
    /// The number of tasks it runs at once.
    pub slots: usize,
    /// Means by which it knows its scheduler.
    pub access: Access,
    /// Time that its tasks have once it is told to end. What is not done by then is given back at once.
    pub drain: Duration,
    /// State that probes are told.
    pub status: Status,
}

/// Works for whichever of these schedulers is there, and for the next one when that is gone, until a signal ends it: then
/// it finishes its tasks, as far as there is time. Those of a scheduler that is gone are given up, as nobody waits for them.
pub async fn follow_schedulers(executor: Executor, schedulers: &[Address]) -> anyhow::Result<()> {
    anyhow::ensure!(!schedulers.is_empty(), "there is no scheduler to work for: say --scheduler");
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut candidates = Candidates::new(schedulers);
    let mut told = HashSet::new();
    loop {
        let (candidate, connected) = tokio::select! {
            connected = next(&mut candidates, &executor.access) => connected,
            _ = signals.next() => return Ok(()),
        };
        let pause = match (candidate, connected) {
            (Some(candidate), Ok(link)) => {
                told.clear();
                let next = serve(&executor, &candidate, link, &mut signals).await;
                executor.status.set_connected(false);
                match next? {
                    Next::Exit => return Ok(()),
                    Next::Reconnect(pause) => pause,
                }
            }
            (candidate, Err(error)) => {
                // Each cause once, not at each try.
                let cause = cause_of(candidate.as_ref(), &error);
                if told.len() < MAX_CAUSES && told.insert(cause.clone()) {
                    tracing::warn!(error = cause, "no scheduler to work for; trying on");
                }
                if error.kind() == ErrorKind::PermissionDenied { LONG_PAUSE } else { PAUSE }
            }
            (None, Ok(_)) => PAUSE,
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = signals.next() => return Ok(()),
        }
    }
}

/// Connects to the next address.
async fn next(candidates: &mut Candidates, access: &Access) -> (Option<Candidate>, std::io::Result<SchedulerLink>) {
    match candidates.next().await {
        Ok(candidate) => {
            let connected = connect_at(&candidate.name, Some(candidate.at), access).await;
            (Some(candidate), connected)
        }
        Err(reason) => (None, Err(std::io::Error::other(reason))),
    }
}

/// Reason why no scheduler took the executor, with what to look at.
fn cause_of(candidate: Option<&Candidate>, error: &std::io::Error) -> String {
    const OWN_ADDRESS: &str =
        "--scheduler (MILLWORK_EXECUTOR_SCHEDULER) is the address that a scheduler's --listen says";
    let Some(Candidate { name, at }) = candidate else {
        return format!("no address is known of {error}; {OWN_ADDRESS}");
    };
    let place = if name.to_string() == at.to_string() { name.to_string() } else { format!("{name} ({at})") };
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("nothing listens at {place}: start a scheduler; {OWN_ADDRESS}"),
        // It says itself what to do.
        ErrorKind::PermissionDenied => format!("at {place}: {error}"),
        _ => format!("at {place}: {error}; {OWN_ADDRESS}"),
    }
}

enum Next {
    Exit,
    Reconnect(Duration),
}

async fn serve(
    executor: &Executor,
    scheduler: &Candidate,
    mut link: SchedulerLink,
    signals: &mut Signals,
) -> anyhow::Result<Next> {
    tracing::info!(scheduler = %scheduler.name, at = %scheduler.at, slots = executor.slots, "working for a scheduler");
    // Only what the scheduler says tells that it takes this executor: it may refuse one of another version.
    let status = executor.status.clone();
    let heard = move |message: &std::io::Result<ToExecutor>| {
        let content = message.as_ref().ok().and_then(|message| message.content.as_ref());
        if content.is_some_and(|content| !matches!(content, FromScheduler::Release(_))) {
            status.set_connected(true);
        }
    };
    link.inbound = link.inbound.inspect(heard).boxed();
    let stop = Notify::new();
    let work = work(link, executor.name.clone(), executor.slots, stop.notified());
    tokio::pin!(work);
    tokio::select! {
        end = &mut work => return Ok(Next::Reconnect(pause_after(scheduler, &end?))),
        _ = signals.next() => {}
    }
    let seconds = executor.drain.as_secs();
    tracing::info!(
        seconds,
        "stopping: tasks are finished within that time, no more are taken; another signal ends it at once"
    );
    executor.status.set_draining();
    stop.notify_one();
    tokio::select! {
        end = &mut work => match end? {
            End::Released(_) => tracing::info!("all that was wanted is done"),
            end => tracing::warn!(at = %scheduler.at, %end, "cannot finish; tasks are given up"),
        },
        _ = signals.next() => tracing::warn!("told to stop again: tasks are given up, and go to other executors"),
        () = sleep(executor.drain) => {
            tracing::warn!(seconds, "the time to finish is over (--drain-seconds): tasks are given up, and go to other executors");
        }
    }
    Ok(Next::Exit)
}

/// Tells why it is over, and how long to wait before the next scheduler is tried.
fn pause_after(scheduler: &Candidate, end: &End) -> Duration {
    let at = scheduler.at;
    match end {
        End::Released(reason) => {
            tracing::warn!(%at, %reason, "the scheduler does not want this executor any more; trying on");
            LONG_PAUSE
        }
        End::Broken(_) | End::Silent(_) => {
            tracing::warn!(%at, %end, "the scheduler is gone; looking for another");
            Duration::ZERO
        }
    }
}
