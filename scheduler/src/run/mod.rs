//! The life of runs, as a pure state machine: no I/O, no clock, no randomness.
//!
//! [`Machine::step`] takes what happened and the time, and returns what is to be done. The shell (`shell/`) does it and
//! tells what came of it. A simulation drives the machine through thousands of histories with crashes, lost answers and
//! two schedulers.
//!
//! ```text
//!            ┌────────────── retry later (what can pass, within the limit) ──────────────┐
//!            ▼                                                                           │
//! queued ─▶ start ─▶ convert ─▶ commit ─▶ publish ─▶ complete ─▶ completed               │
//!    ▲                  │          │          │                                          │
//!    └──── supersede (what was committed is lost, see `loss`)                            │
//!                       │          │                                                     │
//!                       └──────────┴─▶ discard ──────────────────────────────────────────┴─▶ failed | cancelled
//! ```
//!
//! What is left when the process dies in one of them, and what the next scheduler does with it (see [`Seen`]):
//!
//! | dies in | the store says | the next one |
//! |---|---|---|
//! | start | queued or planning | starts an attempt, or the next one |
//! | convert, commit before its effect, discard | planning or running | starts the next attempt, which removes what this one left |
//! | commit after its effect, publish, complete | committing | publishes what the record names; doing so twice is no error |
//! | supersede | committing or queued | finds the loss again, or starts an attempt at the next generation |
//! | retry later, fail | as before, or queued, or ended | starts the next attempt, or nothing |
//!
//! Two schedulers are never at work on the same attempt: a start shows the lock of the runs, and everything after it
//! the number of the attempt, which only the newest has. One that was away too long learns so from its next write, and
//! ends.

mod active;
mod machine;
mod pauses;
mod words;

pub use machine::{Limits, Machine};
pub use words::{Action, Event, Seen};
