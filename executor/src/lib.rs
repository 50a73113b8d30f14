//! An executor: runs the tasks that a scheduler sends it, and listens on no port for others to give it work.
//!
//! An executor dials the scheduler and gets tasks, cancellations and its release on the stream that it opened. It holds nothing that
//! matters: what a task has not reported is written again by another. On SIGTERM it takes no more tasks, finishes those it
//! has, and ends when the scheduler has their reports.

mod candidates;
mod follow;
mod memory;
mod program;
mod status;
mod tasks;
mod worker;

pub use follow::{Executor, follow_schedulers};
pub use program::{Program, Retired};
pub use status::{Status, TASK_BUCKETS};
pub use worker::{End, work};
