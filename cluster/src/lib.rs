//! The connection between a scheduler and its executors.
//!
//! An executor dials the scheduler and opens one stream, on which everything travels: tasks one way, their reports the other.
//! A cluster thus has one port to guard, the scheduler's, and both ends prove who they are before a message
//! is decoded ([`Secret`]). Within a process [`in_process`] makes the two ends of a stream without any port.
//!
//! Nothing here knows what a plan or a report holds.

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

/// The longest pause between two signs of life of an executor, 1 s: they carry the progress of its tasks, which people look at.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which either end of a connection takes the other for dead. As long as it takes another scheduler to become the one that runs
/// manifests, so that its executors are free by then.
pub const SILENCE: Duration = Duration::from_secs(8);
/// The largest message: a task's plan names its files, a report has a line for each, and either may have 64 MiB beside what is said of it.
pub const MAX_MESSAGE_BYTES: usize = (64 << 20) + (64 << 10);
/// Patience with an end that lives and dies with this one, though both may stand still for long, such as in a stopped process.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Messages that may wait for an end that does not read. A scheduler gives up an executor beyond that.
const WAITING_MESSAGES: usize = 1024;

/// An end of a stream: a way out and a way in. The stream ends when its end is dropped.
pub struct Link<Out, In> {
    /// The other end, in words: an address, or a place in this process.
    pub peer: String,
    /// Silence after which the other end counts as dead.
    pub patience: Duration,
    /// Messages to the other end.
    pub outbound: mpsc::Sender<Out>,
    /// Messages of the other end, until the connection ends or breaks.
    pub inbound: BoxStream<'static, io::Result<In>>,
}

/// The scheduler's end.
pub type ExecutorLink = Link<ToExecutor, ToScheduler>;
/// The executor's end.
pub type SchedulerLink = Link<ToScheduler, ToExecutor>;

/// Both ends of a stream within this process.
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
