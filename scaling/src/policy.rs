//! From a load to a number.

use crate::speed::{LANES_OF_A_TASK, Speed};
use std::time::Duration;

/// Part of their time that executors should be busy with a steady flow: the rest is for what is uneven in it.
pub const UTILISATION: f64 = 0.8;
/// Time that the oldest run is given at least, however late it is: with less, a backlog that is late would want all executors for
/// a moment.
pub const SHORTEST: Duration = Duration::from_secs(60);
/// Time without anything to do after which no executor is wanted beyond the least: a fleet that has ended needs minutes to come back.
pub const HOLD: Duration = Duration::from_secs(300);

/// Wishes of those who operate a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Executors that are always there.
    pub min_executors: u32,
    /// Executors that there are at most.
    pub max_executors: u32,
    /// Age by which each run should be done.
    pub deadline: Duration,
    /// Time from an executor's being wanted until it works: a node, an image, a start.
    pub start: Duration,
    /// Age of the oldest run until which a fleet that sleeps goes on sleeping, unless there is much to do; zero wakes it at once.
    pub wake_after: Duration,
    /// Runs that are converted at once.
    pub max_concurrent_runs: u32,
    /// Stored input of a task, which is what one executor has of a run.
    pub bytes_per_task: u64,
}

/// Work that there is, as the store tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Runs that are queued, planned or running. Those that are being committed need no executor any more.
    pub runs: u64,
    /// Their stored input. That of a manifest that tells no sizes is 0.
    pub bytes: u64,
    /// Runs among them that are planned or running.
    pub active_runs: u64,
    /// Age of the oldest run of the backlog.
    pub oldest: Duration,
    /// Bytes a second of the runs that come.
    pub arrival: f64,
    /// Time since a run was last queued, planned or running.
    pub idle: Duration,
}

/// The number of executors that this load needs, at this speed.
pub fn desired_executors(policy: &Policy, load: &Load, speed: Speed) -> u32 {
    let least = policy.min_executors.min(policy.max_executors);
    let of_executor = speed.of_executor();
    let flow = (load.arrival.max(0.0) / (of_executor * UTILISATION)).min(f64::from(u32::MAX));
    if load.runs == 0 {
        let holds = policy.wake_after.is_zero() && load.idle < HOLD;
        return if holds { bounded(flow.ceil().max(1.0), policy) } else { least };
    }
    if sleeps(policy, load, of_executor) {
        return least;
    }
    let left = policy.deadline.saturating_sub(policy.start).saturating_sub(load.oldest).max(SHORTEST);
    let backlog = load.bytes as f64 / (of_executor * left.as_secs_f64());
    let wanted = flow.min(useful(policy, load, speed, u64::MAX)) + backlog.min(useful(policy, load, speed, load.runs));
    let most = useful(policy, load, speed, u64::MAX);
    bounded(wanted.min(most).ceil().max(1.0), policy)
}

/// Executors that so many runs can keep busy: each is cut into tasks, and one task is for one executor, or for a part of a large one.
fn useful(policy: &Policy, load: &Load, speed: Speed, runs: u64) -> f64 {
    let at_once = runs.min(u64::from(policy.max_concurrent_runs)) as f64;
    let of_a_run = load.bytes as f64 / load.runs.max(1) as f64;
    let tasks = (of_a_run / policy.bytes_per_task.max(1) as f64).ceil().max(1.0);
    let tasks_of_executor = (speed.slots / LANES_OF_A_TASK).ceil().max(1.0);
    (at_once * tasks / tasks_of_executor).ceil().max(1.0)
}

/// Tells whether a fleet that sleeps can go on sleeping: nothing is being converted, nothing is old, and there is not much.
fn sleeps(policy: &Policy, load: &Load, of_executor: f64) -> bool {
    let much = of_executor * policy.deadline.as_secs_f64() / 2.0;
    load.active_runs == 0 && load.oldest < policy.wake_after && load.bytes as f64 <= much
}

fn bounded(wanted: f64, policy: &Policy) -> u32 {
    // Saturates; it is no NaN, as speeds are positive and loads are numbers.
    (wanted as u32).max(policy.min_executors).min(policy.max_executors)
}

#[cfg(test)]
mod tests;
