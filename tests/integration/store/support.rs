//! What the cases share.

use chrono::{DateTime, Duration, TimeZone, Utc};
use millwork_manifest::{DatePrefix, FileState, Manifest, ManifestFile, ManifestId, ObjectUri};
use millwork_tracking::{
    Commit, Draft, FoundFile, Lock, Overwrites, QueuedManifest, Run, Tracked, TrackedFile, TrackingResult,
    TrackingStore,
};
use std::sync::Arc;

pub(super) const DATE: &str = "2025-12-23";

pub(super) fn date() -> DatePrefix {
    DATE.parse().unwrap()
}

/// A time that is still to come: what expires must not be gone before the case ends.
pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(4_102_444_800 + seconds, 0).unwrap()
}

pub(super) fn uri(name: &str) -> ObjectUri {
    format!("s3://in/d/{DATE}-{name}.ndjson").parse().unwrap()
}

pub(super) fn found(name: &str, etag: &str) -> FoundFile {
    FoundFile {
        uri: uri(name),
        date: Some(date()),
        size_bytes: 7,
        etag: etag.to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    }
}

pub(super) fn manifest(id: &str, names: &[&str]) -> QueuedManifest {
    let file = |name: &&str| ManifestFile { uri: uri(name), size_bytes: Some(7), etag: None, version_id: None };
    let files = names.iter().map(file).collect();
    let manifest =
        Manifest { id: id.parse().unwrap(), date: date(), created_at: at(0), files, traceparents: Vec::new() };
    QueuedManifest { manifest, uri: format!("s3://m/{id}.json") }
}

pub(super) fn draft(id: &str, names: &[&str]) -> Draft {
    let QueuedManifest { manifest, uri } = manifest(id, names);
    Draft { manifest, uri, begun_at: at(0) }
}

pub(super) fn commit(id: &str, attempt: u32) -> Commit {
    Commit { manifest_id: id.parse().unwrap(), attempt, record: format!("record of {id} {attempt}") }
}

/// Makes an operation again until it succeeds, or fails for good.
macro_rules! again {
    ($operation:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            match $operation.await {
                Err(error) if error.can_pass() && tries < 50 => {}
                done => break done,
            }
        }
    }};
}
pub(super) use again;

pub(super) type Store = Arc<dyn TrackingStore>;

pub(super) async fn states(store: &Store) -> Vec<(FileState, u64)> {
    let mut states: Vec<_> = again!(store.count_files()).unwrap().into_iter().filter(|(_, count)| *count > 0).collect();
    states.sort_by_key(|(state, _)| state.as_str());
    states
}

pub(super) async fn track(store: &Store, files: &[FoundFile]) -> Vec<Tracked> {
    again!(store.track(files, Overwrites::Record, at(0))).unwrap().outcomes
}

pub(super) async fn file(store: &Store, name: &str) -> TrackedFile {
    again!(store.files(&[uri(name)])).unwrap().remove(0).unwrap()
}

pub(super) async fn lock(store: &Store) -> Lock {
    lock_named(store, "LOCK#2025-12-23").await
}

pub(super) async fn lock_named(store: &Store, name: &str) -> Lock {
    // One that failed after its effect is held: only time frees it.
    for minutes in 0..50 {
        let taken: TrackingResult<Option<Lock>> =
            store.lock(name, "test", Duration::seconds(30), at(minutes * 60)).await;
        if let Ok(Some(lock)) = taken {
            return lock;
        }
    }
    panic!("no lock in 50 minutes")
}

/// Starts an attempt, under the lock of the runs.
pub(super) async fn start(store: &Store, id: &ManifestId, seconds: i64) -> u32 {
    let lock = lock_named(store, "LOCK#runs").await;
    again!(store.start_attempt(id, &lock, at(seconds))).unwrap()
}

pub(super) async fn submit(store: &Store, id: &str, names: &[&str], seconds: i64) -> ManifestId {
    let queued = manifest(id, names);
    let _ = again!(store.submit(&queued, 0, at(seconds))).unwrap();
    queued.manifest.id
}

pub(super) async fn run(store: &Store, id: &ManifestId) -> Run {
    again!(store.run(id)).unwrap().unwrap()
}

pub(super) async fn due(store: &Store, seconds: i64) -> Vec<String> {
    let due = again!(store.due(10, at(seconds))).unwrap();
    due.into_iter().map(|run| run.manifest_id.to_string()).collect()
}

/// Takes a run that has been started to its end.
pub(super) async fn finish(store: &Store, id: &ManifestId, attempt: u32, result: &str) {
    let _ = again!(store.commit(&commit(id.as_str(), attempt), &result.into(), at(100))).unwrap();
    again!(store.complete(id, at(101))).unwrap();
}

pub(super) async fn pending(store: &Store) -> Vec<TrackedFile> {
    again!(store.pending(date(), 100)).unwrap()
}
