//! Calculation of the number of executors that a backlog needs.
//!
//! [`desired_executors`] depends only on data from the store: not on a clock, on earlier results, or on the number of
//! present executors. Leader and standbys therefore give the same answer, a scheduler that was just started can wake an
//! idle fleet, and unavailable executors do not increase the demand.
//!
//! The goal is a deadline: the backlog is to be finished when the oldest run reaches a given age. With a fixed
//! remaining time instead, recalculated each minute, the backlog would only decrease exponentially and never be
//! finished.

mod arrival;
mod policy;
mod sizes;
mod speed;

pub use arrival::{ARRIVAL_WINDOW, arrival_rate};
pub use policy::{HOLD, Load, Policy, SHORTEST, UTILISATION, desired_executors};
pub use sizes::{FILE_BYTES, Sizes};
pub use speed::{LANES_OF_A_TASK, Measured, START_SLOT_BYTES_PER_SECOND, START_SLOTS, Speed, WEIGHT_SECONDS};
