//! From an empty account to manifests: what `millwork bootstrap aws` creates, and the builder on it.

use crate::place::{Done, Place, binary, signal, start, wait_for_end};
use crate::servers::Aws;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

pub(crate) fn bootstrap(aws: &Aws, arguments: &[&str]) -> Done {
    let mut command = Command::new(binary("millwork"));
    command.args(["bootstrap", "aws", "--prefix", "acme"]).args(arguments).envs(aws.environment());
    Done::of(command.output().unwrap())
}

/// The kinds of a plan's actions, and how often each.
fn actions(done: &Done, code: i32) -> BTreeMap<String, usize> {
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    let mut counts = BTreeMap::new();
    for action in done.json()["actions"].as_array().unwrap() {
        *counts.entry(action["action"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

pub(crate) fn environment(done: &Done) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    done.json()["environment"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bootstrapped_twice_is_there_once_and_what_drifted_is_repaired() {
    let aws = Aws::start();
    let planned = actions(&bootstrap(&aws, &["--dry-run", "--json"]), 3);
    assert_eq!(planned.keys().collect::<Vec<_>>(), ["create"]);
    assert!(aws.s3().await.list_buckets().send().await.unwrap().buckets().is_empty());
    assert_eq!(actions(&bootstrap(&aws, &["--json"]), 0), planned);
    let again = bootstrap(&aws, &["--json"]);
    assert_eq!(actions(&again, 0), BTreeMap::from([("unchanged".to_owned(), planned["create"])]));
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
    assert_eq!(actions(&bootstrap(&aws, &["--json"]), 0).len(), 1);
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
    // The file that was removed is in no manifest: not in that of a later one of its date, which waits for whatever waits.
    put("later/2025-12-25-b.ndjson", 200_000).await;
    let started = std::time::Instant::now();
    let of_its_date = loop {
        if let Some(key) = listed("acme-manifests").await.into_iter().find(|key| key.contains("2025-12-25")) {
            break key;
        }
        assert!(started.elapsed() < crate::place::PATIENCE, "no manifest of the later file: {}", log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let body = s3.get_object().bucket("acme-manifests").key(of_its_date).send().await.unwrap().body;
    let manifest: Value = serde_json::from_slice(&body.collect().await.unwrap().to_vec()).unwrap();
    let files: Vec<_> = manifest["metadata"]["files"].as_array().unwrap().iter().map(|file| &file["uri"]).collect();
    assert_eq!(files, ["s3://acme-input/later/2025-12-25-b.ndjson"]);
    let expected: BTreeSet<String> = strange.iter().map(|key| format!("s3://acme-input/{key}")).collect();
    assert_eq!(found, expected, "{}", log());
    let refused = ["2025-12-23/bad-extension/other/2025-12-23-a.csv", "2025-12-23/too-small/d/2025-12-23-small.ndjson"];
    assert_eq!(listed("acme-quarantine").await, refused.map(str::to_owned).into());
    let left = strange.into_iter().chain(["later/2025-12-25-b.ndjson"]).map(str::to_owned);
    assert_eq!(listed("acme-input").await, left.collect());
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0), "{}", log());
}

/// Copies every file of a directory into a bucket.
async fn upload(s3: &aws_sdk_s3::Client, place: &Place, bucket: &str) {
    for name in place.files("in") {
        let content = std::fs::read(place.path("in").join(&name)).unwrap();
        s3.put_object().bucket(bucket).key(name).body(content.into()).send().await.unwrap();
    }
}

/// Copies every object of a bucket into a directory. Returns the keys.
pub(crate) async fn download(s3: &aws_sdk_s3::Client, bucket: &str, to: &Path) -> Vec<String> {
    let listed = s3.list_objects_v2().bucket(bucket).send().await.unwrap();
    let mut keys = Vec::new();
    for object in listed.contents() {
        let key = object.key().unwrap().to_owned();
        let got = s3.get_object().bucket(bucket).key(&key).send().await.unwrap();
        let path = to.join(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, got.body.collect().await.unwrap().to_vec()).unwrap();
        keys.push(key);
    }
    keys
}

async fn open_uploads(s3: &aws_sdk_s3::Client, bucket: &str) -> usize {
    s3.list_multipart_uploads().bucket(bucket).send().await.unwrap().uploads().len()
}

struct Account {
    aws: Aws,
    place: Place,
    s3: aws_sdk_s3::Client,
}

impl Account {
    async fn new() -> Self {
        let aws = Aws::start();
        assert_eq!(bootstrap(&aws, &[]).code, Some(0));
        let s3 = aws.s3().await;
        Self { aws, place: Place::new(), s3 }
    }

    /// `millwork run` on buckets and tables, ready to be started.
    fn run_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("millwork"));
        command.args(["run", "--json", "--input", "s3://acme-input", "--output", "s3://acme-output/lake"]);
        command.args(["--quarantine", "s3://acme-quarantine", "--state", "dynamodb:acme"]).args(arguments);
        command.envs(self.aws.environment());
        command.env("SIZE_TOLERANCE_PERCENT", "100").env("EXPECTED_FILE_SIZE_MB", "100");
        command
    }

    /// Makes manifests of all that is in the input, where `millwork run` finds them.
    fn make_manifests(&self) {
        let mut backfill = Command::new(binary("millwork-manifest-builder"));
        backfill.args(["backfill", "--prefix", "s3://acme-input", "--flush", "--state", "dynamodb:acme"]);
        backfill.args(["--manifests", "s3://acme-output/lake/_millwork"]).envs(self.aws.environment());
        let made = Done::of(backfill.env("SIZE_TOLERANCE_PERCENT", "100").output().unwrap());
        assert_eq!(made.code, Some(0), "{}", made.stderr);
    }

    /// Checks all that is published with the oracle, and that nothing private is left.
    async fn check(&self, arguments: &[&str]) -> Value {
        let keys = download(&self.s3, "acme-output", &self.place.path("out")).await;
        let is_known = |key: &&String| {
            ["lake/merged-parquet-", "lake/_millwork/manifests/", "lake/_millwork/states/"]
                .iter()
                .any(|known| key.starts_with(known))
        };
        assert_eq!(keys.iter().filter(is_known).count(), keys.len(), "{keys:?}");
        assert_eq!(open_uploads(&self.s3, "acme-output").await, 0);
        download(&self.s3, "acme-quarantine", &self.place.path("quarantine")).await;
        let _ = std::fs::rename(self.place.path("out/lake/_millwork"), self.place.path("out/_millwork"));
        let mut all = vec!["--uri", "s3://acme-input/"];
        all.extend(arguments);
        self.place.ask_oracle(&all)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reads_and_writes_buckets_and_remembers_in_dynamodb() {
    let account = Account::new().await;
    let place = &account.place;
    place.generate(&["--files", "8", "--size-mb", "0.5", "--dirty", "1", "--late-columns", "2", "--seed", "5"]);
    place.generate(&["--files", "3", "--size-mb", "0.4", "--shape", "wide", "--compress", "gzip", "--seed", "6"]);
    // One is large enough to be read in ranges and written in parts, and does not compress.
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 11
    };
    let line =
        |n: usize| format!("{{\"n\": {n}, \"t\": \"{:x}{:x}{:x}{:x}\"}}\n", random(), random(), random(), random());
    let large: String = (0..350_000).map(line).collect();
    // In the middle there is a key that nobody has seen before.
    let (start, end) = large.split_at(large.len() / 2);
    let (line, end) = end.split_once('\n').unwrap();
    place.input("2025-12-23-large.ndjson", format!("{start}{line}\n{{\"turns up\": 1}}\n{end}"));
    // One begins with a line that is longer than a first look.
    let long = format!("{{\"a\": \"{}\", \"after\": 1}}\n{{\"b\": 2}}\n", "x".repeat(600_000));
    place.input("2025-12-24-long.ndjson", long);
    upload(&account.s3, place, "acme-input").await;
    let mut command = account.run_command(&["--target-file-mb", "8"]);
    let done = Done::of(command.env("RUST_LOG", "millwork_scheduler=info").output().unwrap());
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(!done.stderr.contains("planning again"), "{}", done.stderr);
    let (report, found) = (done.json(), account.check(&[]).await);
    assert_eq!((&report["rows"], &report["rejected"]), (&found["rows"], &found["rejected"]), "{report}");
    assert!(report["rejected"].as_u64().unwrap() > 0);
    let again = Done::of(account.run_command(&[]).output().unwrap());
    assert_eq!((again.code, &again.json()["manifests"]), (Some(0), &json!(0)), "{}", again.stderr);
    assert!(again.stderr.contains("nothing new"), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_buckets_that_is_killed_leaves_nothing_half_visible_and_goes_on() {
    let account = Account::new().await;
    account.place.generate(&["--files", "12", "--size-mb", "1", "--seed", "7"]);
    upload(&account.s3, &account.place, "acme-input").await;
    let options = ["--target-file-mb", "8", "--max-files-per-manifest", "2", "--lock-ttl-seconds", "2"];
    let mut hits = 0;
    for millis in [700, 1100, 1500, 1900] {
        let mut running = start(account.run_command(&options), &account.place.path("log"));
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
        signal(&running, "KILL");
        hits += usize::from(wait_for_end(&mut running).is_none());
        // Until the lock of the runs has passed on.
        wait_for_lock(&account).await;
    }
    assert!(hits >= 1, "no kill hit a run");
    let done = Done::of(account.run_command(&options).output().unwrap());
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let found = account.check(&[]).await;
    assert_eq!(found["files"], json!(12));
}

/// Lets the lock of the runs expire, which is held for 8 s after its holder died: a test does not wait that long.
async fn wait_for_lock(account: &Account) {
    let client = aws_sdk_dynamodb::Client::new(&account.aws.config().await);
    let key = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let expire =
        client.update_item().table_name("acme").key("date_prefix", key("LOCK#runs")).key("file_key", key("LOCK"));
    let past = aws_sdk_dynamodb::types::AttributeValue::N("0".to_owned());
    expire.update_expression("SET expires_at = :past").expression_attribute_values(":past", past).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changed_or_went_since_its_listing_fails_its_manifest_by_name() {
    let account = Account::new().await;
    account.place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    account.place.input("2025-12-24-b.ndjson", "{\"b\": 1}\n");
    upload(&account.s3, &account.place, "acme-input").await;
    // Manifests are made; then one object is written anew.
    account.make_manifests();
    let other = b"{\"a\": 2}\n".to_vec();
    account.s3.put_object().bucket("acme-input").key("2025-12-23-a.ndjson").body(other.into()).send().await.unwrap();
    let done = Done::of(account.run_command(&[]).output().unwrap());
    let failed = done.json()["failed"].as_array().unwrap().clone();
    assert_eq!((done.code, failed.len()), (Some(1), 1), "{}", done.stderr);
    assert_eq!(failed[0]["class"], json!("input"));
    assert!(
        failed[0]["message"].as_str().unwrap().contains("s3://acme-input/2025-12-23-a.ndjson` changed"),
        "{failed:?}"
    );
    // What it is by now goes into another manifest by itself.
    assert_eq!(done.json()["rows"], json!(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_others_where_an_output_belongs_fails_the_manifest_and_stays_as_it_is() {
    const FOREIGN: &[u8] = b"of somebody else";
    let account = Account::new().await;
    account.place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    account.place.input("2025-12-24-b.ndjson", "{\"b\": 1}\n");
    upload(&account.s3, &account.place, "acme-input").await;
    account.make_manifests();
    let documents = download(&account.s3, "acme-output", &account.place.path("documents")).await;
    let document = documents.iter().find_map(|key| key.strip_prefix("lake/_millwork/manifests/2025-12-23/")).unwrap();
    let id = format!("2025-12-23-{}", document.strip_suffix(".json").unwrap());
    let key = format!("lake/merged-parquet-2025-12-23/{id}-part-00000.parquet");
    account.s3.put_object().bucket("acme-output").key(&key).body(FOREIGN.to_vec().into()).send().await.unwrap();
    let done = Done::of(account.run_command(&[]).output().unwrap());
    let failed = done.json()["failed"].as_array().unwrap().clone();
    assert_eq!((done.code, failed.len()), (Some(1), 1), "{}", done.stderr);
    assert_eq!(failed[0]["class"], json!("input"));
    let message = failed[0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("`s3://acme-output/{key}`: it is there already")), "{message}");
    assert!(message.contains("move it away"), "{message}");
    // The other manifest is converted, and nothing private is left of this one.
    assert_eq!(done.json()["rows"], json!(1));
    assert_eq!(open_uploads(&account.s3, "acme-output").await, 0);
    let left = download(&account.s3, "acme-output", &account.place.path("left")).await;
    assert!(!left.iter().any(|key| key.contains("/staging/")), "{left:?}");
    assert_eq!(std::fs::read(account.place.path("left").join(&key)).unwrap(), FOREIGN);
    account.s3.delete_object().bucket("acme-output").key(&key).send().await.unwrap();
    let again = Done::of(account.run_command(&[]).output().unwrap());
    assert_eq!((again.code, &again.json()["rows"]), (Some(0), &json!(1)), "{}", again.stderr);
    assert_eq!(account.check(&[]).await["files"], json!(2));
}
