//! The life of runs under everything that can happen to it, by the thousand: schedulers that die between any two steps,
//! pause and come back, two at a time; executors that die; answers lost before and after their effect; tasks that
//! outlive their attempt; requests to cancel, retry and force at any moment.
//!
//! One seed is one history. The machine and the store (SQLite in memory) are the real ones; uploads, objects, executors and
//! the clock are modelled. A step is one action, one event, or one thing that happens. In the end the faults cease, and all
//! that must hold is checked. `MILLWORK_SEEDS=first..last` replays.

use crate::random::{Random, each_seed};
use chrono::{DateTime, Duration, Utc};
use futures::executor::block_on;
use millwork_manifest::{Failure, FailureClass, FileState, Manifest, ManifestId};
use millwork_scheduler::run::{Action, Event, Limits, Machine, Seen};
use millwork_tracking::{
    Commit, Lock, QueuedManifest, Run, RunState, SqliteStore, TrackingError, TrackingResult, TrackingStore,
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
    /// What a sweep has seen: manifests whose runs are over, and after how many attempts.
    over: Vec<(usize, u32)>,
    /// What readers see: manifest, generation and task, and the attempt that wrote it.
    objects: BTreeMap<(usize, u32, usize), u32>,
    numbers: u64,
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
            over: Vec::new(),
            objects: BTreeMap::new(),
            numbers: 0,
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

    // What happens.

    fn step(&mut self) {
        self.clock += 1 + self.random.below(400) as i64;
        match self.random.below(100) {
            0..35 => self.deliver(),
            35..65 => self.act(),
            65..85 => self.work(),
            85..88 => self.start_process(),
            88..90 => self.renew(),
            90..92 if self.is_rough => self.kill_process(),
            92 if self.is_rough => self.pause_process(),
            93..95 if self.is_rough => self.kill_executor(),
            95..98 if self.is_rough => self.request(),
            98 => self.sweep(),
            _ => self.deliver(),
        }
    }

    fn awake(&self) -> Option<usize> {
        let awake: Vec<usize> =
            (0..self.processes.len()).filter(|n| self.processes[*n].paused_until <= self.clock).collect();
        (!awake.is_empty()).then(|| awake[self.random.below(awake.len())])
    }

    fn start_process(&mut self) {
        let now = self.now();
        let Some(lock) = block_on(self.store.lock(LOCK, "p", Duration::seconds(LOCK_TTL_SECONDS), now)).unwrap() else {
            return;
        };
        let limits = Limits {
            max_concurrent_runs: 1 + self.random.below(3),
            max_retries: 2,
            run_timeout: Duration::seconds(60),
            max_lost_attempts: 50,
        };
        self.note(format!("process {} starts", lock.token));
        self.processes.push(Process {
            machine: Machine::new(limits),
            lock,
            mailbox: VecDeque::new(),
            doing: Vec::new(),
            conversions: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            committed: BTreeMap::new(),
            paused_until: 0,
        });
    }

    fn renew(&mut self) {
        let Some(n) = self.awake() else { return };
        let now = self.now();
        match block_on(self.store.renew(&self.processes[n].lock, Duration::seconds(LOCK_TTL_SECONDS), now)) {
            Ok(lock) => self.processes[n].lock = lock,
            Err(TrackingError::LockLost { .. }) => self.end_process(n),
            Err(error) => panic!("{error}"),
        }
    }

    fn end_process(&mut self, n: usize) {
        let process = self.processes.remove(n);
        self.note(format!("process {} ends", process.lock.token));
        // Its engine is gone, too: the executors may or may not hear of it.
        self.orphan_tasks();
    }

    fn kill_process(&mut self) {
        if !self.processes.is_empty() {
            // It dies in the middle of things, some of which have happened.
            let n = self.random.below(self.processes.len());
            if self.random.percent(50) {
                self.perform_next(n);
            }
            if n < self.processes.len() {
                self.end_process(n);
            }
        }
    }

    fn pause_process(&mut self) {
        if let Some(n) = self.awake() {
            self.processes[n].paused_until = self.clock + 1000 * (1 + self.random.below(40) as i64);
        }
    }

    fn orphan_tasks(&mut self) {
        let random = &self.random;
        self.tasks.retain(|_| random.percent(60));
    }

    fn kill_executor(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let task = self.tasks.remove(self.random.below(self.tasks.len()));
        // The engine gives it to another executor, or gives up.
        if self.random.percent(60) {
            self.tasks.push(Task { upload: None, is_done: false, ..task });
        } else {
            let failure = Failure::new(FailureClass::LostExecutor, "an executor is lost");
            self.fail_conversion(task.manifest, task.attempt, &failure);
        }
    }

    fn fail_conversion(&mut self, manifest: usize, attempt: u32, failure: &Failure) {
        let id = self.manifests[manifest].id.clone();
        for process in &mut self.processes {
            if process.conversions.get(&id).is_some_and(|conversion| conversion.attempt == attempt) {
                process.conversions.remove(&id);
                process.mailbox.push_back(Event::AttemptFailed(id.clone(), attempt, failure.clone()));
            }
        }
    }

    /// Somebody asks for something.
    fn request(&mut self) {
        let n = self.random.below(self.manifests.len());
        let (id, now) = (self.manifests[n].id.clone(), self.now());
        match self.random.below(10) {
            0..6 => {
                let queued = QueuedManifest { manifest: self.manifests[n].clone(), uri: "inline".to_owned() };
                if let Asked::Answered(Ok(_)) = self.ask(self.store.submit(&queued, 0, now)) {
                    self.tell_all(&Event::Queued { is_urgent: false });
                }
            }
            6 => {
                if let Asked::Answered(Ok(state)) = self.ask(self.store.cancel(&id, now)) {
                    self.note(format!("cancel {id}: {state}"));
                    self.tell_all(&Event::Cancel(id));
                }
            }
            7 | 8 => {
                let _ = self.ask(self.store.requeue(&id, now));
            }
            _ => {
                if let Asked::Answered(Ok(())) = self.ask(self.store.force(&id, now)) {
                    self.note(format!("force {id}"));
                }
            }
        }
    }

    fn tell_all(&mut self, event: &Event) {
        for process in &mut self.processes {
            process.mailbox.push_back(event.clone());
        }
    }

    fn deliver(&mut self) {
        let (Some(n), now) = (self.awake(), self.now()) else { return };
        let process = &mut self.processes[n];
        let event = match process.mailbox.len() {
            0 => Event::Tick,
            // Any of them: they come from tasks of their own.
            len => process.mailbox.remove(self.random.below(len)).unwrap(),
        };
        let told = format!("{} hears {event:?}", process.lock.token);
        for action in process.machine.step(event, now) {
            match &action {
                Action::Forget(id) => {
                    process.conversions.remove(id);
                    process.outcomes.remove(id);
                    process.committed.remove(id);
                }
                _ => process.doing.push(action),
            }
        }
        self.note(told);
    }

    // Executors.

    fn work(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let n = self.random.below(self.tasks.len());
        if self.tasks[n].upload.is_none() {
            self.numbers += 1;
            let Task { manifest, attempt, task, .. } = self.tasks[n];
            let upload = Upload { manifest, attempt, task, number: self.numbers };
            self.uploads.insert(upload);
            self.tasks[n].upload = Some(upload);
        } else if !self.tasks[n].is_done {
            self.tasks[n].is_done = true;
            self.end_conversions();
        }
    }

    /// Conversions all of whose tasks are done come to their end.
    fn end_conversions(&mut self) {
        for n in 0..self.processes.len() {
            for (id, conversion) in self.processes[n].conversions.clone() {
                let manifest = self.index(&id);
                let of_it =
                    |task: &&Task| task.manifest == manifest && task.attempt == conversion.attempt && task.is_done;
                let done: BTreeMap<usize, Upload> =
                    self.tasks.iter().filter(of_it).filter_map(|task| Some((task.task, task.upload?))).collect();
                if !conversion.is_planned || done.len() < self.manifests[manifest].files.len() {
                    continue;
                }
                let attempt = conversion.attempt;
                let event = match self.random.below(100) {
                    0..5 if self.is_rough => Event::NeedsReplan(id.clone(), attempt),
                    5..10 if self.is_rough => {
                        let failure = Failure::new(FailureClass::Storage, "storage does not answer");
                        Event::AttemptFailed(id.clone(), attempt, failure)
                    }
                    10..12 => {
                        let failure = Failure::new(FailureClass::Input, "truncated");
                        Event::AttemptFailed(id.clone(), attempt, failure)
                    }
                    _ => Event::Converted(id.clone(), attempt),
                };
                let process = &mut self.processes[n];
                process.conversions.remove(&id);
                process.outcomes.insert(id, done.into_values().collect());
                process.mailbox.push_back(event);
            }
        }
    }

    // Schedulers.

    fn act(&mut self) {
        if let Some(n) = self.awake() {
            self.perform_next(n);
        }
    }

    fn perform_next(&mut self, n: usize) {
        let process = &mut self.processes[n];
        if process.doing.is_empty() {
            return;
        }
        let action = process.doing.remove(self.random.below(process.doing.len()));
        let token = process.lock.token;
        self.note(format!("{token} does {action:?}"));
        match self.perform(n, action) {
            Ok(Some(event)) => self.processes[n].mailbox.push_back(event),
            Ok(None) => {}
            Err(Deposed) => self.end_process(n),
        }
    }

    fn perform(&mut self, n: usize, action: Action) -> Result<Option<Event>, Deposed> {
        let now = self.now();
        Ok(Some(match action {
            Action::LookForDue(limit) => match self.ask(self.store.due(limit, now)) {
                Asked::Answered(runs) => Event::Due(runs.unwrap().iter().map(Seen::from).collect()),
                Asked::Lost => Event::LookFailed,
            },
            Action::LookForOpen => match self.ask(self.store.open_runs()) {
                Asked::Answered(runs) => Event::Open(runs.unwrap().iter().map(Seen::from).collect()),
                Asked::Lost => Event::LookFailed,
            },
            Action::Start(id) => {
                let lock = self.processes[n].lock.clone();
                let asked = self.ask(self.store.start_attempt(&id, &lock, now));
                return answer(&id, asked, |attempt| Event::Started(id.clone(), attempt));
            }
            Action::Convert(id, attempt) => {
                self.begin_conversion(n, &id, attempt);
                Event::Planned(id, attempt)
            }
            Action::SetRunning(id, attempt) => {
                let _ = self.ask(self.store.set_running(&id, attempt, now));
                return Ok(None);
            }
            Action::Abort(id, attempt) => {
                let conversions = &mut self.processes[n].conversions;
                if conversions.get(&id).is_none_or(|conversion| conversion.attempt != attempt) {
                    return Ok(None);
                }
                conversions.remove(&id);
                let manifest = self.index(&id);
                let random = &self.random;
                self.tasks.retain(|task| task.manifest != manifest || task.attempt != attempt || random.percent(30));
                Event::AttemptFailed(id, attempt, Failure::new(FailureClass::Cancelled, "given up"))
            }
            Action::Commit(id, attempt) => {
                let uploads = self.processes[n].outcomes[&id].iter().map(|upload| upload.number).collect::<Vec<_>>();
                let generation = self.run(&id).unwrap().generation;
                let record = json!({"uploads": uploads, "generation": generation}).to_string();
                let commit = Commit { manifest_id: id.clone(), attempt, record };
                let asked = self.ask(self.store.commit(&commit, &json!({"rows": 1}), now));
                if matches!(asked, Asked::Answered(Ok(true))) {
                    self.processes[n].committed.insert(id.clone(), commit);
                }
                return answer(&id, asked, |won| match won {
                    true => Event::Committed(id.clone(), attempt),
                    false => Event::Refused(id.clone(), Failure::new(FailureClass::Bug, "another has won")),
                });
            }
            Action::Publish(id) => return Ok(Some(self.publish(n, id))),
            Action::Complete(id) => {
                return answer(&id, self.ask(self.store.complete(&id, now)), |()| Event::Settled(id.clone()));
            }
            Action::Discard(id, attempt) => {
                let manifest = self.index(&id);
                if !self.is_unlucky(10) {
                    self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt != attempt);
                }
                Event::Discarded(id, attempt)
            }
            Action::RetryLater(id, attempt, failure, not_before) => {
                let asked = self.ask(self.store.retry_later(&id, attempt, &failure, not_before, now));
                return answer(&id, asked, |queued| match queued {
                    true => Event::Settled(id.clone()),
                    false => Event::Refused(id.clone(), failure.clone()),
                });
            }
            Action::Fail(id, attempt, failure) => {
                let asked = self.ask(self.store.fail(&id, attempt, &failure, now));
                return answer(&id, asked, |()| Event::Settled(id.clone()));
            }
            Action::Inspect(id) => {
                let asked = self.ask(self.store.run(&id));
                return answer(&id, asked, |run| Event::Found(id.clone(), run.as_ref().map(Seen::from)));
            }
            Action::Forget(_) => return Ok(None),
        }))
    }

    fn begin_conversion(&mut self, n: usize, id: &ManifestId, attempt: u32) {
        let manifest = self.index(id);
        // What is left of earlier attempts goes.
        self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt >= attempt);
        for task in 0..self.manifests[manifest].files.len() {
            self.tasks.push(Task { manifest, attempt, task, upload: None, is_done: false });
        }
        let conversion = Conversion { attempt, is_planned: true };
        self.processes[n].conversions.insert(id.clone(), conversion);
    }

    fn publish(&mut self, n: usize, id: ManifestId) -> Event {
        let failed = |id| Event::PublishFailed(id, Failure::new(FailureClass::Storage, "storage does not answer"));
        let commit = match self.processes[n].committed.get(&id) {
            Some(commit) => Some(commit.clone()),
            None => match self.ask(self.store.unpublished(&id)) {
                Asked::Answered(commit) => commit.unwrap(),
                Asked::Lost => return failed(id),
            },
        };
        let Some(commit) = commit else { return Event::Published(id) };
        let manifest = self.index(&id);
        let record: serde_json::Value = serde_json::from_str(&commit.record).unwrap();
        let generation = u32::try_from(record["generation"].as_u64().unwrap()).unwrap();
        // The output it takes the place of goes first.
        self.objects.retain(|(of, number, _), _| *of != manifest || *number >= generation);
        for number in record["uploads"].as_array().unwrap() {
            if self.is_unlucky(5) {
                return failed(id);
            }
            let upload = self.uploads.iter().find(|upload| Some(upload.number) == number.as_u64()).copied();
            match upload {
                Some(upload) => {
                    self.uploads.remove(&upload);
                    let before = self.objects.insert((manifest, generation, upload.task), upload.attempt);
                    self.check(before.is_none(), &format!("{id}: task {} is published twice", upload.task));
                }
                None => {
                    let is_there = self.objects.iter().any(|((of, number, _), attempt)| {
                        (*of, *number, *attempt) == (manifest, generation, commit.attempt)
                    });
                    let run = self.run(&id).unwrap();
                    // One that comes late, after a newer output has taken the place of this one, finds nothing.
                    let is_late = run.generation > generation;
                    self.check(is_there || is_late, &format!("{id}: a committed upload is gone"));
                }
            }
        }
        self.check_published(&id, manifest);
        if !self.is_unlucky(10) {
            self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt > commit.attempt);
        }
        Event::Published(id)
    }

    /// Removes what the sweep before saw as over, some time ago, then looks again.
    fn sweep(&mut self) {
        for (manifest, attempts) in std::mem::take(&mut self.over) {
            self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt > attempts);
        }
        let Some(n) = self.awake() else { return };
        for manifest in 0..self.manifests.len() {
            let id = self.manifests[manifest].id.clone();
            let over = self.run(&id).filter(|run| run.state.is_final() && !self.processes[n].machine.has(&id));
            self.over.extend(over.map(|run| (manifest, run.attempts)));
        }
    }

    // What must hold.

    fn check(&self, holds: bool, what: &str) {
        if !holds {
            let log = self.log.iter().rev().take(120).rev().cloned().collect::<Vec<_>>().join("\n");
            panic!("{what}; what happened last:\n{log}");
        }
    }

    fn check_published(&self, id: &ManifestId, manifest: usize) {
        let seen: BTreeSet<(u32, u32)> =
            self.objects.iter().filter(|((of, ..), _)| *of == manifest).map(|((_, g, _), a)| (*g, *a)).collect();
        self.check(seen.len() <= 1, &format!("{id}: readers see rows of several attempts: {seen:?}"));
        let state = self.run(id).unwrap().state;
        let is_committed = matches!(state, RunState::Committing | RunState::Completed);
        let is_replaced = self.run(id).unwrap().generation > 1;
        self.check(seen.is_empty() || is_committed || is_replaced, &format!("{id} is {state}, but published"));
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{} {what}", self.clock));
    }

    /// Takes everything to its end, without further faults, and checks it.
    fn finish(&mut self) {
        self.is_rough = false;
        for manifest in self.manifests.clone() {
            let queued = QueuedManifest { manifest, uri: "inline".to_owned() };
            let _ = block_on(self.store.submit(&queued, 0, self.now()));
        }
        let is_over = |world: &Self| {
            world.manifests.iter().all(|manifest| world.run(&manifest.id).is_some_and(|run| run.state.is_final()))
        };
        let mut steps = 0;
        // Asking is slow.
        while steps % 32 != 0 || !is_over(self) || self.processes.iter().any(|process| !process.machine.is_idle()) {
            self.step();
            steps += 1;
            self.check(steps < CALM_STEPS, "not all runs end");
        }
        // Tasks that outlive their attempts come to their end, then the sweep.
        while self.tasks.iter().any(|task| !task.is_done) {
            self.work();
            self.tasks.retain(|task| !task.is_done);
        }
        while !self.uploads.is_empty() {
            self.start_process();
            self.sweep();
            self.clock += 1000;
            steps += 1;
            self.check(steps < CALM_STEPS, &format!("uploads are left: {:?}", self.uploads));
        }
        for (n, manifest) in self.manifests.iter().enumerate() {
            self.check_end(n, manifest);
        }
    }

    fn check_end(&self, n: usize, manifest: &Manifest) {
        let (id, run) = (&manifest.id, self.run(&manifest.id).unwrap());
        let seen: Vec<usize> = self.objects.keys().filter(|(of, ..)| *of == n).map(|(.., task)| *task).collect();
        let uris: Vec<_> = manifest.files.iter().map(|file| file.uri.clone()).collect();
        let files = block_on(self.store.files(&uris)).unwrap();
        let all_are = |state: FileState| files.iter().all(|file| file.as_ref().is_some_and(|file| file.state == state));
        match run.state {
            RunState::Completed => {
                let expected: Vec<usize> = (0..manifest.files.len()).collect();
                self.check(seen == expected, &format!("{id} is completed, but readers see {seen:?}"));
                self.check(all_are(FileState::Completed), &format!("{id} is completed, but not its files"));
                self.check(run.result.is_some(), &format!("{id} is completed without a result"));
            }
            state => {
                self.check(seen.is_empty(), &format!("{id} is {state}, but readers see {seen:?}"));
                self.check(all_are(FileState::Failed), &format!("{id} is {state}, but not its files"));
                self.check(run.failure.is_some(), &format!("{id} is {state} for no reason"));
            }
        }
        self.check_published(id, n);
    }
}

/// The process has lost the lock of the runs.
struct Deposed;

fn answer<T>(id: &ManifestId, asked: Asked<T>, event: impl FnOnce(T) -> Event) -> Result<Option<Event>, Deposed> {
    Ok(Some(match asked {
        Asked::Lost => Event::Unanswered(id.clone()),
        Asked::Answered(Ok(value)) => event(value),
        Asked::Answered(Err(TrackingError::LockLost { .. })) => return Err(Deposed),
        Asked::Answered(Err(error @ (TrackingError::Conflict { .. } | TrackingError::Taken { .. }))) => {
            Event::Refused(id.clone(), Failure::new(FailureClass::Input, error))
        }
        Asked::Answered(Err(error)) => panic!("{error}"),
    }))
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
    each_seed(0..1000, |seed| {
        let mut world = World::new(seed);
        for _ in 0..ROUGH_STEPS + world.random.below(ROUGH_STEPS) {
            world.step();
        }
        world.finish();
        for manifest in &world.manifests {
            let is_completed = world.run(&manifest.id).unwrap().state == RunState::Completed;
            let ends = if is_completed { &completed } else { &others };
            ends.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Neither is all well nor all broken.
    let (completed, others) = (completed.into_inner(), others.into_inner());
    assert!(completed > 0 && (others > 0 || completed < 100), "{completed} completed, {others} did not");
}

#[test]
fn slots_are_shared_in_order_and_failures_hold_up_nobody() {
    let limits =
        Limits { max_concurrent_runs: SLOTS, max_retries: 2, run_timeout: Duration::minutes(1), max_lost_attempts: 20 };
    let mut machine = Machine::new(limits);
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let seen = |n: usize| Seen {
        id: format!("m{n}").parse().unwrap(),
        state: RunState::Queued,
        attempts: 0,
        failures: 0,
        cancel_requested: false,
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
    // What kills its scheduler again and again ends.
    let lost = Seen { state: RunState::Running, attempts: 20, ..seen(20) };
    let ended = machine.step(Event::Open(vec![lost]), late);
    assert!(
        ended.iter().any(|action| matches!(action, Action::Fail(_, 20, failure) if failure.class == FailureClass::Bug))
    );
}
