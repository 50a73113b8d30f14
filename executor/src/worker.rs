//! Session of an executor with one scheduler.

use crate::memory;
use crate::tasks::Tasks;
use futures::StreamExt;
use millwork_cluster::messages::{Alive, Ended, FromExecutor, FromScheduler, Nothing, PROTOCOL, Register, ToScheduler};
use millwork_cluster::{ALIVE_INTERVAL, SchedulerLink};
use millwork_conversion::TaskHost;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};

/// Reason for the end of a session.
#[derive(Debug)]
pub enum End {
    /// The scheduler dismissed the executor, for this reason.
    Released(String),
    /// The connection failed, for this reason.
    Broken(String),
    /// The scheduler was silent for this time.
    Silent(Duration),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released(reason) => write!(f, "released: {reason}"),
            Self::Broken(reason) => write!(f, "the connection broke: {reason}"),
            Self::Silent(time) => write!(f, "no sign of life for {} seconds", time.as_secs()),
        }
    }
}

/// Works for a scheduler until it dismisses the executor or is lost. Once `stop` is ready, accepts no more tasks and
/// finishes its own. Each session needs a host of its own, since threads of the previous one may still be running.
pub async fn work(link: SchedulerLink, host: Arc<TaskHost>, stop: impl Future<Output = ()>) -> std::io::Result<End> {
    let SchedulerLink { outbound, inbound, patience, .. } = link;
    let (ended, ends) = mpsc::channel(host.threads());
    let tasks = Tasks::new(host.clone(), ended)?;
    let register = Register {
        name: host.name().to_owned(),
        slots: u32::try_from(host.threads()).unwrap_or(u32::MAX),
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        memory_limit_bytes: memory::limit_bytes().unwrap_or(0),
        machine: fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| String::new(), |name| name.trim().to_owned()),
        plan: millwork_conversion::plan_format(),
    };
    let mut session = Session { outbound, patience, tasks };
    let end = session.serve(register, inbound, ends, stop).await;
    session.tasks.end().await;
    Ok(end)
}

struct Session {
    outbound: mpsc::Sender<ToScheduler>,
    patience: Duration,
    tasks: Tasks,
}

impl Session {
    async fn serve(
        &mut self,
        register: Register,
        mut inbound: impl futures::Stream<Item = std::io::Result<millwork_cluster::messages::ToExecutor>> + Unpin,
        mut ends: mpsc::Receiver<Ended>,
        stop: impl Future<Output = ()>,
    ) -> End {
        self.send(FromExecutor::Register(register)).await;
        let mut alive = interval(ALIVE_INTERVAL);
        let mut heard = Instant::now();
        let mut is_stopping = false;
        tokio::pin!(stop);
        loop {
            tokio::select! {
                message = inbound.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message)) => {
                            if let Some(end) = message.content.and_then(|content| self.take(content)) {
                                return end;
                            }
                        }
                        Some(Err(error)) => return End::Broken(error.to_string()),
                        None => return End::Broken("the scheduler closed it".to_owned()),
                    }
                }
                Some(ended) = ends.recv() => {
                    if ended.key.as_ref().is_some_and(|key| self.tasks.forget(key)) {
                        self.send(FromExecutor::Ended(ended)).await;
                    }
                }
                // A full queue is ignored: the scheduler then has other messages to read, which serve as keep-alives as
                // well.
                _ = alive.tick() => drop(self.outbound.try_send(FromExecutor::from(self.news()).into())),
                () = &mut stop, if !is_stopping => {
                    is_stopping = true;
                    self.send(FromExecutor::Draining(Nothing {})).await;
                }
                () = sleep_until(heard + self.patience) => return End::Silent(self.patience),
            }
        }
    }

    /// Handles a message from the scheduler. Returns the end of the session, if the message ends it.
    fn take(&mut self, content: FromScheduler) -> Option<End> {
        match content {
            FromScheduler::Alive(_) => {}
            FromScheduler::Launch(task) => self.tasks.start(task),
            FromScheduler::Cancel(key) => self.tasks.cancel(&key),
            FromScheduler::Release(release) => return Some(End::Released(release.reason)),
        }
        None
    }

    /// Keep-alive with the current progress.
    fn news(&self) -> Alive {
        let memory_bytes = memory::used_bytes().unwrap_or(0);
        Alive { tasks: self.tasks.progress(memory_bytes), memory_bytes }
    }

    async fn send(&self, content: FromExecutor) {
        // Fails when the connection is lost, which the receiving direction reports.
        let _ = self.outbound.send(content.into()).await;
    }
}
