//! What a file costs at the store, counted as the requests that leave the client.

use crate::servers::Aws;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use millwork_manifest::{BatchCaps, Failure, FailureClass, FileRules, Flush, Manifest, ManifestFile};
use millwork_manifest_builder::{Builder, Cut, Settings};
use millwork_queue::{EventKind, ObjectEvent};
use millwork_storage::{Location, MemoryObjects};
use millwork_tracking::{Commit, Overwrites, QueuedManifest};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Requests by operation; a transaction counts as the writes in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<BTreeMap<String, usize>>>);

impl Intercept for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let operation =
            request.headers().get("x-amz-target").unwrap_or_default().rsplit('.').next().unwrap_or_default();
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        let writes = match operation {
            "TransactWriteItems" => body.matches("\"Update\":").count() + body.matches("\"Put\":").count(),
            _ => 1,
        };
        *self.0.lock().unwrap().entry(operation.to_owned()).or_default() += writes;
        Ok(())
    }
}

impl Counts {
    pub(crate) fn take(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn of(counts: &BTreeMap<String, usize>, operations: &[&str]) -> usize {
    operations.iter().filter_map(|operation| counts.get(*operation)).sum()
}

const WRITES: [&str; 5] = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];
const READS: [&str; 5] = ["GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"];

fn events(first: usize, count: usize) -> Vec<ObjectEvent> {
    (first..first + count)
        .map(|number| ObjectEvent {
            kind: EventKind::Created,
            uri: format!("s3://in/2025-12-23-{number}.ndjson").parse().unwrap(),
            size_bytes: Some(1),
            etag: Some(number.to_string()),
            version_id: None,
            sequencer: None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_costs_two_writes_a_file_and_a_retry_two_more() {
    const FILES: usize = 50;
    let (aws, counts) = (Aws::start(), Counts::default());
    let store = aws.fresh_store_through(counts.clone()).await;
    let files = (0..FILES).map(|number| ManifestFile {
        uri: format!("s3://in/2025-12-23-{number}.ndjson").parse().unwrap(),
        size_bytes: Some(1),
        etag: None,
        version_id: None,
    });
    let (id, date, now) = ("m".parse().unwrap(), "2025-12-23".parse().unwrap(), chrono::Utc::now());
    let manifest = Manifest { id, date, created_at: now, files: files.collect(), traceparents: Vec::new() };
    let queued = QueuedManifest { manifest, uri: "s3://m/m.json".to_owned() };
    store.submit(&queued, 0, now).await.unwrap();
    let id = &queued.manifest.id;
    let lock = store.lock("LOCK#runs", "test", chrono::Duration::seconds(30), now).await.unwrap().unwrap();
    counts.take();
    let attempt = store.start_attempt(id, &lock, now).await.unwrap();
    let first = counts.take();
    let failure = Failure::new(FailureClass::Storage, "slow");
    assert!(store.retry_later(id, attempt, &failure, now, now).await.unwrap());
    let attempt = store.start_attempt(id, &lock, now).await.unwrap();
    let retry = counts.take();
    assert_eq!(of(&retry, &WRITES), 2, "{retry:?}");
    store.set_running(id, attempt, now).await.unwrap();
    let commit = Commit { manifest_id: id.clone(), attempt, record: "record".to_owned() };
    assert!(store.commit(&commit, &"result".into(), now).await.unwrap());
    store.complete(id, now).await.unwrap();
    let rest = counts.take();
    let writes = of(&first, &WRITES) + of(&rest, &WRITES);
    eprintln!("a run of {FILES} files costs {writes} writes: {first:?}, {rest:?}");
    // Two of them are for the numbers of the date.
    assert!(writes <= 2 * FILES + 8, "{writes} writes: {first:?} {rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_costs_at_most_three_writes_and_no_read_that_grows_with_what_is_pending() {
    let (aws, counts) = (Aws::start(), Counts::default());
    let store = aws.fresh_store_through(counts.clone()).await;
    let settings = Settings {
        input: "s3://in".parse().unwrap(),
        state: None,
        quarantine: None,
        manifests: Location::parse("s3://manifests").unwrap(),
        output: None,
        rules: FileRules { size_tolerance_percent: 100.0, ..FileRules::default() },
        caps: BatchCaps { max_bytes: 1 << 30, max_files: 200, max_wait_seconds: 1800 },
        overwrites: Overwrites::Record,
        lock_ttl: chrono::Duration::seconds(300),
        unfinished_age: chrono::Duration::zero(),
        max_age: None,
    };
    let objects = MemoryObjects::default();
    events(0, 1400).iter().for_each(|event| objects.put(&event.uri, b"x"));
    let builder = Builder::new(store, Arc::new(objects), settings, "test".to_owned());
    let track = async |first: usize, count: usize| {
        counts.take();
        for batch in events(first, count).chunks(10) {
            builder.arrive(batch).await.unwrap();
        }
        counts.take()
    };
    let empty = track(0, 200).await;
    track(200, 1000).await;
    let full = track(1200, 200).await;
    assert_eq!(of(&full, &READS), of(&empty, &READS), "{empty:?} {full:?}");
    assert_eq!(of(&full, &WRITES), of(&empty, &WRITES), "{empty:?} {full:?}");
    let Cut::Made(made) = builder.cut("2025-12-23".parse().unwrap(), Flush::Now).await.unwrap() else { panic!() };
    let cut = counts.take();
    assert_eq!(made.len(), 7);
    let writes = of(&full, &WRITES) as f64 / 200.0 + of(&cut, &WRITES) as f64 / 1400.0;
    let reads = of(&full, &READS) as f64 / 200.0 + of(&cut, &READS) as f64 / 1400.0;
    eprintln!("a file costs {writes:.2} writes and {reads:.2} reads; cutting {cut:?}");
    assert!(writes <= 3.0 && reads < 0.2, "{writes} writes, {reads} reads: {full:?} {cut:?}");
}
