//! One scheduler after the other.

use crate::worker::{End, work};
use futures::StreamExt;
use millwork_cluster::{Access, Address, SchedulerLink, connect};
use millwork_conversion::set_executor_name;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The pause before the next address is tried.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause after a scheduler refused or dismissed the executor: it would again.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// An executor's settings.
#[derive(Clone)]
pub struct Executor {
    /// Name in logs and in the record of output files.
    pub name: String,
    /// The number of tasks it runs at once.
    pub slots: usize,
    /// Means by which it knows its scheduler.
    pub access: Access,
}

/// Works for whichever of these schedulers is there, and for the next one when that is gone, until a signal ends it: then
/// it finishes its tasks. Those of a scheduler that is gone are given up, as nobody waits for them.
pub async fn follow_schedulers(executor: Executor, schedulers: &[Address]) -> anyhow::Result<()> {
    set_executor_name(executor.name.clone());
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut is_told = false;
    for scheduler in schedulers.iter().cycle() {
        let connected = tokio::select! {
            connected = connect(scheduler, &executor.access) => connected,
            _ = signals.next() => return Ok(()),
        };
        let pause = match connected {
            Ok(link) => {
                is_told = false;
                match serve(&executor, scheduler, link, &mut signals).await? {
                    Next::Exit => return Ok(()),
                    Next::Reconnect(pause) => pause,
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%scheduler, %error, "cannot work for this scheduler; trying on");
                }
                if error.kind() == ErrorKind::PermissionDenied { LONG_PAUSE } else { PAUSE }
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = signals.next() => return Ok(()),
        }
    }
    anyhow::bail!("there is no scheduler to work for: say --scheduler")
}

enum Next {
    Exit,
    Reconnect(Duration),
}

async fn serve(
    executor: &Executor,
    scheduler: &Address,
    link: SchedulerLink,
    signals: &mut Signals,
) -> anyhow::Result<Next> {
    tracing::info!(%scheduler, slots = executor.slots, "working for a scheduler");
    let stop = Notify::new();
    let work = work(link, executor.name.clone(), executor.slots, stop.notified());
    tokio::pin!(work);
    tokio::select! {
        end = &mut work => return Ok(Next::Reconnect(told(scheduler, &end?))),
        _ = signals.next() => {}
    }
    tracing::info!("stopping: tasks are finished, no more are taken; another signal ends it at once");
    stop.notify_one();
    tokio::select! {
        end = &mut work => match end? {
            End::Released(_) => tracing::info!("all that was wanted is done"),
            end => tracing::warn!(%scheduler, %end, "cannot finish; tasks are given up"),
        },
        _ = signals.next() => tracing::warn!("told to stop again: tasks are given up"),
    }
    Ok(Next::Exit)
}

/// Tells why it is over, and how long to wait before the next scheduler is tried.
fn told(scheduler: &Address, end: &End) -> Duration {
    match end {
        End::Released(reason) => {
            tracing::warn!(%scheduler, %reason, "the scheduler does not want this executor any more; trying on");
            LONG_PAUSE
        }
        End::Broken(_) | End::Silent(_) => {
            tracing::warn!(%scheduler, %end, "the scheduler is gone; looking for another");
            Duration::ZERO
        }
    }
}
