//! Messages about objects, from SQS.
//!
//! ```text
//! receive ─▶ handle, a batch at a time ─┬─ done ──▶ delete
//!    ▲                                  ├─ bad ───▶ dead-letter queue, with the reason ─▶ delete
//!    └──────── hidden for a while ◀─────┴─ retry
//! ```
//!
//! [`Consumer`] receives, and keeps what a [`Handler`] works on hidden from others. A message is deleted only after the
//! handler has said that what it says is durable, or after it is in the dead-letter queue; dying at any point brings it
//! back. So a handler must take the same message twice without harm.
//!
//! [`decode`] reads what a message says of objects. It does no I/O.

mod bad;
mod consumer;
mod dead_letters;
mod depth;
mod event;
mod letters;
mod look;
mod message;
mod words;

pub use bad::{BadMessage, BadReason};
pub use consumer::{Consumer, ConsumerOptions, Handler, Verdict};
pub use dead_letters::DeadLetters;
pub use depth::Depth;
pub use event::{Decoded, EventKind, ObjectEvent, decode};
pub use letters::{Letter, Letters, is_full};
pub use look::{QueueDepth, depth};
pub use message::Message;
