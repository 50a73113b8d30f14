//! Manifests that come by themselves: from the events of their bucket, and from a directory that is watched.

use crate::aws::{bootstrap, download, environment};
use crate::cluster::{Cluster, manifest};
use crate::place::{Done, Place, binary, wait_until};
use crate::queues::{Queues, message};
use crate::servers::Aws;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const BUCKET: &str = "acme-manifests";

/// Input of six dates, of which each has a manifest of this name below the place.
fn generate(place: &Place) -> Vec<String> {
    place.generate(&["--files", "6", "--size-mb", "0.3", "--dates", "6", "--date", "2025-12-20", "--dirty", "0.5"]);
    (20..26).map(|day| manifest(place, &format!("m{day}"), &format!("2025-12-{day}"))).collect()
}

/// A manifest of these input files, which may be of any date.
fn document(place: &Place, id: &str, files: &[&str]) -> String {
    let uris: Vec<_> = files.iter().map(|name| place.path("in").join(name)).collect();
    json!({"fileLocations": [{"URIPrefixes": uris}], "metadata": {"manifest_id": id}}).to_string()
}

fn state(cluster: &Cluster, id: &str) -> Value {
    cluster.get(&format!("runs/{id}"))["state"].clone()
}

fn wait_until_completed(cluster: &Cluster, names: &[String]) {
    for name in names {
        wait_until("a run is completed", || state(cluster, name.trim_end_matches(".json")) == "completed");
    }
}

fn attempts(cluster: &Cluster) -> BTreeMap<String, Value> {
    let runs = cluster.get("runs")["items"].as_array().unwrap().clone();
    let of = |run: &Value| (run["manifest_id"].as_str().unwrap().to_owned(), run["attempts"].clone());
    runs.iter().map(of).collect()
}

/// Asks the oracle whether the output is what these manifests say: every row once.
fn check_output(place: &Place, manifests: &[std::path::PathBuf]) {
    let arguments: Vec<&str> = manifests.iter().flat_map(|path| ["--manifest", path.to_str().unwrap()]).collect();
    place.ask_oracle(&arguments);
    place.assert_tidy();
}

/// A bucket whose events go to a queue.
struct Bucket {
    runtime: Runtime,
    s3: aws_sdk_s3::Client,
    queues: Queues,
}

impl Bucket {
    fn create(aws: &Aws) -> Self {
        assert_eq!(bootstrap(aws, &[]).code, Some(0));
        let url = environment(&bootstrap(aws, &["--json"]))["MANIFEST_QUEUE_URL"].clone();
        let runtime = Runtime::new().unwrap();
        let (s3, client) = runtime.block_on(async { (aws.s3().await, aws.sqs().await) });
        let dead_letters = format!("{url}-dead-letters");
        Self { runtime, s3, queues: Queues { client, url, dead_letters } }
    }

    /// The options of a scheduler that reads its manifests.
    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let queue = ["--manifest-queue-url", &self.queues.url, "--poll-seconds", "1"];
        [&queue[..], &["--manifest-places", "s3://acme-manifests/manifests/"], more].concat()
    }

    fn put(&self, name: &str, content: &[u8]) {
        let request =
            self.s3.put_object().bucket(BUCKET).key(format!("manifests/{name}")).body(content.to_vec().into());
        self.runtime.block_on(request.send()).unwrap();
    }

    fn put_file(&self, place: &Place, name: &str) {
        self.put(name, &std::fs::read(place.path(name)).unwrap());
    }

    fn delete(&self, name: &str) {
        let request = self.s3.delete_object().bucket(BUCKET).key(format!("manifests/{name}"));
        self.runtime.block_on(request.send()).unwrap();
    }

    /// Tells once more of an object, in each of the three shapes.
    fn tell_again(&self, name: &str) {
        let bodies: Vec<String> = (0..3).map(|shape| message(BUCKET, &format!("manifests/{name}"), 1, shape)).collect();
        self.runtime.block_on(self.queues.send(&bodies));
    }

    fn wait_until_empty(&self) {
        wait_until("the queue is empty", || self.runtime.block_on(self.queues.counts(&self.queues.url)) == (0, 0));
    }
}

#[test]
fn a_bucket_of_manifests_is_run_once_whatever_is_killed_doubled_or_bad() {
    let (aws, place) = (Aws::start(), Place::new());
    let bucket = Bucket::create(&aws);
    let names = generate(&place);
    let options = bucket.options(&["--visibility-timeout-seconds", "2"]);
    let mut cluster = Cluster::start_in(&aws.environment(), &place, "out", 1, &options);
    bucket.put_file(&place, &names[0]);
    bucket.put_file(&place, &names[1]);
    bucket.tell_again(&names[0]);
    wait_until("a manifest is submitted", || state(&cluster, "m20").is_string());
    // What is bad stands between what is good.
    let (first, other) = ("2025-12-20-x.ndjson", "2025-12-21-x.ndjson");
    bucket.put("mixed.json", document(&place, "mixed", &[first, other]).as_bytes());
    bucket.put("twice.json", document(&place, "twice", &[first, first]).as_bytes());
    bucket.put("cut.json", &std::fs::read(place.path(&names[0])).unwrap()[..40]);
    let stolen = place.files("in").into_iter().find(|name| name.starts_with("2025-12-20")).unwrap();
    bucket.put("stolen.json", document(&place, "stolen", &[&stolen]).as_bytes());
    // What is elsewhere is neither read as a manifest nor taken for input.
    let foreign = json!({"fileLocations": [{"URIPrefixes": ["s3://acme-output/2025-12-20-x.ndjson"]}]});
    bucket.put("foreign.json", foreign.to_string().as_bytes());
    bucket.runtime.block_on(bucket.queues.send(&[message("acme-output", "manifests/elsewhere.json", 1, 0)]));
    bucket.put_file(&place, &names[2]);
    cluster.kill_scheduler();
    bucket.put("gone.json", document(&place, "gone", &[first]).as_bytes());
    bucket.delete("gone.json");
    bucket.put_file(&place, &names[3]);
    cluster.start_scheduler();
    bucket.put_file(&place, &names[4]);
    wait_until("the next manifest is submitted", || state(&cluster, "m24").is_string());
    cluster.kill_scheduler();
    bucket.tell_again(&names[4]);
    cluster.start_scheduler();
    bucket.put_file(&place, &names[5]);
    wait_until_completed(&cluster, &names);
    bucket.wait_until_empty();
    let before = attempts(&cluster);
    assert_eq!(before.keys().map(|id| format!("{id}.json")).collect::<Vec<_>>(), names);
    names.iter().for_each(|name| bucket.tell_again(name));
    bucket.wait_until_empty();
    assert_eq!(attempts(&cluster), before);
    // It lets go of what it holds, and of the queue.
    bucket.tell_again(&names[0]);
    assert_eq!(cluster.stop_scheduler(), Some(0), "{}", std::fs::read_to_string(place.path("scheduler.log")).unwrap());
    assert_eq!(bucket.runtime.block_on(bucket.queues.counts(&bucket.queues.url)).1, 0);
    check_output(&place, &names.iter().map(|name| place.path(name)).collect::<Vec<_>>());

    let mut bad = bucket.runtime.block_on(bucket.queues.bad_details());
    bad.sort();
    let expected = [
        ("duplicate-file", "manifests/twice.json` lists"),
        ("file-taken", "in manifest `m20`"),
        ("foreign-object", "cannot read `s3://acme-output/manifests/elsewhere.json`"),
        ("foreign-object", "names `s3://acme-output/2025-12-20-x.ndjson`"),
        ("missing-object", "manifests/gone.json"),
        ("mixed-dates", "manifests/mixed.json` mixes dates"),
        ("not-a-manifest", "manifests/cut.json` is not a manifest document"),
    ];
    assert_eq!(bad.len(), expected.len(), "{bad:?}");
    for ((reason, detail), (wanted, part)) in bad.iter().zip(expected) {
        assert!(reason == wanted && detail.contains(part), "{bad:?}");
    }
}

#[test]
fn a_scheduler_whose_queue_is_empty_stops_without_the_wait_of_its_receive() {
    let (aws, place) = (Aws::start(), Place::new());
    let bucket = Bucket::create(&aws);
    let mut options = bucket.options(&[]);
    let poll = options.iter().position(|option| *option == "1").unwrap();
    options[poll] = "20";
    let mut cluster = Cluster::start_in(&aws.environment(), &place, "out", 0, &options);
    bucket.put("none.txt", b"no manifest");
    bucket.tell_again("none.txt");
    bucket.wait_until_empty();
    let stopped = Instant::now();
    assert_eq!(cluster.stop_scheduler(), Some(0), "{}", std::fs::read_to_string(place.path("scheduler.log")).unwrap());
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
}

#[test]
fn a_manifest_that_its_builder_queues_and_its_bucket_tells_of_is_one_run() {
    let (aws, place) = (Aws::start(), Place::new());
    let bucket = Bucket::create(&aws);
    place.generate(&["--files", "8", "--size-mb", "0.1", "--dates", "3", "--date", "2025-12-20"]);
    let options = bucket.options(&[]);
    let mut cluster = Cluster::start_in(&aws.environment(), &place, "out", 1, &options);
    let mut builder = Command::new(binary("millwork-manifest-builder"));
    builder.args(["backfill", "--flush", "--json", "--manifests", &format!("s3://{BUCKET}"), "--prefix"]);
    builder.arg(place.path("in")).arg("--state").arg(format!("sqlite:{}", place.path("scheduler.db").display()));
    builder.envs(aws.environment()).env("SIZE_TOLERANCE_PERCENT", "100").env("MAX_FILES_PER_MANIFEST", "2");
    let made = Done::of(builder.output().unwrap());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let made = made.json()["manifests"].as_array().unwrap().len();
    assert_eq!(made, 12);
    wait_until("all runs are completed", || {
        let runs = cluster.get("runs?limit=1000")["items"].as_array().unwrap().clone();
        runs.len() == made && runs.iter().all(|run| run["state"] == "completed")
    });
    bucket.wait_until_empty();
    assert!(attempts(&cluster).values().all(|attempts| *attempts == json!(1)), "{:?}", attempts(&cluster));
    assert_eq!(bucket.runtime.block_on(bucket.queues.bad_details()), []);
    assert_eq!(cluster.stop_scheduler(), Some(0));
    let keys = bucket.runtime.block_on(download(&bucket.s3, BUCKET, &place.path("made")));
    check_output(&place, &keys.iter().map(|key| place.path("made").join(key)).collect::<Vec<_>>());
}

#[test]
fn a_message_that_names_one_object_thousands_of_times_holds_up_no_other() {
    let (aws, place) = (Aws::start(), Place::new());
    let bucket = Bucket::create(&aws);
    let names = generate(&place);
    // Each reading of it would cost 16 MiB.
    bucket.put("blank.json", &vec![b' '; 16 << 20]);
    let record = json!({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET},
        "object": {"key": "manifests/blank.json", "size": 1, "eTag": "e"}}});
    let body = json!({"Records": vec![record; 1800]}).to_string();
    bucket.runtime.block_on(bucket.queues.send_one_by_one(&vec![body; 4]));
    bucket.put_file(&place, &names[0]);
    let options = bucket.options(&[]);
    let cluster = Cluster::start_in(&aws.environment(), &place, "out", 1, &options);
    wait_until_completed(&cluster, &names[..1]);
    bucket.wait_until_empty();
    let bad = bucket.runtime.block_on(bucket.queues.bad_details());
    assert!(bad.iter().filter(|(reason, _)| reason == "not-a-manifest").count() >= 4, "{bad:?}");
}

#[test]
fn whatever_a_stranger_sends_ends_among_the_dead_letters_and_the_next_manifest_is_run() {
    let (aws, place) = (Aws::start(), Place::new());
    let bucket = Bucket::create(&aws);
    let names = generate(&place);
    let event = |name: &str, key: &str, sequencer: &str| {
        json!({"Records": [{"eventVersion": "2.1", "eventName": name, "s3": {"bucket": {"name": BUCKET},
            "object": {"key": key, "size": 1, "eTag": "e", "sequencer": sequencer}}}]})
        .to_string()
    };
    let mut bodies = crate::doors_messages::strange(&event);
    let created = |key: &str| event("ObjectCreated:Put", key, "1");
    for key in
        ["manifests/../m.json", "manifests/%2e%2e/m.json", "manifests/a%2F..%2Fm.json", "m.json", "manifests/%00.json"]
    {
        bodies.push(created(key));
    }
    bodies.push(created("manifests/%1b%5b2J%3Cb%3E.json"));
    bodies.push(message("acme-elsewhere", "manifests/m.json", 1, 0));
    bucket.runtime.block_on(bucket.queues.send_one_by_one(&bodies));
    bucket.put_file(&place, &names[0]);
    let mut cluster = Cluster::start_in(&aws.environment(), &place, "out", 1, &bucket.options(&[]));
    wait_until_completed(&cluster, &names[..1]);
    bucket.wait_until_empty();
    assert_eq!(cluster.stop_scheduler(), Some(0));
    let (visible, hidden) = bucket.runtime.block_on(bucket.queues.counts(&bucket.queues.dead_letters));
    let log = std::fs::read_to_string(place.path("scheduler.log")).unwrap();
    assert_eq!(visible + hidden, bodies.len() as u64, "each is among the dead letters, once: {log}");
    assert!(!log.contains('\u{1b}') && log.len() < 64 << 10, "{} bytes: {log}", log.len());
}

fn occurrences(log: &Path, text: &str) -> usize {
    std::fs::read_to_string(log).unwrap().matches(text).count()
}

#[test]
fn a_manifest_that_cannot_be_read_now_comes_again() {
    let (aws, place) = (Aws::start(), Place::new());
    let bucket = Bucket::create(&aws);
    place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    let name = manifest(&place, "late", "2025-12-23");
    let options = bucket.options(&["--visibility-timeout-seconds", "2"]);
    let mut environment = aws.environment().to_vec();
    environment.push(("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"));
    let cluster = Cluster::start_in(&environment, &place, "out", 0, &options);
    bucket.put_file(&place, &name);
    let log = place.path("scheduler.log");
    wait_until("it cannot be read", || occurrences(&log, "was not taken in; its message comes again") == 1);
    drop(cluster);
    let cluster = Cluster::start_in(&aws.environment(), &place, "out", 1, &options);
    wait_until_completed(&cluster, &[name]);
    bucket.wait_until_empty();
    assert_eq!(bucket.runtime.block_on(bucket.queues.bad_details()), []);
}

#[test]
fn manifests_that_are_dropped_into_a_directory_are_run_once_and_a_refused_one_is_told_of_once() {
    let place = Place::new();
    let names = generate(&place);
    let (dropped, log) = (place.path("dropped"), place.path("scheduler.log"));
    std::fs::create_dir(&dropped).unwrap();
    let drop_file = |name: &String| std::fs::rename(place.path(name), dropped.join(name)).unwrap();
    names[..2].iter().for_each(drop_file);
    let mut cluster = Cluster::start(&place, "out", 1, &["--manifest-dir", dropped.to_str().unwrap()]);
    drop_file(&names[2]);
    wait_until_completed(&cluster, &names[..3]);
    let before = attempts(&cluster);
    // One is bad, and one is half written for so long that it is taken to be no manifest.
    let mixed = document(&place, "mixed", &["2025-12-20-x.ndjson", "2025-12-21-x.ndjson"]);
    std::fs::write(dropped.join("mixed.json"), mixed).unwrap();
    let whole = std::fs::read(place.path(&names[3])).unwrap();
    std::fs::write(dropped.join(&names[3]), &whole[..whole.len() / 2]).unwrap();
    wait_until("both are refused", || occurrences(&log, "refused until its file changes") == 2);
    assert_eq!((occurrences(&log, "mixed-dates"), occurrences(&log, "not-a-manifest")), (1, 1));
    std::fs::write(dropped.join(&names[3]), &whole).unwrap();
    drop_file(&names[4]);
    wait_until_completed(&cluster, &names[..5]);
    // By now it has been looked at some more times.
    assert_eq!(occurrences(&log, "refused until its file changes"), 2);
    cluster.kill_scheduler();
    drop_file(&names[5]);
    cluster.start_scheduler();
    wait_until_completed(&cluster, &names);
    let after = attempts(&cluster);
    assert!(before.iter().all(|(id, attempts)| after[id] == *attempts), "{before:?} {after:?}");
    assert_eq!(after.len(), names.len());
    check_output(&place, &names.iter().map(|name| dropped.join(name)).collect::<Vec<_>>());
}

#[test]
fn a_directory_or_a_queue_that_is_not_there_is_told_at_the_start() {
    let place = Place::new();
    let start = |arguments: &[&str]| {
        let mut command = place.command("millwork-scheduler");
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--output"]).arg(place.path("out"));
        command.arg("--input-places").arg(place.path("in")).args(["--manifest-places", "s3://m"]);
        command.arg("--state").arg(format!("sqlite:{}", place.path("s.db").display())).args(arguments);
        command.envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "eu-central-1")]);
        Done::of(command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").output().unwrap())
    };
    let none = start(&["--manifest-dir", place.path("none").to_str().unwrap()]);
    assert!(none.code == Some(1) && none.stderr.contains("--manifest-dir must be there"), "{}", none.stderr);
    let queue = start(&["--manifest-queue-url", "http://127.0.0.1:1/0/none"]);
    assert!(queue.code == Some(1) && queue.stderr.contains("cannot read the queue"), "{}", queue.stderr);
    assert_eq!(start(&["--dead-letter-queue-url", "http://127.0.0.1:1/0/none"]).code, Some(2));
}
