//! Messages of a stranger to the builder's queue: none hides a file from those that come after it, and each leaves the queue.

use crate::place::{PATIENCE, Place, Running, binary, signal, start, wait_for_end};
use crate::queues::Queues;
use crate::servers::Aws;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes that a message may have, and that older queues take.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
const MAX_OLD_MESSAGE_BYTES: usize = 256 << 10;

async fn wait(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn builder(place: &Place, aws: &Aws, queues: &Queues) -> Running {
    let mut command = Command::new(binary("millwork-manifest-builder"));
    command.args(["serve", "--queue-url", &queues.url, "--http", "127.0.0.1:0", "--quarantine", "s3://acme-bad"]);
    command.arg("--state").arg(format!("sqlite:{}", place.path("s.db").display()));
    command.arg("--manifests").arg(place.path("out")).envs(aws.environment());
    command.env("INPUT_PLACES", "s3://acme-in/in/").env("SIZE_TOLERANCE_PERCENT", "100").env("MAX_WAIT_SECONDS", "0");
    command.env("SWEEP_INTERVAL_SECONDS", "1").env("POLL_SECONDS", "1");
    start(command, &place.path("log"))
}

/// An event with whatever its sender likes.
fn event(name: &str, key: &str, sequencer: &str) -> String {
    json!({"Records": [{"eventVersion": "2.1", "eventName": name, "s3": {
        "bucket": {"name": "acme-in"}, "object": {"key": key, "size": 1, "eTag": "e", "sequencer": sequencer}}}]})
    .to_string()
}

async fn drained(queues: &Queues) {
    wait("the queue does not get empty", async || queues.counts(&queues.url).await == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_from_the_end_of_time_hides_none_that_comes_after_it() {
    let (aws, place) = (Aws::start(), Place::new());
    let queues = Queues::create(&aws).await;
    for bucket in ["acme-in", "acme-bad"] {
        aws.create_bucket(bucket).await;
    }
    let s3 = aws.s3().await;
    let put = async |key: &str, body: &str| {
        let request = s3.put_object().bucket("acme-in").key(key).body(body.as_bytes().to_vec().into());
        request.send().await.unwrap().e_tag.unwrap().trim_matches('"').to_owned()
    };
    let mut service = builder(&place, &aws, &queues);
    // Before the object is there, of one that is removed and written again, and without end.
    let (first, second, third) = ("in/2025-12-23-a.ndjson", "in/2025-12-24-b.ndjson", "in/2025-12-25-c.ndjson");
    let last = "F".repeat(64);
    put(second, "{\"a\": 1}\n").await;
    let forged = [
        event("ObjectCreated:Put", first, &last),
        event("ObjectRemoved:Delete", first, &last),
        event("ObjectRemoved:Delete", second, &last),
        event("ObjectCreated:Put", third, &"F".repeat(200_000)),
    ];
    queues.send(&forged).await;
    drained(&queues).await;
    let mut tags = BTreeMap::new();
    for key in [first, second, third] {
        tags.insert(key, put(key, "{\"a\": 1, \"b\": 2}\n").await);
    }
    queues.send(&[first, second, third].map(|key| event("ObjectCreated:Put", key, "0055AED6DCD90281E5"))).await;
    drained(&queues).await;
    let manifests = || {
        let files = place.files("out/manifests");
        let read = |name| fs::read(place.path("out/manifests").join(name)).unwrap();
        files.into_iter().map(|name| serde_json::from_slice::<Value>(&read(name)).unwrap()).collect::<Vec<_>>()
    };
    let told = || {
        let files = manifests().into_iter().flat_map(|m| m["metadata"]["files"].as_array().unwrap().clone());
        let of = |file: Value| (file["uri"].as_str().unwrap().to_owned(), file["etag"].as_str().unwrap().to_owned());
        files.map(of).collect::<BTreeMap<_, _>>()
    };
    let expected: BTreeMap<_, _> = tags.iter().map(|(key, tag)| (format!("s3://acme-in/{key}"), tag.clone())).collect();
    wait("each file is in a manifest, as it is", async || told() == expected).await;
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0));
}

/// Messages of a stranger, of all kinds; those with an event are as `event` makes them, of a name, a key and a sequencer.
pub(crate) fn strange(event: &dyn Fn(&str, &str, &str) -> String) -> Vec<String> {
    let deep = |open: &str, close: &str| open.repeat(50_000) + &close.repeat(50_000);
    let key = |key: &str| event("ObjectCreated:Put", key, "1");
    vec![
        "x".repeat(MAX_OLD_MESSAGE_BYTES),
        // One that the dead letters have no room for.
        "x".repeat(MAX_MESSAGE_BYTES),
        "\u{fffd}\u{10ffff}".to_owned(),
        deep("[", "]"),
        json!({"Type": "Notification", "Message": deep("[", "]")}).to_string(),
        json!({"Type": "Notification", "Message": json!({"Type": "Notification", "Message": "{}"}).to_string()}).to_string(),
        json!({"Records": vec![json!({}); 50_000]}).to_string(),
        json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "acme-in"}, "object": {"key": "in/a", "size": 1e300}}}]})
            .to_string(),
        json!({"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": 7}}}).to_string(),
        // Keys that no text holds, or that XML has no characters for.
        key("in/%ff%fe"),
        r#"{"\uffff\u001b": 1}"#.to_owned(),
        key(&"%252e".repeat(50_000)),
        key(&format!("in/{}", "x".repeat(1022))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_message_is_it_leaves_the_queue_once() {
    let (aws, place) = (Aws::start(), Place::new());
    let queues = Queues::create(&aws).await;
    for bucket in ["acme-in", "acme-bad"] {
        aws.create_bucket(bucket).await;
    }
    let attributes = queues.client.set_queue_attributes().queue_url(&queues.dead_letters);
    let most = MAX_OLD_MESSAGE_BYTES.to_string();
    attributes.attributes(QueueAttributeName::MaximumMessageSize, most).send().await.unwrap();
    let bodies = strange(&event);
    queues.send_one_by_one(&bodies).await;
    let mut service = builder(&place, &aws, &queues);
    drained(&queues).await;
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0));
    let (visible, hidden) = queues.counts(&queues.dead_letters).await;
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert_eq!(visible + hidden, bodies.len() as u64, "each is among the dead letters, once: {log}");
    assert!(!log.contains("stays in the queue"), "{log}");
    assert!(log.len() < 64 << 10, "what strangers write does not fill the log: {} bytes", log.len());
}
