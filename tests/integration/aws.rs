//! From an empty account to manifests: what `millwork bootstrap aws` creates, and the builder on it.

use crate::place::{Done, Place, binary, signal, start};
use crate::servers::Aws;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

fn bootstrap(aws: &Aws, arguments: &[&str]) -> Done {
    let mut command = Command::new(binary("millwork"));
    command.args(["bootstrap", "aws", "--prefix", "acme"]).args(arguments).envs(aws.environment());
    Done::of(command.output().unwrap())
}

/// The kinds of a plan's actions, and how often each.
fn actions(done: &Done) -> BTreeMap<String, usize> {
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let mut counts = BTreeMap::new();
    for action in done.json()["actions"].as_array().unwrap() {
        *counts.entry(action["action"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

fn environment(done: &Done) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    done.json()["environment"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bootstrapped_twice_is_there_once_and_what_drifted_is_repaired() {
    let aws = Aws::start();
    let planned = actions(&bootstrap(&aws, &["--dry-run", "--json"]));
    assert_eq!(planned.keys().collect::<Vec<_>>(), ["create"]);
    assert!(aws.s3().await.list_buckets().send().await.unwrap().buckets().is_empty());
    assert_eq!(actions(&bootstrap(&aws, &["--json"])), planned);
    let again = bootstrap(&aws, &["--json"]);
    assert_eq!(actions(&again), BTreeMap::from([("unchanged".to_owned(), planned["create"])]));
    let (sqs, s3) = (aws.sqs().await, aws.s3().await);
    let queue = environment(&again)["QUEUE_URL"].clone();
    let change = sqs.set_queue_attributes().queue_url(queue);
    change.attributes(aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout, "30").send().await.unwrap();
    s3.put_bucket_notification_configuration()
        .bucket("acme-input")
        .notification_configuration(aws_sdk_s3::types::NotificationConfiguration::builder().build())
        .send()
        .await
        .unwrap();
    let drifted = bootstrap(&aws, &["--dry-run", "--json"]);
    let changes = drifted.json()["actions"].as_array().unwrap().clone();
    let changes: Vec<String> = changes
        .iter()
        .filter(|action| action["action"] != json!("unchanged"))
        .map(|action| format!("{} {}", action["kind"], action["detail"]))
        .collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(changes.iter().any(|change| change.contains("30") && change.contains("360")), "{changes:?}");
    assert_eq!(bootstrap(&aws, &[]).code, Some(0));
    assert_eq!(actions(&bootstrap(&aws, &["--json"])).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_a_new_account_become_manifests_of_their_dates() {
    let (aws, place) = (Aws::start(), Place::new());
    assert_eq!(bootstrap(&aws, &[]).code, Some(0));
    let printed = environment(&bootstrap(&aws, &["--json"]));
    let s3 = aws.s3().await;
    let put = |key: &str, size: usize| {
        let request = s3.put_object().bucket("acme-input").key(key).body(vec![b'x'; size].into());
        async move { request.send().await.unwrap() }
    };
    let strange = [
        "d/2025-12-23-a b.ndjson",
        "d/2025-12-23-a+b.ndjson",
        "d/2025-12-23-a%2Bb.ndjson",
        "d/2025-12-23-ü#?&=é.ndjson",
        "2025-12-24/no name.ndjson.gz",
    ];
    let mut command = Command::new(binary("millwork-manifest-builder"));
    command.args(["serve", "--http", "127.0.0.1:0"]).envs(aws.environment()).envs(&printed);
    command.env("POLL_SECONDS", "1").env("MAX_WAIT_SECONDS", "2").env("SWEEP_INTERVAL_SECONDS", "1");
    let mut service = start(command, &place.path("log"));
    for key in strange {
        put(key, 200_000).await;
    }
    put("d/2025-12-23-small.ndjson", 10).await;
    put("other/2025-12-23-a.csv", 200_000).await;
    put("gone/2025-12-25-a.ndjson", 200_000).await;
    s3.delete_object().bucket("acme-input").key("gone/2025-12-25-a.ndjson").send().await.unwrap();
    let listed = |bucket: &'static str| {
        let request = s3.list_objects_v2().bucket(bucket);
        async move {
            let found = request.send().await.unwrap();
            found.contents().iter().map(|object| object.key().unwrap().to_owned()).collect::<BTreeSet<_>>()
        }
    };
    let mut found = BTreeSet::new();
    for _ in 0..100 {
        found.clear();
        for key in listed("acme-manifests").await {
            let body = s3.get_object().bucket("acme-manifests").key(&key).send().await.unwrap().body;
            let manifest: Value = serde_json::from_slice(&body.collect().await.unwrap().to_vec()).unwrap();
            let date = manifest["metadata"]["date_prefix"].as_str().unwrap();
            assert!(key.starts_with(&format!("manifests/{date}/")), "{key}");
            for file in manifest["metadata"]["files"].as_array().unwrap() {
                let uri = file["uri"].as_str().unwrap().to_owned();
                assert!(uri.contains(date), "{uri} in {key}");
                assert!(found.insert(uri), "{file} is in two manifests");
            }
        }
        if found.len() >= strange.len() && listed("acme-quarantine").await.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let log = || std::fs::read_to_string(place.path("log")).unwrap();
    let expected: BTreeSet<String> = strange.iter().map(|key| format!("s3://acme-input/{key}")).collect();
    assert_eq!(found, expected, "{}", log());
    let refused = ["2025-12-23/bad-extension/other/2025-12-23-a.csv", "2025-12-23/too-small/d/2025-12-23-small.ndjson"];
    assert_eq!(listed("acme-quarantine").await, refused.map(str::to_owned).into());
    assert_eq!(listed("acme-input").await, strange.map(str::to_owned).into());
    signal(&service, "TERM");
    assert!(service.0.wait().unwrap().success(), "{}", log());
}
