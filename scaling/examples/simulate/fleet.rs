//! A fleet in steps of five seconds: executors of four slots that come 90 seconds after they are wanted, as a horizontal autoscaler
//! with KEDA has them come and go.

use crate::loads::Scenario;
use crate::policies::{Choice, Kind};
use millwork_scaling::Measured;
use std::collections::VecDeque;

const STEP: f64 = 5.0;
/// Time between two samples for the picture.
pub(crate) const SAMPLE: f64 = 30.0;
const SLOTS: f64 = 4.0;
/// Bytes a second that a slot really does: a fifth less than the product takes for granted before it has learnt.
const SLOT_RATE: f64 = 240e6;
const EXECUTOR_RATE: f64 = SLOTS * SLOT_RATE;
/// Time from wanted to working, and time that a machine is paid for after its executor has gone.
const START: f64 = 90.0;
const LINGER: f64 = 60.0;
/// Price of a machine of four processors an hour, as an assumption.
const DOLLARS_PER_HOUR: f64 = 0.145;
/// Runs at once, and the input of a task, of which an executor has one at a time.
const RUNS: usize = 30;
const TASK: f64 = 4e8;
/// An autoscaler looks so often; waits so long before it takes executors away, at most half of them in so long; and takes the last one
/// away after so long without work.
const LOOK: f64 = 15.0;
const STABILISE: f64 = 300.0;
const HALVE: f64 = 120.0;
const COOL_DOWN: f64 = 300.0;

pub(crate) struct Sample {
    pub(crate) at: f64,
    pub(crate) backlog: f64,
    pub(crate) executors: u32,
    pub(crate) wanted: u32,
    pub(crate) oldest: f64,
    pub(crate) cost: f64,
}

pub(crate) struct Outcome {
    pub(crate) done: f64,
    pub(crate) cost: f64,
    pub(crate) peak: u32,
    pub(crate) p95: f64,
    pub(crate) max: f64,
    pub(crate) late: f64,
    pub(crate) changes: u32,
    pub(crate) samples: Vec<Sample>,
}

/// Facts that a policy can see.
pub(crate) struct Seen<'a> {
    pub(crate) now: f64,
    pub(crate) runs: u64,
    pub(crate) active: u64,
    pub(crate) bytes: f64,
    pub(crate) oldest: f64,
    pub(crate) idle: f64,
    pub(crate) executors: u32,
    /// Part of their time that they were busy.
    pub(crate) busy: f64,
    pub(crate) measured: Measured,
    /// Runs that came lately.
    pub(crate) lately: &'a VecDeque<(f64, f64)>,
}

struct Run {
    came: f64,
    bytes: f64,
    left: f64,
}

#[derive(Default)]
pub(crate) struct Fleet {
    now: f64,
    queue: VecDeque<Run>,
    lately: VecDeque<(f64, f64)>,
    /// Time from which each executor works.
    ready: Vec<f64>,
    lingering: Vec<f64>,
    wishes: VecDeque<(f64, u32)>,
    halved: f64,
    last_work: f64,
    busy: f64,
    measured: Measured,
    hours: f64,
    peak: u32,
    changes: u32,
    latencies: Vec<f64>,
    is_lost: bool,
}

impl Fleet {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self { latencies: Vec::with_capacity(scenario.arrivals.len()), last_work: f64::NEG_INFINITY, ..Self::default() }
    }

    pub(crate) fn run(mut self, scenario: &Scenario, policy: Choice) -> Outcome {
        let (mut next, mut samples) = (0, Vec::new());
        let deadline = scenario.deadline_minutes as f64 * 60.0;
        if let Kind::Fixed(n) = policy.kind {
            self.ready = vec![0.0; n as usize];
        }
        while self.now < scenario.seconds {
            while let Some(&(at, bytes)) = scenario.arrivals.get(next).filter(|(at, _)| *at <= self.now) {
                self.queue.push_back(Run { came: at, bytes, left: bytes });
                self.lately.push_back((at, bytes));
                next += 1;
            }
            while self.lately.front().is_some_and(|(at, _)| self.now - at > 600.0) {
                self.lately.pop_front();
            }
            self.lose(scenario);
            if (self.now / LOOK).fract() < 1e-9 && !matches!(policy.kind, Kind::Fixed(_)) {
                self.scale(&policy, scenario.max);
            }
            self.work();
            self.pay();
            if (self.now / SAMPLE).fract() < 1e-9 {
                let backlog = self.queue.iter().map(|run| run.left).sum();
                let oldest = self.queue.front().map_or(0.0, |run| self.now - run.came);
                let (executors, wanted) = (self.working(), self.ready.len() as u32);
                samples.push(Sample {
                    at: self.now,
                    backlog,
                    executors,
                    wanted,
                    oldest,
                    cost: self.hours * DOLLARS_PER_HOUR,
                });
            }
            self.now += STEP;
        }
        let total: f64 = scenario.arrivals.iter().map(|(_, bytes)| bytes).sum();
        let came: f64 = scenario.arrivals[..next].iter().map(|(_, bytes)| bytes).sum();
        let left: f64 = self.queue.iter().map(|run| run.left).sum();
        // Those that are not done yet are at least as old as they are now.
        self.latencies.extend(self.queue.iter().map(|run| self.now - run.came));
        self.latencies.sort_by(f64::total_cmp);
        let late = self.latencies.iter().filter(|latency| **latency > deadline).count();
        Outcome {
            done: (came - left) / total,
            cost: self.hours * DOLLARS_PER_HOUR,
            peak: self.peak,
            p95: quantile(&self.latencies, 0.95),
            max: self.latencies.last().copied().unwrap_or_default(),
            late: late as f64 / self.latencies.len().max(1) as f64,
            changes: self.changes,
            samples,
        }
    }

    fn working(&self) -> u32 {
        self.ready.iter().filter(|at| **at <= self.now).count() as u32
    }

    /// Half of the executors are gone, with what they were at; others are started in their place.
    fn lose(&mut self, scenario: &Scenario) {
        if self.is_lost || scenario.lose_at.is_none_or(|at| self.now < at) {
            return;
        }
        self.is_lost = true;
        let now = self.now;
        let lost = self.working() as usize / 2;
        let mut again = lost as f64 * TASK / 2.0;
        self.ready.iter_mut().filter(|at| **at <= now).take(lost).for_each(|at| *at = now + START);
        for run in self.queue.iter_mut().take(RUNS) {
            let back = (run.bytes - run.left).min(again);
            run.left += back;
            again -= back;
        }
    }

    /// Executors come at once, and go as a horizontal autoscaler lets them go.
    fn scale(&mut self, policy: &Choice, max: u32) {
        let active = self.queue.iter().take(RUNS).filter(|run| run.left < run.bytes).count() as u64;
        let bytes = self.queue.iter().map(|run| run.left).sum();
        let oldest = self.queue.front().map_or(0.0, |run| self.now - run.came);
        if !self.queue.is_empty() {
            self.last_work = self.now;
        }
        let seen = Seen {
            now: self.now,
            runs: self.queue.len() as u64,
            active,
            bytes,
            oldest,
            idle: (self.now - self.last_work).min(1e9),
            executors: self.working(),
            busy: self.busy,
            measured: self.measured,
            lately: &self.lately,
        };
        let wanted = policy.wanted(&seen).min(max);
        self.wishes.push_back((self.now, wanted));
        while self.wishes.front().is_some_and(|(at, _)| self.now - at > STABILISE) {
            self.wishes.pop_front();
        }
        let there = self.ready.len() as u32;
        let most_lately = self.wishes.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        let sleeps = wanted == 0 && self.wishes.iter().all(|(at, wanted)| *wanted == 0 || self.now - at > COOL_DOWN);
        let target = match wanted.cmp(&there) {
            std::cmp::Ordering::Greater => wanted,
            _ if sleeps => 0,
            _ if most_lately >= there || self.now - self.halved < HALVE => there,
            _ => most_lately.max(there.div_ceil(2)).max(1),
        };
        if target == there {
            return;
        }
        self.changes += 1;
        if target > there {
            self.ready.extend((there..target).map(|_| self.now + START));
            return;
        }
        self.halved = self.now;
        // Those that are still starting go first.
        self.ready.sort_by(f64::total_cmp);
        self.ready.truncate(target as usize);
        self.lingering.extend((target..there).map(|_| self.now + LINGER));
    }

    fn work(&mut self) {
        let executors = f64::from(self.working());
        let can = executors * EXECUTOR_RATE * STEP;
        let mut left = can;
        for run in self.queue.iter_mut().take(RUNS) {
            let tasks = (run.bytes / TASK).ceil();
            let done = run.left.min(left).min(tasks * EXECUTOR_RATE * STEP);
            run.left -= done;
            left -= done;
        }
        // Runs of less than a step's work make room for others within it.
        while left > 0.0 && self.queue.front().is_some_and(|run| run.left <= 0.0) {
            self.finish();
            let Some(run) = self.queue.iter_mut().take(RUNS).find(|run| run.left > 0.0) else { continue };
            let done = run.left.min(left);
            run.left -= done;
            left -= done;
        }
        while self.queue.front().is_some_and(|run| run.left <= 0.0) {
            self.finish();
        }
        let done = can - left;
        self.busy = if can > 0.0 { done / can } else { 0.0 };
        self.measured.bytes += done;
        self.measured.slot_seconds += done / SLOT_RATE;
        self.measured.executor_seconds += done / EXECUTOR_RATE;
    }

    fn finish(&mut self) {
        if let Some(run) = self.queue.pop_front() {
            self.latencies.push(self.now + STEP - run.came);
        }
    }

    fn pay(&mut self) {
        let now = self.now;
        self.lingering.retain(|until| *until > now);
        self.peak = self.peak.max(self.ready.len() as u32);
        self.hours += (self.ready.len() + self.lingering.len()) as f64 * STEP / 3600.0;
    }
}

/// A value of sorted ones.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
