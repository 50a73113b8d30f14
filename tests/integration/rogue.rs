//! An executor that has the secret and lies: nothing of what it reports is believed, and nothing of others is touched.

use crate::fleet::{Fleet, World};
use crate::place::{Place, wait_until};
use futures::StreamExt;
use millwork_cluster::messages::{
    Alive, Ended, FromExecutor, FromScheduler, Nothing, Outcome, PROTOCOL, Register, Task, TaskKey, ToScheduler,
};
use millwork_cluster::{Access, Address, SchedulerLink, Secret, connect};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Name of a private file as a task's first output has it.
const OUTPUT: &str = "00000-67e55044-10b1-426f-9247-bb680e5fe0c8.part";
/// Time that a scheduler has to send a task, or to close a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// An executor of this user's, in the hands of the test.
struct Rogue {
    runtime: Runtime,
    link: SchedulerLink,
}

impl Rogue {
    fn connect(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address: Address = address.parse().unwrap();
        let access = Access::new(Secret::of_this_user().unwrap(), None).unwrap();
        // The port opens a moment after the scheduler answers.
        let mut link = None;
        wait_until("the scheduler takes executors in", || {
            link = runtime.block_on(async { connect(&address, &access).await }).ok();
            link.is_some()
        });
        Self { runtime, link: link.unwrap() }
    }

    fn joined(fleet: &Fleet<'_>) -> Self {
        let rogue = Self::connect(&fleet.executors_address(0));
        rogue.register("rogue", 1);
        fleet.wait_until("the rogue is there", || fleet.connected(0) == 1);
        rogue
    }

    fn register(&self, name: &str, slots: u32) {
        let version = "0.0.0".to_owned();
        self.send(FromExecutor::Register(Register {
            name: name.to_owned(),
            slots,
            protocol: PROTOCOL,
            version,
            plan: millwork_scheduler::plan_format(),
            ..Register::default()
        }));
    }

    fn send(&self, content: FromExecutor) {
        // Fails when the scheduler has closed the connection, which its other direction tells.
        let _ = self.runtime.block_on(async { self.link.outbound.send(ToScheduler::from(content)).await });
    }

    /// The next task, with signs of life until it comes.
    fn task(&mut self) -> Task {
        loop {
            self.send(Alive::default().into());
            let next = self.runtime.block_on(async { timeout(PATIENCE, self.link.inbound.next()).await });
            let Ok(Some(Ok(message))) = next else { panic!("no task came in time") };
            if let Some(FromScheduler::Launch(task)) = message.content {
                return task;
            }
        }
    }

    /// Tells whether the scheduler has closed the connection, or lets the executor go, and with which words.
    fn dismissed(&mut self) -> String {
        loop {
            let next = self.runtime.block_on(async { timeout(PATIENCE, self.link.inbound.next()).await });
            match next.unwrap_or_else(|_| panic!("the connection stays open")) {
                None => return String::new(),
                Some(Err(error)) => return error.to_string(),
                Some(Ok(message)) => {
                    if let Some(FromScheduler::Release(release)) = message.content {
                        return release.reason;
                    }
                }
            }
        }
    }

    fn end(&self, key: Option<TaskKey>, outcome: Option<Outcome>) {
        self.send(FromExecutor::Ended(Ended { key, started_at_ms: 1, ended_at_ms: 2, outcome, counts: None }));
    }
}

/// A file of somebody else's, which is as it was.
struct Victim {
    path: PathBuf,
    inode: u64,
}

impl Victim {
    fn new(place: &Place) -> Self {
        let path = place.path("victim");
        std::fs::write(&path, "PAR1 of somebody else PAR1").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        Self { path, inode }
    }

    fn assert_untouched(&self) {
        let metadata = std::fs::symlink_metadata(&self.path).unwrap();
        assert_eq!((metadata.ino(), metadata.nlink()), (self.inode, 1), "it was replaced, or has another name");
        assert_eq!(std::fs::read_to_string(&self.path).unwrap(), "PAR1 of somebody else PAR1");
    }
}

/// The directory of the only attempt that goes on.
fn attempt_directory(place: &Place, manifest: &str) -> PathBuf {
    let attempts = place.path("out/_millwork/staging").join(manifest);
    let entries = std::fs::read_dir(&attempts).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).max().unwrap_or(attempts)
}

/// A report as an honest task of one file with two lines of 16 bytes has it, but for its output.
fn report() -> Value {
    json!({"executor": "rogue", "first": [0, 0], "parts": [], "rejects": [], "ledger": [ledger()], "given_rows": 2,
        "first_seen": [{"file": 0, "offset": 1}], "late_keys": [], "new_keys": [], "failure": null})
}

fn ledger() -> Value {
    json!({"file": 0, "start": 0, "end": 16, "lines": 2, "rows": 2, "rejected": 0, "blank": 0, "replaced_characters": 0})
}

fn with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut report = report();
    change(&mut report);
    report.to_string().into_bytes()
}

fn part(name: &str, size_bytes: u64) -> Value {
    json!([{"file": {"name": name, "size_bytes": size_bytes}, "rows": 2, "row_groups": 1}])
}

/// Lies, by name: what the report says, and what is put into the attempt's directory before.
fn lies(victim: &Path) -> Vec<(&'static str, Vec<u8>, Option<PathBuf>)> {
    let outside = victim.display().to_string();
    let none = |name, bytes| (name, bytes, None);
    vec![
        none("no-json", b"\xff\x00{".to_vec()),
        none("empty", Vec::new()),
        none("deep", "[".repeat(1 << 20).into_bytes()),
        none("unknown-field", with(|r| r["trust_me"] = json!(true))),
        none("absolute", with(|r| r["parts"] = part(&outside, 26))),
        none("upwards", with(|r| r["parts"] = part("../../../../victim", 26))),
        none("absent", with(|r| r["parts"] = part(OUTPUT, 26))),
        ("linked", with(|r| r["parts"] = part(OUTPUT, 26)), Some(victim.to_owned())),
        none("no-output", with(|_| {})),
        none(
            "no-lines",
            with(|r| {
                r["ledger"][0]["lines"] = json!(0);
                r["ledger"][0]["rows"] = json!(0);
                r["given_rows"] = json!(0);
            }),
        ),
        none(
            "all-blank",
            with(|r| {
                r["ledger"][0]["rows"] = json!(0);
                r["ledger"][0]["blank"] = json!(2);
                r["given_rows"] = json!(0);
            }),
        ),
        none(
            "all-rejected",
            with(|r| {
                r["ledger"][0]["rows"] = json!(0);
                r["ledger"][0]["rejected"] = json!(2);
                r["given_rows"] = json!(0);
            }),
        ),
        none("no-ledger", with(|r| r["ledger"] = json!([]))),
        none("half", with(|r| r["ledger"][0]["end"] = json!(8))),
        none("twice", with(|r| r["ledger"] = json!([ledger(), ledger()]))),
        none("of-no-file", with(|r| r["ledger"][0]["file"] = json!(u32::MAX))),
        none("huge-counts", with(|r| r["ledger"][0]["lines"] = json!(u64::MAX))),
        none("of-another-task", with(|r| r["first"] = json!([0, 8]))),
        none("of-no-task", with(|r| r["first"] = Value::Null)),
        none("many-columns", with(|r| r["first_seen"] = json!(vec![Value::Null; 20_001]))),
        none(
            "names-another-file",
            with(|r| {
                r["failure"] = json!({"class": "input", "message": "x".repeat(1 << 20), "file": outside});
            }),
        ),
    ]
}

#[test]
fn lies_of_an_executor_are_found_and_touch_nothing() {
    let world = World::local();
    let victim = Victim::new(&world.place);
    let options = [vec!["--max-retries".to_owned(), "0".to_owned()], Vec::new()];
    let mut fleet = Fleet::start_with(&world, 1, 0, options);
    let mut rogue = Rogue::joined(&fleet);
    let mut documents = Vec::new();
    for (n, (name, bytes, link)) in lies(&victim.path).into_iter().enumerate() {
        let uri = world.input(&format!("2025-12-01-{n}.ndjson"), b"{\"a\":1}\n{\"a\":2}\n".to_vec());
        let document = world.manifest(name, &[uri]);
        assert_eq!(fleet.submit(0, &document).0, 202, "{name}");
        let task = rogue.task();
        if let Some(target) = link {
            std::os::unix::fs::symlink(target, attempt_directory(&world.place, name).join(OUTPUT)).unwrap();
        }
        rogue.end(task.key.clone(), Some(Outcome::Report(bytes.clone())));
        // A second report of one task counts for nothing.
        rogue.end(task.key, Some(Outcome::Report(report().to_string().into_bytes())));
        let run = || fleet.get(0, &format!("runs/{name}"));
        fleet.wait_until("the run has ended", || matches!(run()["state"].as_str(), Some("completed" | "failed")));
        let run = run();
        assert_eq!(run["state"], "failed", "{name}: {run}");
        let message = run["failure"]["message"].as_str().unwrap();
        assert!(message.len() <= 5 << 10, "{name}: a message of {} bytes", message.len());
        assert_ne!(run["failure"]["file"].as_str(), victim.path.to_str(), "{name}");
        victim.assert_untouched();
        assert!(world.place.parquet_files().iter().all(|file| file.starts_with("_millwork/")), "{name}");
        documents.push(document);
    }
    drop(rogue);
    // An honest one does them all.
    fleet.wait_until("the rogue is gone", || fleet.connected(0) == 0);
    let honest = fleet.executor(0);
    fleet.executors.push(honest);
    fleet.wait_until("an executor is there", || fleet.connected(0) == 1);
    for document in &documents {
        let id = document["metadata"]["manifest_id"].as_str().unwrap();
        assert_eq!(fleet.post(0, &format!("runs/{id}/retry")), 202, "{id}");
    }
    let load = crate::fleet::Load { documents };
    fleet.wait_until("all runs are completed", || {
        fleet.runs(0).iter().filter(|run| run["state"] == "completed").count() == load.documents.len()
    });
    fleet.check(0, &load);
    victim.assert_untouched();
}

#[test]
fn who_reports_tasks_that_it_does_not_have_changes_nothing() {
    let world = World::local();
    let mut fleet = Fleet::start(&world, 1, 1);
    let honest = fleet.executors.remove(0);
    let load = world.load(4);
    // All its tasks are forged by another, before and while the honest one works.
    let rogue = Rogue::connect(&fleet.executors_address(0));
    rogue.register("rogue", 1024);
    fleet.wait_until("the rogue is there", || fleet.connected(0) == 2);
    // It takes no task of its own.
    rogue.send(FromExecutor::Draining(Nothing {}));
    fleet.wait_until("the rogue is let go", || fleet.connected(0) == 1);
    let mut rogue = Rogue::connect(&fleet.executors_address(0));
    rogue.register("executor-0", 1);
    for task in 0..1000 {
        let key = TaskKey { job: "00000000-0000-0000-0000-000000000000".to_owned(), stage: 1, stage_attempt: 0, task };
        rogue.end(Some(key), Some(Outcome::Report(report().to_string().into_bytes())));
    }
    rogue.end(None, None);
    rogue.register("again", 1);
    let words = rogue.dismissed();
    assert!(words.is_empty() || words.contains("out of place"), "{words}");
    fleet.submit_all(0, &load);
    fleet.wait_until("all runs are completed", || fleet.are_completed(0, &load));
    fleet.check(0, &load);
    drop(honest);
}

#[test]
fn an_executor_that_reads_plans_of_another_version_is_refused_before_it_has_a_task() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 0);
    let mut rogue = Rogue::connect(&fleet.executors_address(0));
    let plan = "millwork-plan-1 of DataFusion 1.0.0".to_owned();
    let register = Register { name: "old".to_owned(), slots: 1, protocol: PROTOCOL, plan, ..Register::default() };
    rogue.send(FromExecutor::Register(register));
    let reason = rogue.dismissed();
    assert!(reason.contains("millwork-plan-1") && reason.contains(&millwork_scheduler::plan_format()), "{reason}");
    assert_eq!(fleet.connected(0), 0);
}

#[test]
fn registrations_out_of_bounds_are_refused_with_the_bound() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 0);
    for (name, slots, words) in [
        ("a", 0, "1 to 1024"),
        ("a", 1025, "1 to 1024"),
        ("a", u32::MAX, "1 to 1024"),
        ("", 1, "1 to 200 characters"),
        ("\u{1b}[2J", 1, "control character"),
        ("x\u{202e}y", 1, "not seen"),
        (&"x".repeat(201), 1, "1 to 200 characters"),
    ] {
        let mut rogue = Rogue::connect(&fleet.executors_address(0));
        rogue.register(name, slots);
        let reason = rogue.dismissed();
        assert!(reason.contains(words), "{name:?} {slots}: {reason}");
    }
    let mut rogue = Rogue::connect(&fleet.executors_address(0));
    rogue.end(None, None);
    assert!(rogue.dismissed().contains("does not say who it is"));
    assert_eq!(fleet.connected(0), 0);
}

#[test]
fn a_sign_of_life_without_bounds_is_the_last_and_costs_no_other() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 1);
    let load = world.load(2);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", fleet.schedulers[0].as_ref().unwrap().0.id()));
        let peak = status.unwrap().lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned)).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    let before = memory();
    // As a list of empty messages it would take gigabytes.
    let huge = prost::bytes::Bytes::from([0x0a, 0].repeat(30 << 20));
    for _ in 0..3 {
        let mut rogue = Rogue::connect(&fleet.executors_address(0));
        rogue.register("rogue", 1);
        rogue.send(FromExecutor::Alive(huge.clone()));
        // The scheduler closes the connection.
        rogue.dismissed();
    }
    let after = memory();
    assert!(after < before + 600, "{before} MiB, then {after} MiB");
    fleet.submit_all(0, &load);
    fleet.wait_until("all runs are completed", || fleet.are_completed(0, &load));
    fleet.check(0, &load);
}

#[test]
fn who_comes_and_goes_without_end_costs_no_other() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 1);
    let load = world.load(2);
    for number in 0..300 {
        let rogue = Rogue::connect(&fleet.executors_address(0));
        rogue.register(&format!("rogue-{number}"), 1024);
    }
    fleet.wait_until("all of them are gone", || fleet.connected(0) == 1);
    fleet.submit_all(0, &load);
    fleet.wait_until("all runs are completed", || fleet.are_completed(0, &load));
    fleet.check(0, &load);
}
