//! Scaling policy: from a load to a number of executors.

use crate::speed::{LANES_OF_A_TASK, Speed};
use std::time::Duration;

/// Target utilisation of executors under steady load: the rest absorbs variations.
pub const UTILISATION: f64 = 0.8;
/// Least time that the oldest run is given, however late it is: otherwise a late backlog would demand all executors for
/// a moment.
pub const SHORTEST: Duration = Duration::from_secs(60);
/// Idle time after which only the least number of executors is wanted: a fleet that was stopped needs minutes to start
/// again.
pub const HOLD: Duration = Duration::from_secs(300);

/// Settings of a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Least number of executors.
    pub min_executors: u32,
    /// Largest number of executors.
    pub max_executors: u32,
    /// Age at which each run should be finished.
    pub deadline: Duration,
    /// Time between requesting an executor and its first work: node, image and process start.
    pub start: Duration,
    /// Age of the oldest run up to which an idle fleet stays idle, unless the backlog is large; zero to start at once.
    pub wake_after: Duration,
    /// Limit of concurrent runs.
    pub max_concurrent_runs: u32,
    /// Stored input per task, the share of a run that one executor gets.
    pub bytes_per_task: u64,
}

/// Load, from the store.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Number of queued, planning and running runs. Runs in commit need no executor any more.
    pub runs: u64,
    /// Stored input bytes of these runs; 0 for a manifest without sizes.
    pub bytes: u64,
    /// Number of planning and running runs among them.
    pub active_runs: u64,
    /// Age of the oldest of these runs.
    pub oldest: Duration,
    /// Arrival rate of new runs, in bytes per second.
    pub arrival: f64,
    /// Time since there was last a queued, planning or running run.
    pub idle: Duration,
}

/// Number of executors that this load needs at this speed.
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

/// Number of executors that this many runs can keep busy: each run is cut into tasks, and a task uses one executor, or
/// a part of a large one.
fn useful(policy: &Policy, load: &Load, speed: Speed, runs: u64) -> f64 {
    let at_once = runs.min(u64::from(policy.max_concurrent_runs)) as f64;
    let of_a_run = load.bytes as f64 / load.runs.max(1) as f64;
    let tasks = (of_a_run / policy.bytes_per_task.max(1) as f64).ceil().max(1.0);
    let tasks_of_executor = (speed.slots / LANES_OF_A_TASK).ceil().max(1.0);
    (at_once * tasks / tasks_of_executor).ceil().max(1.0)
}

/// Tells whether an idle fleet can stay idle: nothing is being converted, nothing is old, and the backlog is small.
fn sleeps(policy: &Policy, load: &Load, of_executor: f64) -> bool {
    let much = of_executor * policy.deadline.as_secs_f64() / 2.0;
    load.active_runs == 0 && load.oldest < policy.wake_after && load.bytes as f64 <= much
}

fn bounded(wanted: f64, policy: &Policy) -> u32 {
    // The cast saturates; NaN is impossible, since speeds are positive and loads finite.
    (wanted as u32).max(policy.min_executors).min(policy.max_executors)
}

#[cfg(test)]
mod tests;
