//! What the builder does in single moments that no history can be waited for to bring about.

use crate::store::faults::{Fate, Faulty, Gate};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use futures::stream::BoxStream;
use millwork_manifest::{BatchCaps, FileRules, Flush, Manifest, ManifestFile, ObjectUri};
use millwork_manifest_builder::{Builder, BuilderError, Cut, Settings};
use millwork_queue::{EventKind, ObjectEvent};
use millwork_storage::{Location, MemoryObjects, Object, Objects, StorageError, StorageResult};
use millwork_tracking::{Draft, Overwrites, QueuedManifest, SqliteStore, TrackingStore};
use std::sync::{Arc, Mutex};

const DATE: &str = "2025-12-23";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn uri(name: &str) -> ObjectUri {
    format!("s3://in/{DATE}-{name}.ndjson").parse().unwrap()
}

fn event(kind: EventKind, name: &str) -> ObjectEvent {
    let (size_bytes, etag) = (Some(7), Some("1".to_owned()));
    ObjectEvent { kind, uri: uri(name), size_bytes, etag, version_id: None, sequencer: Some("5".to_owned()) }
}

/// Notes what is asked of a store, and does something before one operation.
#[derive(Default)]
struct Watch {
    asked: Mutex<Vec<&'static str>>,
    /// Pending files are shown as they once were.
    is_stale: bool,
    /// The draft that is finished before files are looked up.
    finished: Option<(Arc<dyn TrackingStore>, QueuedManifest)>,
}

#[async_trait]
impl Gate for Watch {
    async fn fate(&self, operation: &'static str) -> Fate {
        self.asked.lock().unwrap().push(operation);
        if let Some((store, queued)) = self.finished.as_ref().filter(|_| operation == "files") {
            store.finish_draft(queued, at(5)).await.unwrap();
        }
        if self.is_stale && operation == "pending" { Fate::IsStale } else { Fate::Succeeds }
    }
}

fn builder(store: &Arc<dyn TrackingStore>, watch: &Arc<Watch>, objects: Arc<dyn Objects>, seconds: i64) -> Builder {
    let settings = Settings {
        input: "s3://in".parse().unwrap(),
        state: None,
        quarantine: None,
        manifests: Location::parse("s3://manifests").unwrap(),
        output: None,
        rules: FileRules { size_tolerance_percent: 100.0, ..FileRules::default() },
        caps: BatchCaps { max_bytes: 1000, max_files: 10, max_wait_seconds: 100 },
        overwrites: Overwrites::Record,
        lock_ttl: Duration::seconds(300),
        unfinished_age: chrono::Duration::zero(),
        max_age: None,
    };
    let store = Arc::new(Faulty::new(store.clone(), watch.clone()));
    Builder::new(store, objects, settings, "test".to_owned()).with_clock(Arc::new(move || at(seconds)))
}

fn store() -> Arc<dyn TrackingStore> {
    Arc::new(SqliteStore::in_memory().unwrap())
}

/// Objects with one, whose size is that of its event.
fn objects() -> MemoryObjects {
    let objects = MemoryObjects::default();
    objects.put(&uri("a"), b"1234567");
    objects
}

#[tokio::test]
async fn a_backlog_is_counted_anew_only_where_it_was_wrong() {
    let (store, objects) = (store(), Arc::new(objects()));
    let new = |watch: &Arc<Watch>, seconds| builder(&store, watch, objects.clone(), seconds);
    let watch = Arc::new(Watch::default());
    new(&watch, 0).arrive(&[event(EventKind::Created, "a")]).await.unwrap();
    assert!(new(&watch, 1).sweep().await.unwrap().made.is_empty());
    assert!(!watch.asked.lock().unwrap().contains(&"recount"));
    // The counters say that it is due, and nothing is found.
    let stale = Arc::new(Watch { is_stale: true, ..Watch::default() });
    assert!(new(&stale, 200).sweep().await.unwrap().made.is_empty());
    assert!(stale.asked.lock().unwrap().contains(&"recount"));
    assert_eq!(new(&watch, 200).sweep().await.unwrap().made.len(), 1);
    assert!(!watch.asked.lock().unwrap().contains(&"recount"));
}

#[tokio::test]
async fn a_draft_that_somebody_else_finishes_meanwhile_is_not_dropped() {
    let store = store();
    let watch = Arc::new(Watch::default());
    let objects = Arc::new(objects());
    builder(&store, &watch, objects.clone(), 0).arrive(&[event(EventKind::Created, "a")]).await.unwrap();
    let lock = store.lock(&format!("LOCK#{DATE}"), "other", Duration::seconds(10), at(1)).await.unwrap().unwrap();
    let file = ManifestFile { uri: uri("a"), size_bytes: Some(7), etag: Some("1".to_owned()), version_id: None };
    let (id, date) = ("m".parse().unwrap(), DATE.parse().unwrap());
    let manifest = Manifest { id, date, created_at: at(1), files: vec![file], traceparents: Vec::new() };
    let draft = Draft { manifest: manifest.clone(), uri: "s3://manifests/m.json".to_owned(), begun_at: at(1) };
    store.begin_draft(&draft, &lock).await.unwrap();
    let seen = store.pending(date, 10).await.unwrap();
    store.claim(&manifest.id, &seen, &lock, at(2)).await.unwrap();
    store.unlock(&lock).await.unwrap();
    let queued = QueuedManifest { manifest, uri: draft.uri };
    let watch = Arc::new(Watch { finished: Some((store.clone(), queued)), ..Watch::default() });
    let swept = builder(&store, &watch, objects, 50).sweep().await.unwrap();
    assert_eq!((swept.dropped, swept.finished.len()), (0, 0), "{swept:?}");
}

/// Objects that nobody can look at.
struct Unreachable;

fn unreachable<T>() -> StorageResult<T> {
    Err(StorageError { operation: "reach", object: "object".to_owned(), source: std::io::Error::other("fault") })
}

#[async_trait]
impl Objects for Unreachable {
    async fn list(&self, _place: &Location) -> StorageResult<BoxStream<'static, StorageResult<Object>>> {
        unreachable()
    }
    async fn head(&self, _uri: &ObjectUri) -> StorageResult<Object> {
        unreachable()
    }
    async fn read(&self, _uri: &ObjectUri) -> StorageResult<Vec<u8>> {
        unreachable()
    }
    async fn write_once(&self, _uri: &ObjectUri, _content: &[u8]) -> StorageResult<bool> {
        unreachable()
    }
    async fn move_object(&self, _from: &ObjectUri, _to: &ObjectUri, _etag: &str) -> StorageResult<()> {
        unreachable()
    }
}

#[tokio::test]
async fn a_removal_that_cannot_be_verified_comes_again() {
    let (store, watch) = (store(), Arc::new(Watch::default()));
    builder(&store, &watch, Arc::new(objects()), 0).arrive(&[event(EventKind::Created, "a")]).await.unwrap();
    let builder = builder(&store, &watch, Arc::new(Unreachable), 0);
    for kind in [EventKind::Created, EventKind::Removed] {
        assert!(builder.arrive(&[event(kind, "a")]).await.is_err());
    }
    assert_eq!(store.pending(DATE.parse().unwrap(), 10).await.unwrap().len(), 1);
}

/// Objects of these names, and the events of them.
async fn arrived(store: &Arc<dyn TrackingStore>, watch: &Arc<Watch>, names: &[String]) -> Arc<MemoryObjects> {
    let objects = Arc::new(MemoryObjects::default());
    names.iter().for_each(|name| objects.put(&uri(name), b"1234567"));
    let events: Vec<_> = names.iter().map(|name| event(EventKind::Created, name)).collect();
    builder(store, watch, objects.clone(), 0).arrive(&events).await.unwrap();
    objects
}

#[tokio::test]
async fn a_builder_that_is_told_to_stop_ends_between_two_manifests() {
    let (store, watch, date) = (store(), Arc::new(Watch::default()), DATE.parse().unwrap());
    let names: Vec<_> = (0..35).map(|number| format!("{number:02}")).collect();
    let objects = arrived(&store, &watch, &names).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let stopping = builder(&store, &watch, objects.clone(), 1).with_stop(stop.clone());
    stop.cancel();
    // One is made, and the lock let go of.
    let Cut::Made(made) = stopping.cut(date, Flush::Now).await.unwrap() else { panic!("busy") };
    assert_eq!((made.len(), store.pending(date, 100).await.unwrap().len()), (1, 25));
    assert!(matches!(stopping.sweep().await.unwrap_err(), BuilderError::Stopped));
    // What a listing that was broken off did not show is not taken for gone.
    let place = Location::parse("s3://in").unwrap();
    let nothing = builder(&store, &watch, Arc::new(MemoryObjects::default()), 1).with_stop(stop);
    for done in [nothing.backfill(&place).await.err(), nothing.mark_all_gone(&place).await.err()] {
        assert!(matches!(done, Some(BuilderError::Stopped)), "{done:?}");
    }
    let others = builder(&store, &watch, objects, 200);
    assert_eq!(others.sweep().await.unwrap().made.len(), 3);
    assert!(store.pending(date, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn all_files_that_are_gone_are_found_at_once() {
    let (store, watch, date) = (store(), Arc::new(Watch::default()), DATE.parse().unwrap());
    let names: Vec<_> = (0..40).map(|number| format!("{number:02}")).collect();
    arrived(&store, &watch, &names).await;
    let left = Arc::new(MemoryObjects::default());
    names[37..].iter().for_each(|name| left.put(&uri(name), b"1234567"));
    let builder = builder(&store, &watch, left, 1);
    let place = Location::parse("s3://in").unwrap();
    assert_eq!(builder.mark_all_gone(&place).await.unwrap().len(), 37);
    assert_eq!(store.pending(date, 100).await.unwrap().len(), 3);
    assert_eq!(builder.mark_all_gone(&place).await.unwrap().len(), 0);
}
