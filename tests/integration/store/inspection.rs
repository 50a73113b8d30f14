//! Looks of people at a store, and the change of state that only they make: the same in every store.

use super::support::*;
use crate::servers::Aws;
use chrono::Duration;
use millwork_manifest::{FileState, RunState};
use millwork_tracking::{BuilderNote, FoundContent, Lock, RunSeen, SqliteStore, StateChange, StateChanged};
use std::sync::Arc;

#[tokio::test]
async fn people_see_the_same_in_sqlite() {
    see_and_change(Arc::new(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn people_see_the_same_in_dynamodb() {
    let aws = Aws::start();
    see_and_change(aws.fresh_store().await).await;
}

async fn see_and_change(store: Store) {
    locks_show_who_holds_them(&store).await;
    builders_note_themselves(&store).await;
    names_have_neighbours(&store).await;
    runs_have_a_place_in_the_queue(&store).await;
    a_state_changes_only_if_nothing_else_has(&store).await;
    assert_eq!(store.inspection().faults().await.unwrap(), []);
}

async fn locks_show_who_holds_them(store: &Store) {
    let names = ["LOCK#a", "LOCK#b", "LOCK#c"].map(str::to_owned);
    assert_eq!(store.inspection().locks(&names).await.unwrap(), []);
    let ttl = Duration::seconds(30);
    let held = store.lock("LOCK#b", "one", ttl, at(5)).await.unwrap().unwrap();
    let freed: Lock = store.lock("LOCK#a", "two", ttl, at(6)).await.unwrap().unwrap();
    store.unlock(&freed).await.unwrap();
    let seen = store.inspection().locks(&names).await.unwrap();
    let of = |i: usize| (seen[i].name.as_str(), seen[i].holder.as_str(), seen[i].acquired_at, seen[i].expires_at);
    assert_eq!(of(0), ("LOCK#a", "two", Some(at(6)), None));
    assert_eq!(of(1), ("LOCK#b", "one", Some(at(5)), Some(held.expires_at)));
    assert_eq!((seen.len(), seen[1].token), (2, held.token));
}

async fn builders_note_themselves(store: &Store) {
    let note = |id: &str, seconds| BuilderNote {
        id: id.to_owned(),
        seen_at: at(seconds),
        note: "{\"mode\":\"serve\"}".to_owned(),
    };
    for note in [note("h:1", 0), note("h:2", 5), note("h:1", 9)] {
        store.inspection().note_builder(&note).await.unwrap();
    }
    let seen = store.inspection().builders().await.unwrap();
    assert_eq!(seen, [note("h:1", 9), note("h:2", 5)]);
    assert_eq!(seen[0].about().unwrap().mode, "serve");
}

async fn names_have_neighbours(store: &Store) {
    let _ = track(store, &[found("na", "1"), found("nb", "1"), found("nd", "1")]).await;
    let near = store.inspection().neighbours(&uri("nc"), 1).await.unwrap();
    assert_eq!(near, [uri("nb"), uri("nd")]);
}

async fn runs_have_a_place_in_the_queue(store: &Store) {
    for (i, id) in ["q1", "q2", "q3"].into_iter().enumerate() {
        let _ = submit(store, id, &[&format!("file-{id}")], 10 + i64::try_from(i).unwrap()).await;
    }
    let ahead = async |id: &str, limit| store.inspection().ahead(&id.parse().unwrap(), limit).await.unwrap().unwrap();
    let last = ahead("q3", 10).await;
    assert_eq!((last.runs, last.bytes, last.is_capped), (2, 14, false));
    let capped = ahead("q3", 1).await;
    assert_eq!((capped.runs, capped.is_capped), (1, true));
    store.prioritise(&"q3".parse().unwrap(), 5, at(20)).await.unwrap();
    assert_eq!(ahead("q3", 10).await.runs, 0);
    assert_eq!(ahead("q1", 10).await.runs, 1);
    assert!(store.inspection().ahead(&"unknown".parse().unwrap(), 10).await.unwrap().is_none());
}

async fn a_state_changes_only_if_nothing_else_has(store: &Store) {
    let run = submit(store, "stuck", &["sa", "sb"], 30).await;
    let attempt = start(store, &run, 31).await;
    let seen = file(store, "sa").await;
    let change = |state| StateChange {
        uri: uri("sa"),
        seen: (seen.state, seen.version),
        run: RunSeen::InState(run.clone(), state),
        to: FileState::Pending,
        manifest: None,
        reason: None,
        content: Some(FoundContent { size_bytes: 9, etag: "new".to_owned(), version_id: None }),
        detail: "state update-state by test: because".to_owned(),
    };
    let made = async |change: &StateChange| store.inspection().change_state(change, at(40)).await.unwrap();
    // The run is elsewhere than it was seen.
    assert!(matches!(made(&change(RunState::Failed)).await, StateChanged::Moved(Some(_))));
    assert_eq!(file(store, "sa").await, seen);
    let StateChanged::Done(after) = made(&change(RunState::Planning)).await else { panic!("it was as it was seen") };
    assert_eq!((after.state, after.version, after.size_bytes), (FileState::Pending, seen.version + 1, 9));
    assert_eq!((after.etag.as_str(), &after.manifest_id), ("new", &None));
    assert_eq!(*after, file(store, "sa").await);
    // The same once more finds it changed, and leaves it.
    assert!(matches!(made(&change(RunState::Planning)).await, StateChanged::Moved(Some(now)) if now == after));
    let last = store.timeline(&uri("sa")).await.unwrap().pop().unwrap();
    assert_eq!((last.state, last.detail.as_deref()), (FileState::Pending, Some("state update-state by test: because")));
    // It is counted again, and the run that lost it can start no attempt.
    assert!(pending(store).await.iter().any(|file| file.uri == uri("sa")));
    let backlog = store.backlog(date()).await.unwrap();
    assert_eq!(backlog.pending_files, pending(store).await.len() as u64);
    let failure = millwork_manifest::Failure::new(millwork_manifest::FailureClass::Storage, "x");
    assert!(store.retry_later(&run, attempt, &failure, at(41), at(41)).await.unwrap());
    let lock = lock_named(store, "LOCK#runs").await;
    let error = store.start_attempt(&run, &lock, at(50)).await.unwrap_err();
    assert!(error.to_string().contains("left with 1 of its 2 files"), "{error}");
    let unknown = StateChange { uri: uri("nowhere"), ..change(RunState::Planning) };
    assert_eq!(made(&unknown).await, StateChanged::Moved(None));
}
