//! What is SQLite's own; what every store does is in the conformance suite.

use super::*;
use crate::Tracked;
use rusqlite::Connection;

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
        manifest: Manifest {
            id: id.parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: now,
            files: names
                .iter()
                .map(|name| millwork_manifest::ManifestFile {
                    uri: found(name).uri,
                    size_bytes: Some(7),
                    etag: None,
                    version_id: None,
                })
                .collect(),
        },
        uri: format!("s3://m/{id}.json"),
    };
    let (first, second, third) = (manifest("m", &["a"]), manifest("n", &["b", "a"]), manifest("o", &["c"]));
    let all = futures::join!(store.submit(&first, 0, now), store.submit(&second, 0, now), store.submit(&third, 0, now));
    assert!(matches!((&all.0, &all.1, &all.2), (Ok(true), Err(TrackingError::Taken { .. }), Ok(true))), "{all:?}");
    assert_eq!(store.count_files().await.unwrap(), [(FileState::Manifested, 2)]);
}
