//! The life of runs under everything that can happen to it, by the thousand: schedulers that die between any two steps,
//! pause and come back, two at a time; executors that die; answers lost before and after their effect; tasks that
//! outlive their attempt; uploads that somebody removes, before and after the commit that names them; requests to cancel,
//! retry and force at any moment.
//!
//! One seed is one history. The machine and the store (SQLite in memory) are the real ones; uploads, objects, executors and
//! the clock are modelled. A step is one action, one event, or one thing that happens. In the end the faults cease, and all
//! that must hold is checked. `MILLWORK_SEEDS=first..last` replays.

mod actions;
mod checks;
mod events;
mod executors;

use crate::random::{Random, each_seed};
use chrono::{DateTime, Duration, Utc};
use futures::executor::block_on;
use millwork_manifest::{Failure, FailureClass, FileState, Manifest, ManifestId, RunState};
use millwork_scheduler::run::{Action, Event, Limits, Machine, Seen};
use millwork_tracking::{
    AttemptStore, Commit, CommitStore, FileStore, Lock, LockStore, NumberStore, QueuedManifest, Run, RunStore,
    SqliteStore, TrackingError, TrackingResult,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

const LOCK: &str = "LOCK#runs";
const LOCK_TTL_SECONDS: i64 = 8;
const ROUGH_STEPS: usize = 400;
const CALM_STEPS: usize = 20_000;
const SLOTS: usize = 3;

/// An upload: its manifest, attempt, task and number, and whether all of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Upload {
    manifest: usize,
    attempt: u32,
    task: usize,
    number: u64,
}

/// What a commit record says: the number and task of each upload, and which output of the manifest it is.
type Record = (Vec<(u64, usize)>, u32);

/// A task that an executor has.
#[derive(Clone, Debug)]
struct Task {
    manifest: usize,
    attempt: u32,
    task: usize,
    upload: Option<Upload>,
    is_done: bool,
}

/// A conversion that a scheduler waits for.
#[derive(Clone, Debug)]
struct Conversion {
    attempt: u32,
    is_planned: bool,
}

/// A scheduler process.
struct Process {
    machine: Machine,
    lock: Lock,
    mailbox: VecDeque<Event>,
    /// Actions that are going on.
    doing: Vec<Action>,
    conversions: BTreeMap<ManifestId, Conversion>,
    outcomes: BTreeMap<ManifestId, Vec<Upload>>,
    /// What the store has said it took.
    committed: BTreeMap<ManifestId, Commit>,
    paused_until: i64,
}

struct World {
    random: Random,
    is_rough: bool,
    /// In milliseconds.
    clock: i64,
    store: SqliteStore,
    manifests: Vec<Manifest>,
    processes: Vec<Process>,
    tasks: Vec<Task>,
    uploads: BTreeSet<Upload>,
    /// The numbers of uploads that somebody removed.
    vanished: BTreeSet<u64>,
    /// What a sweep has seen: manifests whose runs are over, and after how many attempts.
    over: Vec<(usize, u32)>,
    /// What readers see: manifest, generation and task, and the attempt that wrote it.
    objects: BTreeMap<(usize, u32, usize), u32>,
    numbers: u64,
    /// How many outputs were given up.
    given_up: usize,
    log: Vec<String>,
}

/// What becomes of a request to the store.
enum Asked<T> {
    Answered(TrackingResult<T>),
    Lost,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        let manifests = (0..2 + random.below(4)).map(|n| manifest(n, 1 + random.below(3))).collect();
        Self {
            random,
            is_rough: true,
            clock: 1_700_000_000_000,
            store: SqliteStore::in_memory().unwrap(),
            manifests,
            processes: Vec::new(),
            tasks: Vec::new(),
            uploads: BTreeSet::new(),
            vanished: BTreeSet::new(),
            over: Vec::new(),
            objects: BTreeMap::new(),
            numbers: 0,
            given_up: 0,
            log: Vec::new(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.clock).unwrap()
    }

    fn index(&self, id: &ManifestId) -> usize {
        self.manifests.iter().position(|manifest| manifest.id == *id).unwrap()
    }

    fn run(&self, id: &ManifestId) -> Option<Run> {
        block_on(self.store.run(id)).unwrap()
    }

    /// Asks the store, with the luck of the moment.
    fn ask<T>(&self, request: impl Future<Output = TrackingResult<T>>) -> Asked<T> {
        match self.random.below(100) {
            0..4 if self.is_rough => Asked::Lost,
            4..8 if self.is_rough => {
                let _ = block_on(request);
                Asked::Lost
            }
            _ => Asked::Answered(block_on(request)),
        }
    }

    fn is_unlucky(&self, percent: u64) -> bool {
        self.is_rough && self.random.percent(percent)
    }
}

fn manifest(n: usize, files: usize) -> Manifest {
    let files: Vec<_> = (0..files).map(|f| format!("s3://in/2025-12-23-{n}-{f}.ndjson")).collect();
    let document = json!({"fileLocations": [{"URIPrefixes": files}], "metadata": {"manifest_id": format!("m{n}")}});
    Manifest::parse("m", document.to_string().as_bytes(), DateTime::UNIX_EPOCH).unwrap()
}

#[test]
fn every_run_ends_and_no_row_is_lost_or_doubled() {
    let completed = AtomicUsize::new(0);
    let others = AtomicUsize::new(0);
    let given_up = AtomicUsize::new(0);
    each_seed(0..1000, |seed| {
        let mut world = World::new(seed);
        for _ in 0..ROUGH_STEPS + world.random.below(ROUGH_STEPS) {
            world.step();
        }
        world.finish();
        for (date, totals) in block_on(world.store.date_totals(None, None)).unwrap() {
            let counted = block_on(world.store.recount_totals(date)).unwrap();
            assert_eq!((counted.files, counted.runs), (totals.files, totals.runs), "seed {seed}");
        }
        given_up.fetch_add(world.given_up, Ordering::Relaxed);
        for manifest in &world.manifests {
            let is_completed = world.run(&manifest.id).unwrap().state == RunState::Completed;
            let ends = if is_completed { &completed } else { &others };
            ends.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Neither is all well nor all broken.
    let (completed, others) = (completed.into_inner(), others.into_inner());
    assert!(completed > 0 && (others > 0 || completed < 100), "{completed} completed, {others} did not");
    let given_up = given_up.into_inner();
    assert!(given_up > 0 || completed < 100, "no output was given up");
    println!("{completed} completed, {others} did not, {given_up} outputs were given up");
}

#[test]
fn a_clock_that_is_set_back_delays_nothing() {
    let limits = Limits {
        max_concurrent_runs: SLOTS,
        max_retries: 2,
        run_timeout: Duration::minutes(1),
        max_silent_attempts: 20,
    };
    let mut machine = Machine::new(limits);
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    machine.step(Event::Tick, now);
    machine.step(Event::Due(Vec::new()), now);
    machine.step(Event::Open(Vec::new()), now);
    let wait = machine.wakes_at().unwrap() - now;
    assert!(wait > Duration::zero() && wait <= Duration::seconds(2), "{wait}");
    let set = now - Duration::hours(1);
    machine.shift(set - now);
    assert_eq!(machine.wakes_at(), Some(set + wait));
    let looks = machine.step(Event::Tick, set + wait);
    assert!(matches!(looks[..], [Action::LookForDue(_)]), "{looks:?}");
}

#[test]
fn slots_are_shared_in_order_and_failures_hold_up_nobody() {
    let limits = Limits {
        max_concurrent_runs: SLOTS,
        max_retries: 2,
        run_timeout: Duration::minutes(1),
        max_silent_attempts: 20,
    };
    let mut machine = Machine::new(limits);
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let seen = |n: usize| Seen {
        id: format!("m{n}").parse().unwrap(),
        state: RunState::Queued,
        attempts: 0,
        failures: 0,
        lost_executors: 0,
        silent_attempts: 0,
        cancel_requested: false,
        generation: 1,
    };
    let first = machine.step(Event::Tick, now);
    assert!(matches!(first[..], [Action::LookForDue(_), Action::LookForOpen]));
    let started = machine.step(Event::Due((0..10).map(seen).collect()), now);
    let expected: Vec<Action> = (0..SLOTS).map(|n| Action::Start(seen(n).id)).collect();
    assert_eq!(started, expected);
    // A failure that can pass gives its slot to the next.
    machine.step(Event::Started(seen(0).id, 1), now);
    let storage = Failure::new(FailureClass::Storage, "away");
    machine.step(Event::AttemptFailed(seen(0).id, 1, storage), now);
    let ended = machine.step(Event::Discarded(seen(0).id, 1), now);
    assert!(matches!(&ended[..], [Action::RetryLater(_, 1, _, at)] if *at > now));
    let next = machine.step(Event::Settled(seen(0).id), now);
    assert_eq!(next, [Action::Forget(seen(0).id), Action::Start(seen(3).id)]);
    // One that takes too long is told to stop, and ends for that reason.
    machine.step(Event::Started(seen(1).id, 1), now);
    let late = now + Duration::minutes(2);
    assert!(machine.step(Event::Tick, late).contains(&Action::Abort(seen(1).id, 1)));
    let given_up = Failure::new(FailureClass::Cancelled, "given up");
    machine.step(Event::AttemptFailed(seen(1).id, 1, given_up), late);
    let ended = machine.step(Event::Discarded(seen(1).id, 1), late);
    assert!(matches!(&ended[0], Action::RetryLater(_, 1, failure, _) if failure.class == FailureClass::Timeout));
    // Lost executors and other failures are counted apart.
    let end_of = |machine: &mut Machine, seen: Seen, class: FailureClass| {
        let id = seen.id.clone();
        machine.step(Event::Open(vec![seen]), late);
        machine.step(Event::Started(id.clone(), 7), late);
        machine.step(Event::AttemptFailed(id.clone(), 7, Failure::new(class, "away")), late);
        let ended = machine.step(Event::Discarded(id.clone(), 7), late);
        machine.step(Event::Settled(id), late);
        matches!(ended[0], Action::RetryLater(..))
    };
    let unlucky = |n, failures, lost| Seen { state: RunState::Running, failures, lost_executors: lost, ..seen(n) };
    assert!(end_of(&mut machine, unlucky(30, 5, 5), FailureClass::Storage));
    assert!(end_of(&mut machine, unlucky(31, 3, 2), FailureClass::Storage));
    assert!(!end_of(&mut machine, unlucky(32, 4, 2), FailureClass::Storage));
    assert!(end_of(&mut machine, unlucky(33, 2, 0), FailureClass::LostExecutor));
    assert!(!end_of(&mut machine, unlucky(34, 10, 10), FailureClass::LostExecutor));
    // What kills its scheduler again and again ends.
    let lost = Seen { state: RunState::Running, attempts: 20, silent_attempts: 20, ..seen(20) };
    let ended = machine.step(Event::Open(vec![lost]), late);
    assert!(
        ended.iter().any(|action| matches!(action, Action::Fail(_, 20, failure) if failure.class == FailureClass::Bug))
    );
}
