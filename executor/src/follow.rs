//! One scheduler after the other.

use crate::link::Link;
use crate::session::Session;
use crate::{Address, ExecutorOptions};
use futures::StreamExt;
use millwork_conversion::set_executor_name;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::time::Duration;
use tokio::time::sleep;

/// The pause before the next address is tried.
const PAUSE: Duration = Duration::from_millis(250);
/// The same after a session that did not end well.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// Works for whichever of these schedulers is there, and for the next one when that is gone, until a signal ends it: then
/// it finishes its tasks, and stays until their reports are fetched. Those of a scheduler that is gone are given up, as
/// nobody waits for them.
pub async fn follow_schedulers(options: ExecutorOptions, schedulers: &[Address]) -> anyhow::Result<()> {
    set_executor_name(options.id.clone());
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut was_connected = true;
    for scheduler in schedulers.iter().cycle() {
        let connected = tokio::select! {
            connected = Link::connect(scheduler) => connected,
            _ = signals.next() => return Ok(()),
        };
        let pause = match connected {
            Ok(link) => match serve(&options, scheduler, link, &mut signals).await? {
                Told::ToStop => return Ok(()),
                Told::ToGoOn(pause) => {
                    was_connected = true;
                    pause
                }
            },
            Err(error) => {
                if std::mem::take(&mut was_connected) {
                    tracing::warn!(%scheduler, %error, "no scheduler there; trying on");
                }
                PAUSE
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = signals.next() => return Ok(()),
        }
    }
    anyhow::bail!("there is no scheduler to work for: say --scheduler")
}

enum Told {
    ToStop,
    ToGoOn(Duration),
}

async fn serve(
    options: &ExecutorOptions,
    scheduler: &Address,
    mut link: Link,
    signals: &mut Signals,
) -> anyhow::Result<Told> {
    tracing::info!(%scheduler, "connecting");
    let mut session = Session::start(options.clone(), scheduler.clone())?;
    let pause = tokio::select! {
        ended = session.ended() => {
            match ended {
                Ok(()) => tracing::warn!(%scheduler, "the scheduler does not want this executor any more; trying on"),
                Err(error) => tracing::warn!(%scheduler, %error, "cannot work for the scheduler; trying on"),
            }
            LONG_PAUSE
        }
        () = link.lost() => {
            tracing::warn!(%scheduler, "the scheduler is gone; looking for another");
            Duration::ZERO
        }
        _ = signals.next() => {
            finish(scheduler, &mut session, link, signals).await;
            session.end().await;
            return Ok(Told::ToStop);
        }
    };
    session.end().await;
    Ok(Told::ToGoOn(pause))
}

/// Takes no more tasks, and waits until the scheduler wants nothing more of those that it has.
async fn finish(scheduler: &Address, session: &mut Session, mut link: Link, signals: &mut Signals) {
    tracing::info!("stopping: tasks are finished, no more are taken; another signal ends it at once");
    session.stop();
    tokio::select! {
        ended = session.ended() => match ended {
            Ok(()) => tracing::info!("all that was wanted is done"),
            Err(error) => tracing::warn!(%scheduler, %error, "cannot finish"),
        },
        () = link.lost() => tracing::warn!(%scheduler, "the scheduler is gone; its tasks are given up"),
        _ = signals.next() => tracing::warn!("told to stop again: tasks are given up"),
    }
}
