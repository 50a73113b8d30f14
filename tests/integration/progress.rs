//! Progress of real runs, in bytes: it never falls, is never whole before the commit, and agrees with the ledger in the end.

use crate::chaos::long_file;
use crate::cluster::{Cluster, manifest};
use crate::fleet::{Fleet, World};
use crate::place::{Done, Place, wait_until};
use serde_json::Value;

/// What is seen of a run until it has ended.
fn watch(cluster: &Cluster<'_>, id: &str, mut each: impl FnMut(&Value)) -> Value {
    let mut run = Value::Null;
    wait_until("the run has ended", || {
        run = cluster.get(&format!("runs/{id}"));
        each(&run);
        matches!(run["state"].as_str(), Some("completed" | "failed" | "cancelled"))
    });
    run
}

/// Checks that nothing of the progress of an attempt falls, and that it is not whole before the commit.
#[derive(Default)]
struct Watch {
    attempt: u64,
    last: [u64; 4],
    seen: u64,
}

impl Watch {
    fn see(&mut self, run: &Value) {
        let progress = &run["progress"];
        let Some(attempt) = progress["attempt"].as_u64() else { return };
        let number = |name: &str| progress[name].as_u64().unwrap_or_else(|| panic!("no {name}: {progress}"));
        let now = ["read_bytes", "rows", "rejected", "written_bytes"].map(number);
        if attempt == self.attempt {
            let fell = self.last.iter().zip(&now).any(|(before, now)| now < before);
            assert!(!fell, "{:?} became {now:?}: {progress}", self.last);
        }
        (self.attempt, self.last) = (attempt, now);
        assert!(now[0] <= number("bytes"), "{progress}");
        let is_committed = progress["phase"]["name"] == "publish";
        assert!(is_committed || number("percent") <= 99, "{progress}");
        self.seen += u64::from(now[0] > 0);
    }
}

fn sum(list: &Value, name: &str) -> u64 {
    list.as_array().unwrap().iter().map(|item| item[name].as_u64().unwrap()).sum()
}

#[test]
fn progress_grows_with_the_bytes_and_ends_as_the_ledger_says() {
    let place = Place::new();
    place.generate(&["--files", "32", "--size-mb", "6", "--dirty", "0.5"]);
    let mut cluster = Cluster::start(&place, "out", 1, &["--target-file-mb", "12"]);
    cluster.start_executor();
    manifest(&place, "m", "2025-12-23");
    let document: Value = serde_json::from_slice(&std::fs::read(place.path("m.json")).unwrap()).unwrap();
    assert_eq!(cluster.post("manifests", &document).0, 202);
    let (mut progress, mut has_tasks) = (Watch::default(), false);
    let run = watch(&cluster, "m", |run| {
        progress.see(run);
        for task in run["progress"]["stages"][0]["tasks"].as_array().into_iter().flatten() {
            let number = |name: &str| task[name].as_u64().unwrap();
            assert!(number("read_bytes") <= number("input_bytes"), "{task}");
            has_tasks |= number("read_bytes") > 0;
        }
    });
    assert!(progress.seen > 0 && has_tasks, "nothing was seen of a run that takes seconds");
    let result = &run["result"];
    let ledger = cluster.get("runs/m/ledger?limit=100");
    assert_eq!(sum(&result["tasks"], "input_bytes"), sum(&ledger["items"], "size_bytes"));
    assert_eq!(sum(&result["tasks"], "rows"), sum(&ledger["items"], "rows"));
    assert_eq!(sum(&result["tasks"], "rejected"), sum(&ledger["items"], "rejected"));
    assert_eq!(sum(&result["tasks"], "parts"), result["outputs"].as_array().unwrap().len() as u64);
    assert!(
        result["cpu_seconds"].as_f64().unwrap() > 0.0 && sum(&result["tasks"], "peak_memory_bytes") > 1 << 20,
        "{result}"
    );
    let work = &run["history"][0]["work"];
    assert_eq!(work["read_bytes"], result["input_bytes"]);
    let steps: Vec<&str> =
        work["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["survey", "plan", "convert", "check", "commit"]);
    let listed = &cluster.get("runs")["items"][0];
    assert_eq!(
        (&listed["summary"]["rows"], &listed["summary"]["outputs"]),
        (&result["rows"], &result["outputs"].as_array().unwrap().len().into())
    );
    costs_are_reckoned_from_what_was_counted(&cluster, result);
}

fn costs_are_reckoned_from_what_was_counted(cluster: &Cluster<'_>, result: &Value) {
    let cost = cluster.get("runs/m/cost");
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{cost}"));
    let by_hand = number(&result["cpu_seconds"]) / 3600.0 * number(&cost["prices"]["vcpu_hour"]);
    assert!((number(&cost["cost"]["compute"]) - by_hand).abs() < 1e-12, "{cost}");
    // 20 workers of 2 DPU for 7 minutes.
    assert!((number(&cost["cost"]["glue"]) - 40.0 * 7.0 / 60.0 * 0.44).abs() < 1e-9, "{cost}");
    // The command, with a price file of one's own.
    let prices = "vcpu_hour = 7.2\ns3_write_1000 = 5\ns3_read_1000 = 3\nglue_dpu_hour = 1\nglue_dpu = 2\nglue_minutes_a_manifest = 30\n";
    let file = cluster.output().parent().unwrap().join("prices.toml");
    std::fs::write(&file, prices).unwrap();
    let done = Done::of(cluster.client(&["cost", "m", "--json", "--prices", file.to_str().unwrap()]).output().unwrap());
    let told = done.json();
    let by_hand = number(&result["cpu_seconds"]) / 500.0;
    assert!((number(&told["cost"]["compute"]) - by_hand).abs() < 1e-9 && told["cost"]["glue"] == 1.0, "{told}");
    let requests = (number(&told["used"]["writes"]) * 5.0 + number(&told["used"]["reads"]) * 3.0) / 1000.0;
    assert!((number(&told["cost"]["total"]) - by_hand - requests).abs() < 1e-9, "{told}");
    let all = cluster.get("cost?from=2025-12-23&to=2025-12-23");
    assert_eq!(all["items"][0]["used"], cost["used"], "{all}");
}

/// Compressed input in a bucket: bytes are those that are stored, whatever is lost, begun anew or cancelled.
#[test]
fn progress_of_compressed_files_in_a_bucket_holds_through_losses_and_a_cancellation() {
    let world = World::cloud();
    let mut fleet = Fleet::start(&world, 1, 2);
    let (rows, content) = long_file();
    let submit = |fleet: &Fleet, id: &str| {
        let uri = world.input(&format!("2025-12-23-{id}.ndjson.gz"), content.clone());
        assert_eq!(fleet.submit(0, &world.manifest(id, &[uri])).0, 202);
    };
    submit(&fleet, "m1");
    let mut progress = Watch::default();
    let see = |fleet: &Fleet, progress: &mut Watch, id: &str| {
        let run = fleet.get(0, &format!("runs/{id}"));
        progress.see(&run);
        run
    };
    fleet.wait_until("something is read", || {
        see(&fleet, &mut progress, "m1");
        progress.seen > 0
    });
    let (victim, _) = fleet.tasks("m1")[0];
    fleet.replace_executor(victim);
    let mut run = Value::Null;
    fleet.wait_until("the run has ended", || {
        run = see(&fleet, &mut progress, "m1");
        matches!(run["state"].as_str(), Some("completed" | "failed"))
    });
    assert_eq!((&run["state"], &run["result"]["rows"]), (&"completed".into(), &rows.into()), "{run}");
    let ledger = fleet.get(0, "runs/m1/ledger?limit=100");
    assert_eq!(sum(&ledger["items"], "size_bytes"), content.len() as u64);
    assert_eq!(run["history"][0]["work"]["read_bytes"], content.len() as u64);
    assert_eq!(run["result"]["input_bytes"], content.len() as u64);
    // A run that is cancelled is never whole, and has no progress in the end.
    submit(&fleet, "m2");
    let mut progress = Watch::default();
    fleet.wait_until("something is read", || {
        see(&fleet, &mut progress, "m2");
        progress.seen > 0
    });
    assert_eq!(fleet.post(0, "runs/m2/cancel") / 100, 2);
    fleet.wait_until("the run is cancelled", || {
        run = see(&fleet, &mut progress, "m2");
        run["state"] == "cancelled"
    });
    assert!(run["progress"].is_null(), "{run}");
}

#[test]
fn progress_does_not_fall_when_an_executor_is_lost_and_its_tasks_begin_anew() {
    let place = Place::new();
    place.generate(&["--files", "40", "--size-mb", "6"]);
    let mut cluster = Cluster::start(&place, "out", 2, &["--target-file-mb", "8"]);
    manifest(&place, "m", "2025-12-23");
    let document: Value = serde_json::from_slice(&std::fs::read(place.path("m.json")).unwrap()).unwrap();
    assert_eq!(cluster.post("manifests", &document).0, 202);
    let (mut progress, mut is_killed) = (Watch::default(), false);
    wait_until("something is read", || {
        progress.see(&cluster.get("runs/m"));
        progress.seen > 0
    });
    let mut victim = Some(cluster.take_executor());
    let run = watch(&cluster, "m", |run| {
        progress.see(run);
        if let Some(executor) = victim.take() {
            crate::place::signal(&executor, "KILL");
            is_killed = true;
        }
    });
    assert!(is_killed && run["state"] == "completed", "{run}");
    let executors = cluster.get("executors");
    assert!(executors["gone"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{executors}");
    let left = &executors["items"][0];
    assert!(left["memory_bytes"].as_u64().unwrap() > 0 && left["finished_tasks"].as_u64().unwrap() > 0, "{executors}");
    place.assert_tidy();
}
