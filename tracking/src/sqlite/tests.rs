//! The store's behaviour, method by method.

use super::*;
use millwork_manifest::{FailureClass, ManifestFile};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn found(name: &str, etag: &str) -> FoundFile {
    FoundFile {
        uri: format!("s3://in/2025-12-23-{name}.ndjson").parse().unwrap(),
        date: "2025-12-23".parse().ok(),
        size_bytes: 7,
        etag: etag.to_owned(),
        quarantine: None,
    }
}

fn manifest(id: &str, names: &[&str]) -> QueuedManifest {
    let file =
        |name: &&str| ManifestFile { uri: found(name, "").uri, size_bytes: Some(7), etag: None, version_id: None };
    let manifest = Manifest {
        id: id.parse().unwrap(),
        date: "2025-12-23".parse().unwrap(),
        created_at: now(),
        files: names.iter().map(file).collect(),
    };
    QueuedManifest { manifest, uri: format!("s3://m/{id}.json") }
}

fn store() -> (tempfile::TempDir, SqliteStore) {
    let root = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&root.path().join("deep/state.db")).unwrap();
    (root, store)
}

fn states(store: &SqliteStore) -> Vec<(FileState, u64)> {
    store.count_files().unwrap()
}

fn commit(id: &str, attempt: u32) -> Commit {
    Commit { manifest_id: id.parse().unwrap(), attempt, record: "{}".to_owned() }
}

#[test]
fn a_run_goes_through_its_life() {
    let (_root, store) = store();
    assert_eq!(store.track(&[found("a", "1"), found("b", "1")], now()).unwrap(), [Tracked::New; 2]);
    assert_eq!(store.track(&[found("a", "1")], now()).unwrap(), [Tracked::Known]);
    assert_eq!(store.waiting().unwrap().len(), 2);
    let queued = manifest("m", &["a", "b"]);
    assert!(store.queue(&queued, now()).unwrap());
    assert!(!store.queue(&queued, now()).unwrap());
    assert!(store.waiting().unwrap().is_empty());
    let id = &queued.manifest.id;
    assert_eq!(store.start_attempt(id, now()).unwrap(), 1);
    assert!(store.commit(&commit("m", 1), &serde_json::json!({"rows": 3}), now()).unwrap());
    assert!(!store.commit(&commit("m", 1), &serde_json::json!({}), now()).unwrap());
    assert!(store.fail(id, &Failure::new(FailureClass::Bug, "late"), now()).is_err());
    assert_eq!(store.unpublished(id).unwrap(), Some(commit("m", 1)));
    store.complete(id, now()).unwrap();
    assert_eq!(store.unpublished(id).unwrap(), None);
    assert_eq!(states(&store), [(FileState::Completed, 2)]);
    let run = store.run(id).unwrap().unwrap();
    assert_eq!((run.state, run.result.unwrap()["rows"].as_u64()), (RunState::Completed, Some(3)));
    let timeline = store.timeline(&found("a", "").uri).unwrap();
    let seen: Vec<_> = timeline.into_iter().map(|entry| entry.state).collect();
    assert_eq!(seen, [FileState::Pending, FileState::Manifested, FileState::Processing, FileState::Completed]);
}

#[test]
fn a_file_is_in_one_manifest_at_a_time() {
    let (_root, store) = store();
    store.queue(&manifest("m", &["a"]), now()).unwrap();
    let error = store.queue(&manifest("n", &["b", "a"]), now()).unwrap_err().to_string();
    assert!(error.contains("2025-12-23-a.ndjson` is manifested in manifest `m`"), "{error}");
    assert_eq!(states(&store), [(FileState::Manifested, 1)]);
    assert!(store.run(&"n".parse().unwrap()).unwrap().is_none());
}

#[test]
fn an_attempt_that_was_given_up_cannot_commit() {
    let (_root, store) = store();
    let queued = manifest("m", &["a"]);
    store.queue(&queued, now()).unwrap();
    store.start_attempt(&queued.manifest.id, now()).unwrap();
    assert_eq!(store.unfinished().unwrap().len(), 1);
    assert_eq!(store.start_attempt(&queued.manifest.id, now()).unwrap(), 2);
    assert!(!store.commit(&commit("m", 1), &serde_json::json!({}), now()).unwrap());
    assert!(store.commit(&commit("m", 2), &serde_json::json!({}), now()).unwrap());
}

#[test]
fn files_of_a_failed_run_can_go_into_another_but_not_into_two() {
    let (_root, store) = store();
    let first = manifest("m", &["a", "b"]);
    store.queue(&first, now()).unwrap();
    store.start_attempt(&first.manifest.id, now()).unwrap();
    store.fail(&first.manifest.id, &Failure::new(FailureClass::Input, "bad file"), now()).unwrap();
    assert_eq!(store.waiting().unwrap().len(), 2);
    store.queue(&manifest("n", &["a"]), now()).unwrap();
    let error = store.requeue(&first.manifest.id, now()).unwrap_err().to_string();
    assert!(error.contains("left with 1 of its 2 files"), "{error}");
    assert_eq!(store.run(&first.manifest.id).unwrap().unwrap().state, RunState::Failed);
}

#[test]
fn one_bad_file_fails_alone() {
    let (_root, store) = store();
    let queued = manifest("m", &["a", "b", "c"]);
    store.queue(&queued, now()).unwrap();
    store.start_attempt(&queued.manifest.id, now()).unwrap();
    let failure = Failure::new(FailureClass::Input, "bad file").of_file(found("b", "").uri);
    store.fail(&queued.manifest.id, &failure, now()).unwrap();
    assert_eq!(states(&store), [(FileState::Failed, 1), (FileState::Pending, 2)]);
    store.requeue(&queued.manifest.id, now()).unwrap();
    assert_eq!(states(&store), [(FileState::Manifested, 3)]);
}

#[test]
fn an_id_stands_for_the_same_files_for_ever() {
    let (_root, store) = store();
    store.queue(&manifest("m", &["a"]), now()).unwrap();
    let error = store.queue(&manifest("m", &["a", "b"]), now()).unwrap_err().to_string();
    assert!(error.contains("known with other files"), "{error}");
    assert_eq!(states(&store), [(FileState::Manifested, 1)]);
}

#[test]
fn changed_files_are_taken_over_until_they_are_converted() {
    let (_root, store) = store();
    store.track(&[found("a", "1")], now()).unwrap();
    assert_eq!(store.track(&[found("a", "2")], now()).unwrap(), [Tracked::Updated]);
    assert_eq!(store.waiting().unwrap()[0].etag, "2");
    store.queue(&manifest("m", &["a"]), now()).unwrap();
    assert_eq!(store.track(&[found("a", "3"), found("a", "3")], now()).unwrap(), [Tracked::Overwritten; 2]);
    let overwritten = store.timeline(&found("a", "").uri).unwrap();
    assert_eq!(overwritten.iter().filter(|entry| entry.detail.as_deref() == Some("overwritten: etag 3")).count(), 1);
}

#[test]
fn a_quarantined_file_comes_back_with_other_content() {
    let (_root, store) = store();
    let bad = |etag: &str| FoundFile { quarantine: Some(QuarantineReason::TooSmall), ..found("a", etag) };
    assert_eq!(store.track(&[bad("1")], now()).unwrap(), [Tracked::Quarantined(QuarantineReason::TooSmall)]);
    let still = Tracked::StillQuarantined(QuarantineReason::TooSmall);
    assert_eq!(store.track(&[bad("1")], now()).unwrap(), [still]);
    assert_eq!(store.track(&[found("a", "2")], now()).unwrap(), [Tracked::Updated]);
    store.mark_missing(&found("a", "").uri, now()).unwrap();
    assert_eq!(states(&store), [(FileState::Quarantined, 1)]);
}

#[test]
fn one_process_runs_a_state_and_others_may_read_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    let owner = SqliteStore::open_as_owner(&path).unwrap();
    assert!(matches!(SqliteStore::open_as_owner(&path), Err(TrackingError::InUse(_))));
    assert!(SqliteStore::open(&path).is_ok());
    drop(owner);
    assert!(SqliteStore::open_as_owner(&path).is_ok());
}

#[test]
fn batch_indexes_are_never_given_twice() {
    let (_root, store) = store();
    let date = "2025-12-23".parse().unwrap();
    assert_eq!([1, 2, 3].map(|_| store.next_batch_index(date).unwrap()), [1, 2, 3]);
    assert_eq!(store.next_batch_index("2025-12-24".parse().unwrap()).unwrap(), 1);
}

#[test]
fn a_newer_format_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(TrackingError::TooNew { found: 99, .. })));
}
