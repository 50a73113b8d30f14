//! Examples, and properties that hold for every load.

use super::*;
use crate::{Measured, Speed};
use proptest::prelude::*;

const GB: u64 = 1_000_000_000;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn policy() -> Policy {
    Policy {
        min_executors: 0,
        max_executors: 40,
        deadline: minutes(30),
        start: Duration::from_secs(90),
        wake_after: Duration::ZERO,
        max_concurrent_runs: 30,
        bytes_per_task: 400_000_000,
    }
}

/// An executor with 1.2 GB/s.
fn speed() -> Speed {
    Speed::learnt(Measured::default(), 4.0)
}

fn backlog(runs: u64, bytes: u64, age: Duration) -> Load {
    Load { runs, bytes, oldest: age, ..Load::default() }
}

fn desired(load: &Load) -> u32 {
    desired_executors(&policy(), load, speed())
}

#[test]
fn one_queued_run_wakes_a_fleet_of_which_nothing_is_known() {
    assert_eq!(desired(&backlog(1, 700_000_000, Duration::ZERO)), 1);
    assert_eq!(desired(&backlog(1, 0, Duration::ZERO)), 1, "its manifest tells no sizes");
}

#[test]
fn a_month_at_once_gets_what_its_deadline_needs() {
    // 34 TB at 1.2 GB/s in 28.5 minutes.
    assert_eq!(desired(&backlog(48_600, 34_000 * GB, Duration::ZERO)), 17);
    assert_eq!(desired(&backlog(24_300, 17_000 * GB, minutes(14))), 17, "half of it after half of the time");
    assert_eq!(desired(&backlog(48_600, 34_000 * GB, minutes(29))), 40, "too late: all that there can be");
}

#[test]
fn a_steady_flow_gets_its_rate_and_a_reserve() {
    // 1.18 PB a day.
    let load = Load { arrival: 13.7e9, active_runs: 4, ..backlog(4, 2800 * GB, minutes(1)) };
    assert!((15..=17).contains(&desired(&load)), "{}", desired(&load));
}

#[test]
fn runs_that_are_few_or_small_keep_few_executors_busy() {
    let late = |runs, bytes| desired(&backlog(runs, bytes, minutes(100)));
    assert_eq!(late(1, 700_000_000), 1, "0.7 GB is done in a minute");
    assert_eq!(late(1, 3000 * GB), 40, "a run that is large has tasks for all");
    let slow = Speed { slot_bytes_per_second: 10_000.0, slots: 4.0 };
    assert_eq!(desired_executors(&policy(), &backlog(1, 700_000_000, minutes(100)), slow), 2, "it has two tasks");
    let large = Speed { slots: 16.0, ..slow };
    assert_eq!(desired_executors(&policy(), &backlog(8, 5_600_000_000, minutes(100)), large), 4, "four lanes a task");
}

#[test]
fn it_sleeps_after_a_while_without_work() {
    let idle = |seconds| desired(&Load { idle: Duration::from_secs(seconds), ..Load::default() });
    assert_eq!((idle(0), idle(299), idle(300)), (1, 1, 0));
    let least = Policy { min_executors: 2, ..policy() };
    assert_eq!(desired_executors(&least, &Load { idle: HOLD, ..Load::default() }, speed()), 2);
}

#[test]
fn a_fleet_may_sleep_between_batches() {
    let policy = Policy { wake_after: minutes(20), ..policy() };
    let desired = |load| desired_executors(&policy, &load, speed());
    assert_eq!(desired(backlog(10, 7 * GB, minutes(19))), 0);
    assert_eq!(desired(backlog(10, 7 * GB, minutes(20))), 1);
    assert_eq!(desired(backlog(2000, 1400 * GB, minutes(1))), 1, "more than half of what one does in the time");
    assert_eq!(desired(Load { active_runs: 1, ..backlog(10, 7 * GB, minutes(1)) }), 1, "it is awake");
    assert_eq!(desired(Load::default()), 0, "it does not wait for more");
}

/// Simulates a fleet that follows the desired size with the start delay, until a backlog is finished. Returns the time
/// needed.
fn drain(policy: &Policy, mut bytes: f64, runs: u64) -> Duration {
    const STEP: u64 = 5;
    let of_a_run = bytes / runs as f64;
    let (mut now, mut wanted, mut there) = (0_u64, Vec::new(), 0);
    while bytes > 1.0 && now < 86_400 {
        let runs = (bytes / of_a_run).ceil() as u64;
        let load = Load { active_runs: 1, ..backlog(runs, bytes as u64, Duration::from_secs(now)) };
        let desired = desired_executors(policy, &load, speed());
        wanted.push(desired);
        let start = (policy.start.as_secs() / STEP) as usize;
        let started = wanted.len().checked_sub(start + 1).map_or(0, |at| wanted[at]);
        // Superfluous executors leave at once, additional ones arrive after the start time.
        there = started.min(desired.max(there.min(desired)));
        bytes -= f64::from(there) * speed().of_executor() * STEP as f64;
        now += STEP;
    }
    Duration::from_secs(now)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_within_its_bounds_and_awake_with_work(
        runs in 0_u64..1_000_000, bytes in any::<u64>(), active in 0_u64..100, oldest in 0_u64..1_000_000, idle in 0_u64..1000,
        arrival in 0.0..1e15_f64, min in 0_u32..50, max in 0_u32..50, rate in 1e3..1e10_f64, slots in 1.0..200.0_f64,
    ) {
        let policy = Policy { min_executors: min, max_executors: max, ..policy() };
        let load = Load {
            runs, bytes: if runs == 0 { 0 } else { bytes }, active_runs: active.min(runs),
            oldest: Duration::from_secs(oldest), arrival, idle: Duration::from_secs(idle),
        };
        let wanted = desired_executors(&policy, &load, Speed { slot_bytes_per_second: rate, slots });
        prop_assert!(wanted <= max && wanted >= min.min(max), "{wanted}");
        prop_assert!(runs == 0 || max == 0 || wanted >= 1);
    }

    #[test]
    fn more_to_do_never_needs_fewer(
        runs in 1_u64..100_000, bytes in 1_u64..1_000_000 * GB, more in 0_u64..1_000_000 * GB, age in 0_u64..4000, older in 0_u64..4000,
        arrival in 0.0..1e12_f64, faster in 0.0..1e12_f64,
    ) {
        let load = Load { arrival, ..backlog(runs, bytes, Duration::from_secs(age)) };
        let wanted = desired(&load);
        let later = Duration::from_secs(age + older);
        let others = [
            Load { bytes: bytes + more, ..load },
            Load { oldest: later, ..load },
            Load { arrival: arrival + faster, ..load },
        ];
        prop_assert!(others.iter().all(|load| desired(load) >= wanted));
    }
}

/// Executors requested at the last moment arrive after the start time, so that the backlog may be finished later
/// by that time.
#[test]
fn the_deadline_is_met_where_the_fleet_is_large_enough() {
    let policy = policy();
    // Less than nine tenths of what the full fleet can do in the time after the start.
    let most = 0.9 * f64::from(policy.max_executors) * speed().of_executor() * 1710.0;
    let loads = (1_u64..60).filter(|terabytes| *terabytes as f64 * 1e12 < most);
    let took: Vec<_> =
        loads.map(|terabytes| (terabytes, drain(&policy, terabytes as f64 * 1e12, terabytes * 1430))).collect();
    assert!(took.len() > 50, "{took:?}");
    let late: Vec<_> = took.iter().filter(|(_, took)| *took > policy.deadline + policy.start).collect();
    assert!(late.is_empty(), "{late:?}");
}
