//! Messages about objects from SQS.
//!
//! ```text
//! receive ─▶ handle, a batch at a time ─┬─ done ──▶ delete
//!    ▲                                  ├─ bad ───▶ dead-letter queue, with the reason ─▶ delete
//!    └──────── hidden for a while ◀─────┴─ retry
//! ```
//!
//! [`Consumer`] receives messages, and keeps them hidden from others while a [`Handler`] works on them. A message is
//! deleted only after its effect is durable, or after it was sent to the dead-letter queue; after a crash it is
//! delivered again. Handlers must therefore be idempotent.
//!
//! [`decode`] extracts the object events of a message, without I/O.

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
