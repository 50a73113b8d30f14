//! Policies: how many executors there should be, by what can be seen.

use crate::fleet::Seen;
use crate::loads::Scenario;
use millwork_scaling::{Load, Policy, Speed, arrival_rate, desired_executors};
use std::time::Duration;

/// Part of their time that a horizontal autoscaler wants processors to be busy.
const CPU_TARGET: f64 = 0.7;
/// Queued manifests for each executor, where their number decides.
const DEPTH: f64 = 5.0;

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A fleet of one size.
    Fixed(u32),
    /// By how busy processors are.
    Cpu,
    /// By the number of manifests that wait.
    Depth,
    /// The backlog within the deadline from now on, made anew each time.
    Drain,
    /// The product's own.
    Millwork(Policy),
    /// Not Millwork at all.
    Glue,
}

#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) kind: Kind,
    max: u32,
    deadline: f64,
}

pub(crate) fn of(scenario: &Scenario) -> Vec<Choice> {
    let deadline = Duration::from_secs(60 * scenario.deadline_minutes);
    let policy = Policy {
        min_executors: 0,
        max_executors: scenario.max,
        deadline,
        start: Duration::from_secs(90),
        wake_after: Duration::from_secs(60 * scenario.wake_minutes),
        max_concurrent_runs: 30,
        bytes_per_task: 400_000_000,
    };
    let kinds = [Kind::Fixed(scenario.fixed), Kind::Cpu, Kind::Depth, Kind::Drain, Kind::Millwork(policy), Kind::Glue];
    kinds.map(|kind| Choice { kind, max: scenario.max, deadline: deadline.as_secs_f64() }).to_vec()
}

impl Choice {
    pub(crate) fn name(&self) -> String {
        match self.kind {
            Kind::Fixed(n) => format!("fixed {n}"),
            Kind::Cpu => "HPA on CPU".to_owned(),
            Kind::Depth => "KEDA on depth".to_owned(),
            Kind::Drain => "naive drain".to_owned(),
            Kind::Millwork(_) => "millwork".to_owned(),
            Kind::Glue => "Glue 20x30".to_owned(),
        }
    }

    pub(crate) fn glue(&self) -> bool {
        matches!(self.kind, Kind::Glue)
    }

    /// Executors that are wanted.
    pub(crate) fn wanted(&self, seen: &Seen<'_>) -> u32 {
        let speed = Speed::learnt(seen.measured, 4.0);
        let wanted = match &self.kind {
            Kind::Fixed(n) => return *n,
            Kind::Cpu => (f64::from(seen.executors) * seen.busy / CPU_TARGET).ceil().max(1.0),
            Kind::Depth => (seen.runs as f64 / DEPTH).ceil(),
            Kind::Drain => (seen.bytes / (speed.of_executor() * self.deadline)).ceil(),
            Kind::Millwork(policy) => {
                let queued =
                    seen.lately.iter().map(|(at, bytes)| (Duration::from_secs_f64(seen.now - at), *bytes as u64));
                let load = Load {
                    runs: seen.runs,
                    bytes: seen.bytes as u64,
                    active_runs: seen.active,
                    oldest: Duration::from_secs_f64(seen.oldest),
                    arrival: arrival_rate(queued),
                    idle: Duration::from_secs_f64(seen.idle),
                };
                f64::from(desired_executors(policy, &load, speed))
            }
            Kind::Glue => 0.0,
        };
        (wanted as u32).min(self.max)
    }
}
