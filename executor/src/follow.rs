//! Main loop of an executor: works for one scheduler after another.

use crate::candidates::{Candidate, Candidates};
use crate::status::Status;
use crate::worker::{End, work};
use futures::StreamExt;
use millwork_cluster::messages::{FromScheduler, ToExecutor};
use millwork_cluster::{Access, Address, SchedulerLink, connect_at};
use millwork_conversion::TaskHost;
use millwork_storage::Storage;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Pause before the next address is tried.
const PAUSE: Duration = Duration::from_millis(250);
/// Pause after a scheduler refused or dismissed the executor, since it would probably do so again.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Limit of the distinct causes that are logged while no scheduler accepts the executor: 16, since each address may
/// fail for its own reason.
const MAX_CAUSES: usize = 16;

/// Settings of an executor.
#[derive(Clone)]
pub struct Executor {
    /// Name in logs and in the record of output files.
    pub name: String,
    /// Number of tasks that it runs concurrently.
    pub slots: usize,
    /// Storage through which its tasks read and write.
    pub storage: Storage,
    /// Credentials for authenticating its scheduler.
    pub access: Access,
    /// Time limit for its tasks after it is told to stop. Unfinished tasks are returned to the scheduler.
    pub drain: Duration,
    /// State shown to health checks.
    pub status: Status,
}

/// Works for one of these schedulers, and for the next one when that is gone, until a signal ends it: then it
/// finishes its tasks, within the time limit. Tasks of a lost scheduler are cancelled, since nobody needs their
/// results.
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
                // Each cause is logged only once, not at each attempt.
                let of = candidate.as_ref().map(|candidate| candidate.name.to_string());
                if told.len() < MAX_CAUSES && told.insert((of, error.to_string())) {
                    tracing::warn!(
                        error = cause_of(candidate.as_ref(), &error),
                        "cannot work for this scheduler; trying again"
                    );
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
        ErrorKind::ConnectionRefused => {
            format!("nothing listens at {place}: no scheduler runs there, or it stands by; {OWN_ADDRESS}")
        }
        // The text tells what to do.
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
    // The executor counts as accepted only after the scheduler's first message, since a scheduler may refuse another
    // version.
    let status = executor.status.clone();
    let heard = move |message: &std::io::Result<ToExecutor>| {
        let content = message.as_ref().ok().and_then(|message| message.content.as_ref());
        if content.is_some_and(|content| !matches!(content, FromScheduler::Release(_))) {
            status.set_connected(true);
        }
    };
    link.inbound = link.inbound.inspect(heard).boxed();
    let stop = Notify::new();
    let host = TaskHost::new(executor.name.clone(), executor.slots, executor.storage.clone());
    let work = work(link, host, stop.notified());
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

/// Logs the end of a session. Returns the pause before the next scheduler is tried.
fn pause_after(scheduler: &Candidate, end: &End) -> Duration {
    let at = scheduler.at;
    match end {
        End::Released(reason) => {
            tracing::warn!(%at, %reason, "the scheduler has let this executor go; connecting again");
            LONG_PAUSE
        }
        End::Broken(_) | End::Silent(_) => {
            tracing::warn!(%at, %end, "the scheduler is gone; looking for another");
            Duration::ZERO
        }
    }
}
