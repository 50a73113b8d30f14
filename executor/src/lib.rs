//! Executor: runs the tasks that a scheduler sends it. Has no port on which it accepts work.
//!
//! An executor connects to the scheduler, and receives tasks, cancellations and its dismissal on that stream. It has no
//! durable state: an unreported task is simply repeated by another executor. On SIGTERM it accepts no more tasks,
//! finishes its own, and ends once the scheduler has their reports.

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
