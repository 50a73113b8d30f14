//! The manifest builder as its users run it: on a queue, on Lambda, watching, once.

use crate::place::{Done, Place, Running, binary, signal, start, wait_for_end, wait_until};
use crate::queues::{Queues, message, s3_event};
use crate::servers::Aws;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MAX_FILES: usize = 20;
const BUCKET: &str = "acme-in";

/// A bucket with an object of five bytes for each key.
async fn fill(aws: &Aws, keys: impl Iterator<Item = String>) {
    let s3 = aws.s3().await;
    aws.create_bucket(BUCKET).await;
    let put = |key: String| s3.put_object().bucket(BUCKET).key(key).body(b"12345".to_vec().into()).send();
    futures::stream::iter(keys.map(put)).buffer_unordered(16).for_each(|put| async move { drop(put.unwrap()) }).await;
}

/// A builder's command on a state of its own, with manifests in `manifests/`.
fn builder(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("millwork-manifest-builder"));
    command.args(arguments);
    command.arg("--state").arg(format!("sqlite:{}", place.path("state.db").display()));
    command.arg("--manifests").arg(place.path("out"));
    command.env("SIZE_TOLERANCE_PERCENT", "100").env("MAX_FILES_PER_MANIFEST", MAX_FILES.to_string());
    command
}

fn finish(mut command: Command) -> Value {
    report_of(&mut command, 0)
}

fn report_of(command: &mut Command, code: i32) -> Value {
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    done.json()
}

/// The files of every manifest that was written; each manifest must hold to its caps and its date.
fn manifests(place: &Place) -> Vec<Vec<String>> {
    let read = |name: &String| {
        let text = std::fs::read_to_string(place.path("out").join(name)).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let date = manifest["metadata"]["date_prefix"].as_str().unwrap().to_owned();
        let uris: Vec<String> = manifest["fileLocations"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|location| location["URIPrefixes"].as_array().unwrap().clone())
            .map(|uri| uri.as_str().unwrap().to_owned())
            .collect();
        assert!((1..=MAX_FILES).contains(&uris.len()), "{name} has {} files", uris.len());
        assert!(name.contains(&date) && uris.iter().all(|uri| uri.contains(&date)), "{name}: {uris:?}");
        uris
    };
    // One that is killed while it writes can leave a hidden file.
    let is_manifest = |name: &&String| name.starts_with("manifests/") && !name.contains("/.");
    place.files("out").iter().filter(is_manifest).map(read).collect()
}

/// Every file of every manifest; none may be there twice.
fn in_manifests(place: &Place) -> BTreeSet<String> {
    let all = manifests(place).concat();
    let once: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(all.len(), once.len(), "a file is in two manifests");
    once
}

/// Puts the items in another order, always the same one.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 88_172_645_463_325_252_u64;
    for i in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(i, (state % (i as u64 + 1)) as usize);
    }
}

/// `MILLWORK_EVENTS=338000` makes it a day's load.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_lose_and_double_nothing() {
    let number = std::env::var("MILLWORK_EVENTS").map_or(3000, |text| text.parse().unwrap());
    let (aws, place) = (Aws::start(), Place::new());
    let queues = Queues::create(&aws).await;
    let keys: Vec<String> = (0..number).map(|i| format!("d {}/2025-12-{}-ü+%{i}.ndjson", i % 7, 20 + i % 5)).collect();
    let mut bodies: Vec<String> = keys.iter().enumerate().map(|(i, key)| message(BUCKET, key, 5, i)).collect();
    fill(&aws, keys.iter().cloned()).await;
    let twice: Vec<String> = bodies.iter().step_by(10).cloned().collect();
    bodies.extend(twice);
    let bad = number / 100;
    bodies.extend((0..bad).map(|i| match i % 3 {
        0 => "not json".to_owned(),
        1 => json!({"unknown": i}).to_string(),
        _ => s3_event(BUCKET, "x", 1, i).replace("eTag", "noTag"),
    }));
    shuffle(&mut bodies);
    let start_one = |number: usize| {
        let mut command = builder(&place, &["serve", "--queue-url", &queues.url, "--http", "127.0.0.1:0"]);
        command.env("INPUT_PLACES", format!("s3://{BUCKET}"));
        command.envs(aws.environment()).env("VISIBILITY_TIMEOUT_SECONDS", "3").env("POLL_SECONDS", "1");
        command.env("LOCK_TTL_SECONDS", "2").env("SWEEP_INTERVAL_SECONDS", "1").env("MAX_WAIT_SECONDS", "3");
        start(command, &place.path(&format!("builder-{number}.log")))
    };
    let mut running: Vec<Running> = vec![start_one(0), start_one(1)];
    let sending = queues.send(&bodies);
    let killing = async {
        let mut kills = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let (visible, hidden) = queues.counts(&queues.url).await;
            if visible + hidden == 0 && kills > 3 {
                break kills;
            }
            signal(&running[kills % 2], "KILL");
            kills += 1;
            running[(kills + 1) % 2] = start_one(kills + 1);
        }
    };
    let ((), kills) = tokio::join!(sending, killing);
    assert!(kills > 3, "{kills} kills");
    let expected: BTreeSet<String> = keys.iter().map(|key| format!("s3://{BUCKET}/{key}")).collect();
    // Rests are old enough after three seconds; each look is a sweep, which finishes what the kills left.
    let deadline = Instant::now() + Duration::from_secs(60);
    while in_manifests(&place).len() < expected.len() && Instant::now() < deadline {
        finish(builder(&place, &["sweep", "--json", "--lock-ttl-seconds", "2", "--max-wait-seconds", "3"]));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let found = in_manifests(&place);
    let lost: Vec<_> = expected.difference(&found).take(5).collect();
    assert!(found == expected, "{} of {} files; lost: {lost:?}", found.len(), expected.len());
    let by_reason = queues.bad().await;
    assert_eq!(by_reason.values().sum::<usize>(), bad, "{by_reason:?}");
    assert_eq!(by_reason.len(), 3, "{by_reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_told_to_stop_leaves_the_rest_to_others() {
    let (aws, place) = (Aws::start(), Place::new());
    let queues = Queues::create(&aws).await;
    let keys: Vec<String> = (0..400).map(|i| format!("2025-12-23-{i}.ndjson")).collect();
    fill(&aws, keys.iter().cloned()).await;
    let bodies: Vec<String> = keys.iter().enumerate().map(|(i, key)| message(BUCKET, key, 5, i)).collect();
    queues.send(&bodies).await;
    let mut command =
        builder(&place, &["serve", "--queue-url", &queues.url, "--http", "127.0.0.1:0", "--workers", "1"]);
    command.envs(aws.environment()).env("POLL_SECONDS", "1").env("INPUT_PLACES", format!("s3://{BUCKET}"));
    let mut service = start(command, &place.path("log"));
    wait_until("some manifests are there", || !manifests(&place).is_empty());
    let stopped = Instant::now();
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0), "{}", std::fs::read_to_string(place.path("log")).unwrap());
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    // What it held is finished, or visible to others at once: nothing is hidden.
    assert_eq!(queues.counts(&queues.url).await.1, 0);
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("manifest builder stopped") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_service_whose_queue_is_empty_stops_without_the_wait_of_its_receive() {
    let (aws, place) = (Aws::start(), Place::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let queues = runtime.block_on(Queues::create(&aws));
    runtime.block_on(queues.send(&[message(BUCKET, "gone.txt", 5, 0)]));
    let mut command = builder(&place, &["serve", "--queue-url", &queues.url, "--http", "127.0.0.1:0"]);
    command.envs(aws.environment()).env("POLL_SECONDS", "20").env("INPUT_PLACES", format!("s3://{BUCKET}"));
    let mut service = start(command, &place.path("log"));
    wait_until("the message is handled", || runtime.block_on(queues.counts(&queues.url)) == (0, 0));
    let stopped = Instant::now();
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0), "{}", std::fs::read_to_string(place.path("log")).unwrap());
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
}

#[test]
fn a_place_is_watched_and_refused_files_come_back_on_request() {
    let place = Place::new();
    let quarantine = place.path("bad");
    let common = |arguments: &[&str]| {
        let mut command = builder(&place, arguments);
        command.arg("--quarantine").arg(&quarantine);
        command
    };
    let input = place.path("in").display().to_string();
    let mut watching = common(&["watch", "--input", &input, "--interval-seconds", "1", "--http", "127.0.0.1:0"]);
    watching.env("MAX_WAIT_SECONDS", "0").env("EXPECTED_FILE_SIZE_MB", "0.00001").env("SIZE_TOLERANCE_PERCENT", "50");
    let mut watcher = start(watching, &place.path("log"));
    place.input("deep/2025-12-23-a.ndjson", "{\"a\": 1}\n");
    place.input("deep/2025-12-23-small.ndjson", "\n");
    wait_until("a manifest is there", || in_manifests(&place).len() == 1);
    wait_until("the small file is moved", || {
        place.files("bad") == ["2025-12-23/too-small/deep/2025-12-23-small.ndjson"]
    });
    signal(&watcher, "TERM");
    assert_eq!(wait_for_end(&mut watcher), Some(0));
    // The rules are what they were: it stays. Then they accept it; first as a dry run.
    let redrive = |more: &[&str], tolerance: &str| {
        let mut command = common(&["redrive", "--prefix", &input, "--json"]);
        command.args(more).env("EXPECTED_FILE_SIZE_MB", "0.00001").env("SIZE_TOLERANCE_PERCENT", tolerance);
        // A dry run that would change something.
        report_of(&mut command, if more.is_empty() { 3 } else { 0 })
    };
    assert_eq!(redrive(&["--yes"], "50")["refused"].as_array().unwrap().len(), 1);
    assert_eq!(redrive(&[], "100")["pending"].as_array().unwrap().len(), 1);
    assert_eq!(place.files("bad").len(), 1);
    assert_eq!(redrive(&["--yes", "--reason", "too-small"], "100")["pending"].as_array().unwrap().len(), 1);
    assert!(place.files("bad").is_empty());
    let report = finish(common(&["backfill", "--prefix", &input, "--flush", "--json"]));
    assert_eq!((&report["listed"], &report["known"]), (&json!(2), &json!(2)));
    assert_eq!(report["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(in_manifests(&place).len(), 2);
}

#[test]
fn a_backfill_finds_what_events_missed_and_what_is_gone() {
    let place = Place::new();
    for i in 0..25 {
        place.input(&format!("2025-12-23-{i}.ndjson"), "{}\n");
    }
    let input = place.path("in").display().to_string();
    let backfill = || finish(builder(&place, &["backfill", "--prefix", &input, "--json"]));
    let first = backfill();
    assert_eq!((&first["listed"], &first["pending"]), (&json!(25), &json!(25)));
    assert_eq!(in_manifests(&place).len(), 20);
    // The rest of five waits; one of them goes away.
    let taken = in_manifests(&place);
    let gone =
        (0..25).map(|i| format!("2025-12-23-{i}.ndjson")).find(|name| !taken.iter().any(|uri| uri.ends_with(name)));
    std::fs::remove_file(place.path("in").join(gone.unwrap())).unwrap();
    let second = backfill();
    assert_eq!((&second["pending"], &second["known"]), (&json!(0), &json!(24)));
    assert_eq!(second["missing"].as_array().unwrap().len(), 1);
    assert_eq!(in_manifests(&place).len(), 20);
    let inside =
        Done::of(builder(&place, &["backfill", "--prefix", place.root.path().to_str().unwrap()]).output().unwrap());
    assert!(inside.stderr.contains("is inside the input"), "{}", inside.stderr);
}

/// What Lambda's runtime interface hands out and gets back.
#[derive(Clone, Default)]
struct Runtime {
    waiting: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<Vec<(String, Value)>>>,
}

async fn next_invocation(State(runtime): State<Runtime>) -> axum::response::Response {
    loop {
        let next = runtime.waiting.lock().unwrap().pop();
        if let Some(event) = next {
            let deadline = chrono::Utc::now().timestamp_millis() + 60_000;
            let headers = [
                ("lambda-runtime-aws-request-id", "request".to_owned()),
                ("lambda-runtime-deadline-ms", deadline.to_string()),
                ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:x:1:function:f".to_owned()),
            ];
            return (headers, event.to_string()).into_response();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn answer(State(runtime): State<Runtime>, kind: &str, body: String) -> StatusCode {
    let value = serde_json::from_str(&body).unwrap_or(Value::Null);
    runtime.answers.lock().unwrap().push((kind.to_owned(), value));
    StatusCode::ACCEPTED
}

#[tokio::test(flavor = "multi_thread")]
async fn on_lambda_only_what_failed_comes_again() {
    let (aws, place, runtime) = (Aws::start(), Place::new(), Runtime::default());
    let queues = Queues::create(&aws).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let invocation = "/2018-06-01/runtime/invocation";
    let routes = axum::Router::new()
        .route(&format!("{invocation}/next"), get(next_invocation))
        .route(
            &format!("{invocation}/request/response"),
            post(|state: State<Runtime>, body: String| answer(state, "response", body)),
        )
        .route(
            &format!("{invocation}/request/error"),
            post(|state: State<Runtime>, body: String| answer(state, "error", body)),
        )
        .with_state(runtime.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let function = |dead_letters: Option<&str>| {
        let mut command = builder(&place, &[]);
        command.envs(aws.environment()).env("AWS_LAMBDA_RUNTIME_API", &address);
        command.env("INPUT_PLACES", format!("s3://{BUCKET}"));
        command.env("AWS_LAMBDA_FUNCTION_NAME", "f").env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
        command.env("AWS_LAMBDA_FUNCTION_VERSION", "1").env("AWS_LAMBDA_LOG_STREAM_NAME", "s");
        command.env("AWS_LAMBDA_LOG_GROUP_NAME", "g");
        if let Some(url) = dead_letters {
            command.env("DEAD_LETTER_QUEUE_URL", url);
        }
        start(command, &place.path("log"))
    };
    let invoke = |event: Value| {
        runtime.waiting.lock().unwrap().push(event);
        wait_until("the function answers", || !runtime.answers.lock().unwrap().is_empty());
        runtime.answers.lock().unwrap().remove(0)
    };
    let record = |id: &str, body: &str| json!({"messageId": id, "body": body, "eventSource": "aws:sqs"});
    let keys: Vec<String> = (0..20).map(|i| format!("2025-12-23-{i}.ndjson")).collect();
    fill(&aws, keys.iter().cloned().chain(["2025-12-23-late.ndjson".to_owned()])).await;
    let of = |(i, key): (usize, &String)| record(&format!("m{i}"), &message(BUCKET, key, 5, i));
    let mut records: Vec<Value> = keys.iter().enumerate().map(of).collect();
    records.push(record("bad", "not json"));
    records.push(record("test", r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#));
    let lambda = function(None);
    let (kind, failures) = invoke(json!({"Records": records}));
    assert_eq!((kind.as_str(), &failures), ("response", &json!({"batchItemFailures": [{"itemIdentifier": "bad"}]})));
    assert_eq!(in_manifests(&place).len(), 20);
    drop(lambda);
    let _lambda = function(Some(&queues.dead_letters));
    assert_eq!(invoke(json!({"Records": records})).1, json!({"batchItemFailures": []}));
    assert_eq!(queues.bad().await, BTreeMap::from([("not-json".to_owned(), 1)]));
    assert_eq!(in_manifests(&place).len(), 20);
    let more = json!({"Records": [record("n", &message(BUCKET, "2025-12-23-late.ndjson", 5, 99))]});
    assert_eq!(invoke(more).1, json!({"batchItemFailures": []}));
    let (kind, swept) = invoke(json!({"detail-type": "Scheduled Event", "source": "aws.events"}));
    assert_eq!((kind.as_str(), &swept["pending_files"]), ("response", &json!(1)));
    assert_eq!(invoke(json!({"hello": 1})).0, "error");
}
