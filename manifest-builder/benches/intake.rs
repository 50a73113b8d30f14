//! How many files a second are tracked on SQLite, with nothing pending and with 300,000 files of the same date pending,
//! and how many manifests are cut. Events come in batches of ten from several workers, as from SQS; what is acknowledged
//! is durable (`synchronous=FULL`). `cargo bench -p millwork-manifest-builder`

// A benchmark that meets what it did not expect is to fail right there.
#![allow(clippy::unwrap_used, clippy::panic)]

use millwork_manifest::{BatchCaps, FileRules, Flush};
use millwork_manifest_builder::{Builder, Cut, Settings};
use millwork_queue::{EventKind, ObjectEvent};
use millwork_storage::{Location, MemoryObjects};
use millwork_tracking::{Overwrites, SqliteStore, TrackingStore};
use std::sync::Arc;
use std::time::Instant;

const WORKERS: usize = 4;
const BATCH: usize = 10;
const MEASURED: usize = 40_000;
const PENDING: usize = 300_000;

fn event(number: usize) -> ObjectEvent {
    ObjectEvent {
        kind: EventKind::Created,
        uri: format!("s3://in/folder/2025-12-23-file-{number:07}.ndjson").parse().unwrap(),
        size_bytes: Some(3_670_016),
        etag: Some(format!("{number:032x}")),
        version_id: None,
        sequencer: Some(format!("{number:X}")),
    }
}

/// Takes in the files of a range of numbers. Returns files a second.
async fn track(builder: &Builder, first: usize, count: usize, batch: usize) -> f64 {
    let started = Instant::now();
    let workers = (0..WORKERS).map(|worker| {
        let builder = builder.clone();
        tokio::spawn(async move {
            let share = count / WORKERS;
            let numbers: Vec<usize> = (0..share).map(|i| first + worker * share + i).collect();
            for chunk in numbers.chunks(batch) {
                let events: Vec<ObjectEvent> = chunk.iter().map(|number| event(*number)).collect();
                builder.arrive(&events).await.unwrap();
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    count as f64 / started.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn TrackingStore> = Arc::new(SqliteStore::open(&place.path().join("state.db")).unwrap());
    let settings = Settings {
        input: "s3://in".parse().unwrap(),
        state: None,
        quarantine: None,
        manifests: Location::parse("s3://manifests").unwrap(),
        output: None,
        rules: FileRules::default(),
        caps: BatchCaps::default(),
        overwrites: Overwrites::Record,
        lock_ttl: chrono::Duration::seconds(300),
        unfinished_age: chrono::Duration::zero(),
        max_age: None,
    };
    let objects = MemoryObjects::default();
    (0..PENDING + MEASURED).for_each(|number| objects.put(&event(number).uri, b"{}"));
    let builder = Builder::new(store.clone(), Arc::new(objects), settings, "bench".to_owned());
    let date = "2025-12-23".parse().unwrap();
    println!("| pending files of the date | files tracked a second |\n|---|---|");
    println!("| 0 | {:.0} |", track(&builder, 0, MEASURED, BATCH).await);
    track(&builder, MEASURED, PENDING - MEASURED, 1000).await;
    println!("| {PENDING} | {:.0} |", track(&builder, PENDING, MEASURED, BATCH).await);
    assert_eq!(store.backlog(date).await.unwrap().pending_files as usize, PENDING + MEASURED);
    let started = Instant::now();
    let Ok(Cut::Made(made)) = builder.cut(date, Flush::Now).await else { panic!("no manifests") };
    let seconds = started.elapsed().as_secs_f64();
    let files: usize = made.iter().map(|queued| queued.manifest.files.len()).sum();
    println!(
        "\n{} manifests of {files} files cut in {seconds:.1} s: {:.0} files a second",
        made.len(),
        files as f64 / seconds
    );
}
