//! What is SQLite's own; what every store does is in the conformance suite.

use super::*;
use crate::Tracked;
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
    Manifest { id: id.parse().unwrap(), date: "2025-12-23".parse().unwrap(), created_at: now, files }
}

#[test]
fn one_process_runs_a_state_and_others_may_read_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/state.db");
    let owner = SqliteStore::open_as_owner(&path).unwrap();
    assert!(matches!(SqliteStore::open_as_owner(&path), Err(TrackingError::InUse(_))));
    assert!(SqliteStore::open(&path).is_ok());
    drop(owner);
    assert!(SqliteStore::open_as_owner(&path).is_ok());
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
    // All of them are on their way when it is closed.
    let before = futures::future::join_all((0..50).map(|n| track(n.to_string())));
    let (before, ()) = tokio::join!(before, store.close());
    assert!(before.iter().all(Result::is_ok));
    assert!(matches!(track("late".to_owned()).await, Err(TrackingError::Unavailable { .. })));
    // Once more is nothing; there is no log beside the database any more.
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
    // What is not valid stays so.
    let error = store.run_head(&"turn-badly".parse().unwrap()).await.unwrap_err();
    assert!(!error.can_pass(), "{error}");
}
