//! The life of runs, as a pure state machine: no I/O, no clock, no randomness.
//!
//! [`Machine::step`] takes an event and the time, and returns actions. The shell (`shell/`) carries them out, and
//! reports their results as events. A simulation drives the machine through thousands of histories with crashes, lost
//! answers and two schedulers.
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
//! Recovery from a crash in each phase, by the next scheduler (see [`Seen`]):
//!
//! | crash in | state in the store | next scheduler |
//! |---|---|---|
//! | start | queued or planning | starts an attempt, or the next one |
//! | convert, commit before its effect, discard | planning or running | starts the next attempt, which removes what this one left |
//! | commit after its effect, publish, complete | committing | publishes the files of the record, which is idempotent |
//! | supersede | committing or queued | finds the loss again, or starts an attempt at the next generation |
//! | retry later, fail | as before, or queued, or ended | starts the next attempt, or nothing |
//!
//! Two schedulers never work on the same attempt: starting one requires the token of the leader lock, and each later
//! write the number of the attempt, which must be the newest. A scheduler that was paused for too long is refused
//! at its next write, and ends.

mod active;
mod machine;
mod pauses;
mod words;

pub use machine::{Limits, Machine};
pub use words::{Action, Event, Seen};
