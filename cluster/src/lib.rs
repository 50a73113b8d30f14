//! Connection between a scheduler and its executors.
//!
//! An executor connects to the scheduler and opens one stream for all messages: tasks in one direction, their reports
//! in the other. A cluster thus has only one port to protect, the scheduler's, and both sides authenticate before a
//! message is decoded ([`Secret`]). Within a process, [`in_process`] creates both ends of a stream without a port.
//!
//! The contents of plans and reports are opaque to this crate.

mod access;
mod address;
mod client;
mod door;
mod guard;
pub mod messages;
mod secret;
mod service;

pub use access::{Access, DoorAccess, TlsFiles, TlsMode};
pub use address::Address;
pub use client::{connect, connect_at};
pub use door::{Door, listen};
pub use millwork_net::Identity;
pub use secret::{Secret, SecretError};

use futures::StreamExt;
use futures::stream::BoxStream;
use messages::{ToExecutor, ToScheduler};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Interval of an executor's keep-alive messages, 1 s: they carry the progress of its tasks, which is shown live.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which either side considers the other dead. Equal to the time in which another scheduler becomes the
/// leader, so that executors are free for it by then.
pub const SILENCE: Duration = Duration::from_secs(8);
/// Limit of a message: 64 MiB for a task's plan, which names its files, or a report, and 64 KiB for the rest of the
/// message.
pub const MAX_MESSAGE_BYTES: usize = (64 << 20) + (64 << 10);
/// Silence limit for an end in the same process, in effect none, since both ends can be suspended for long, as in a
/// stopped process.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Limit of the messages queued for an end that does not read. Beyond it, a scheduler gives up the executor.
const WAITING_MESSAGES: usize = 1024;

/// End of a stream, with a channel in each direction. The stream ends when it is dropped.
pub struct Link<Out, In> {
    /// Description of the other end: an address, or a place in this process.
    pub peer: String,
    /// Silence after which the other end counts as dead.
    pub patience: Duration,
    /// Messages to the other end.
    pub outbound: mpsc::Sender<Out>,
    /// Messages from the other end, until the connection ends or fails.
    pub inbound: BoxStream<'static, io::Result<In>>,
}

/// Scheduler's end of a stream.
pub type ExecutorLink = Link<ToExecutor, ToScheduler>;
/// Executor's end of a stream.
pub type SchedulerLink = Link<ToScheduler, ToExecutor>;

/// Creates both ends of a stream within this process.
pub fn in_process() -> (ExecutorLink, SchedulerLink) {
    let (to_executor, from_scheduler) = mpsc::channel(WAITING_MESSAGES);
    let (to_scheduler, from_executor) = mpsc::channel(WAITING_MESSAGES);
    let peer = "this process".to_owned();
    let executor = Link {
        peer: peer.clone(),
        patience: FOR_EVER,
        outbound: to_executor,
        inbound: ReceiverStream::new(from_executor).map(Ok).boxed(),
    };
    let scheduler = Link {
        peer,
        patience: FOR_EVER,
        outbound: to_scheduler,
        inbound: ReceiverStream::new(from_scheduler).map(Ok).boxed(),
    };
    (executor, scheduler)
}
