//! The number of executors that a backlog needs.
//!
//! [`desired_executors`] is a function of what the store tells and of nothing else: no clock, no memory, no count of the executors that
//! are there. So a scheduler that leads and one that stands by give the same answer, one that was started just now wakes a fleet that
//! sleeps, and executors that cannot be had do not make it ask for more.
//!
//! The plan is for a deadline, not for a time constant: what is unfinished is to be done when the oldest run gets as old as the deadline. A
//! plan of "the backlog by so much time from now", made anew each minute, never arrives, since it gets slower as it gets along.

mod arrival;
mod policy;
mod sizes;
mod speed;

pub use arrival::{ARRIVAL_WINDOW, arrival_rate};
pub use policy::{HOLD, Load, Policy, SHORTEST, UTILISATION, desired_executors};
pub use sizes::{FILE_BYTES, Sizes};
pub use speed::{LANES_OF_A_TASK, Measured, START_SLOT_BYTES_PER_SECOND, START_SLOTS, Speed, WEIGHT_SECONDS};
