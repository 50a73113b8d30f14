//! Tests specific to SQLite; behaviour common to all stores is in the conformance suite.

use super::*;
use crate::*;
use chrono::{Duration, Utc};
use millwork_manifest::FileState;
use rusqlite::Connection;
use std::sync::Arc;

fn found(name: &str) -> FoundFile {
    FoundFile {
        uri: format!("s3://in/2025-12-23-{name}.ndjson").parse().unwrap(),
        date: "2025-12-23".parse().ok(),
        size_bytes: 7,
        etag: "1".to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    }
}

fn manifest(id: &str, names: &[&str], now: DateTime<Utc>) -> Manifest {
    let file = |name: &&str| millwork_manifest::ManifestFile {
        uri: found(name).uri,
        size_bytes: Some(7),
        etag: None,
        version_id: None,
    };
    let files = names.iter().map(file).collect();
    Manifest {
        id: id.parse().unwrap(),
        date: "2025-12-23".parse().unwrap(),
        created_at: now,
        files,
        traceparents: Vec::new(),
    }
}

#[tokio::test]
async fn what_was_asked_before_the_store_is_closed_is_done_and_nothing_after() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let track = |name: String| {
        let store = store.clone();
        async move { store.track(&[found(&name)], Default::default(), Utc::now()).await }
    };
    // All of these are in progress when the store is closed.
    let before = futures::future::join_all((0..50).map(|n| track(n.to_string())));
    let (before, ()) = tokio::join!(before, store.close());
    assert!(before.iter().all(Result::is_ok));
    assert!(matches!(track("late".to_owned()).await, Err(TrackingError::Unavailable { .. })));
    // Closing twice has no effect; the write-ahead log is gone.
    store.close().await;
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    let again = SqliteStore::open(&path).unwrap();
    let uris: Vec<_> = (0..50).map(|n: u32| found(&n.to_string()).uri).collect();
    assert!(again.files(&uris).await.unwrap().iter().all(Option::is_some));
    assert!(again.files(&[found("late").uri]).await.unwrap()[0].is_none());
}

#[test]
fn another_format_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(TrackingError::Format { found: 99, .. })));
}

#[tokio::test]
async fn several_openers_share_a_file() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    let stores = [SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap()];
    let now = Utc::now();
    let tracking = (0..100).map(|i| {
        let store = &stores[i % 2];
        async move { store.track(&[found(&i.to_string()), found("same")], Overwrites::Record, now).await.unwrap() }
    });
    let outcomes: Vec<Tracked> =
        futures::future::join_all(tracking).await.into_iter().flat_map(|batch| batch.outcomes).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Tracked::New).count(), 101);
    let backlog = stores[0].backlog("2025-12-23".parse().unwrap()).await.unwrap();
    assert_eq!((backlog.pending_files, backlog.pending_bytes), (101, 707));
}

#[tokio::test]
async fn an_operation_that_is_refused_leaves_nothing_and_costs_its_neighbours_nothing() {
    let store = SqliteStore::in_memory().unwrap();
    let now = Utc::now();
    let manifest = |id: &str, names: &[&str]| QueuedManifest {
        manifest: manifest(id, names, now),
        uri: format!("s3://m/{id}.json"),
    };
    let (first, second, third) = (manifest("m", &["a"]), manifest("n", &["b", "a"]), manifest("o", &["c"]));
    let all = futures::join!(store.submit(&first, 0, now), store.submit(&second, 0, now), store.submit(&third, 0, now));
    assert!(matches!((&all.0, &all.1, &all.2), (Ok(true), Err(TrackingError::Taken { .. }), Ok(true))), "{all:?}");
    assert_eq!(store.count_files().await.unwrap(), [(FileState::Manifested, 2)]);
}

#[tokio::test]
async fn one_row_that_cannot_be_read_holds_up_no_other() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    let store = SqliteStore::open(&path).unwrap();
    let now = Utc::now();
    let queued = |id: &str| QueuedManifest { manifest: manifest(id, &[id], now), uri: format!("s3://m/{id}.json") };
    for id in ["waits-badly", "waits", "turn-badly", "turn"] {
        store.submit(&queued(id), 0, now).await.unwrap();
    }
    let lock = store.lock("LOCK", "test", Duration::minutes(1), now).await.unwrap().unwrap();
    for id in ["draft-badly", "draft"] {
        let QueuedManifest { manifest, uri } = queued(id);
        store.begin_draft(&Draft { manifest, uri, begun_at: now }, &lock).await.unwrap();
    }
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch(
            "UPDATE runs SET status = 'running' WHERE manifest_id LIKE 'turn%';
             UPDATE runs SET history = '{' WHERE manifest_id LIKE '%-badly';
             UPDATE documents SET document = '?' WHERE manifest_id = 'draft-badly';",
        )
        .unwrap();
    let ids = |runs: Vec<Run>| runs.into_iter().map(|run| run.manifest_id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(store.due(10, now).await.unwrap()), ["waits"]);
    assert_eq!(ids(store.open_runs().await.unwrap()), ["turn"]);
    let drafts = store.drafts(now + Duration::seconds(1)).await.unwrap();
    assert_eq!(drafts.iter().map(|draft| draft.manifest.id.as_str()).collect::<Vec<_>>(), ["draft"]);
    // An invalid value stays invalid.
    let error = store.run_head(&"turn-badly".parse().unwrap()).await.unwrap_err();
    assert!(!error.can_pass(), "{error}");
}

/// A store on disk, opened by one process.
fn on_disk() -> (tempfile::TempDir, SqliteStore) {
    let root = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&root.path().join("state.db")).unwrap();
    (root, store)
}

#[tokio::test]
async fn a_panic_ends_its_operation_and_nothing_else() {
    let (_root, on_disk) = on_disk();
    for store in [on_disk, SqliteStore::in_memory().unwrap()] {
        let now = Utc::now();
        // The three share a transaction if they are queued at the same time.
        let poison = store.worker.write(|c| -> job::Done<()> {
            c.execute("UPDATE files SET status = 'failed'", [])?;
            panic!("poison")
        });
        let (a, b) = ([found("a")], [found("b")]);
        let (before, poisoned, after) =
            futures::join!(store.track(&a, Overwrites::Record, now), poison, store.track(&b, Overwrites::Record, now));
        assert!(before.is_ok() && after.is_ok());
        let error = poisoned.unwrap_err();
        assert!(!error.can_pass() && error.to_string().contains("a defect of Millwork's"), "{error}");
        assert_eq!(store.count_files().await.unwrap(), [(FileState::Pending, 2)]);
        // More than the number of reader threads.
        for _ in 0..9 {
            let poisoned = store.worker.read(|_| -> job::Done<()> { panic!("poison") }).await;
            assert!(matches!(poisoned, Err(TrackingError::Refused { .. })), "{poisoned:?}");
        }
        assert_eq!(store.count_files().await.unwrap(), [(FileState::Pending, 2)]);
        store.ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_do_not_wait_for_a_write() {
    let (_root, store) = on_disk();
    let (store, now) = (Arc::new(store), Utc::now());
    store.track(&[found("a")], Overwrites::Record, now).await.unwrap();
    let ((begun, has_begun), (go_on, may_go_on)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            let slow = move |c: &Connection| -> job::Done<()> {
                c.execute("UPDATE files SET status = 'failed'", [])?;
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                Ok(())
            };
            store.worker.write(slow).await
        })
    };
    has_begun.recv().unwrap();
    // Uncommitted changes are not visible.
    assert_eq!(store.count_files().await.unwrap(), [(FileState::Pending, 1)]);
    store.ping().await.unwrap();
    go_on.send(()).unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(store.count_files().await.unwrap(), [(FileState::Failed, 1)]);
}

#[tokio::test]
async fn whoever_wrote_something_reads_it() {
    let (_root, store) = on_disk();
    for n in 0..200 {
        let file = found(&n.to_string());
        store.track(std::slice::from_ref(&file), Overwrites::Record, Utc::now()).await.unwrap();
        assert!(store.files(&[file.uri]).await.unwrap()[0].is_some(), "{n}");
    }
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_root, store) = on_disk();
    store.track(&[found("a")], Overwrites::Record, Utc::now()).await.unwrap();
    let written = store.worker.read(|c| Ok(c.execute("DELETE FROM files", [])?)).await;
    let told = written.expect_err("it wrote").to_string();
    assert!(told.contains("cannot be written to"), "{told}");
    assert_eq!(store.count_files().await.unwrap(), [(FileState::Pending, 1)]);
}

#[tokio::test]
async fn a_store_that_is_closed_does_not_live() {
    let (_root, store) = on_disk();
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(TrackingError::Unavailable { .. })));
}

#[tokio::test]
async fn sizes_that_no_object_has_cost_nobody_anything() {
    let (_root, store) = on_disk();
    let (now, date) = (Utc::now(), "2025-12-23".parse().unwrap());
    let huge = |name: &str| FoundFile { size_bytes: u64::MAX, ..found(name) };
    for n in 0..3 {
        store.track(&[huge(&n.to_string()), found("small")], Overwrites::Record, now).await.unwrap();
    }
    let gone = FoundFile { size_bytes: i64::MAX as u64 + 1, ..found("gone") };
    assert!(store.mark_missing(&gone, now).await.unwrap());
    let backlog = store.backlog(date).await.unwrap();
    assert_eq!((backlog.pending_files, backlog.pending_bytes), (4, 3 * ((5 << 40) + 1) + 7));
    let mut queued = QueuedManifest { manifest: manifest("m", &["x", "y", "z"], now), uri: String::new() };
    queued.manifest.files.iter_mut().for_each(|file| file.size_bytes = Some(u64::MAX));
    assert!(store.submit(&queued, 0, now).await.unwrap());
    assert_eq!(store.run_head(&queued.manifest.id).await.unwrap().unwrap().bytes, i64::MAX as u64);
    store.count(&[("bytes", u64::MAX)], now).await.unwrap();
    store.ping().await.unwrap();
}
