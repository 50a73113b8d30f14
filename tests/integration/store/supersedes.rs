//! Cases of committed runs whose output is lost before it is shown.

use super::runs::{cancelled, storage};
use super::support::*;
use millwork_manifest::{FileState, ManifestId, RunState};
use millwork_tracking::{Replaced, TrackingError, TrackingResult};

fn is_conflict<T>(result: &TrackingResult<T>) -> bool {
    matches!(result, Err(TrackingError::Conflict { .. }))
}

fn lost() -> millwork_manifest::Failure {
    storage("its private files are gone")
}

fn replaced(attempt: u32, is_superseded: bool) -> Replaced {
    Replaced { commit: commit("m", attempt), is_superseded }
}

/// A run that is committed, and not published. Returns its attempt.
async fn committed(store: &Store) -> (ManifestId, u32) {
    let id = submit(store, "m", &["a", "b"], 0).await;
    let attempt = start(store, &id, 1).await;
    let _ = again!(store.commit(&commit("m", attempt), &"first".into(), at(2))).unwrap();
    (id, attempt)
}

pub(super) async fn a_lost_output_is_given_up_for_another(store: Store) {
    let (id, first) = committed(&store).await;
    let id = &id;
    again!(store.supersede(id, first, &lost(), Some(at(60)), at(3))).unwrap();
    again!(store.supersede(id, first, &lost(), Some(at(60)), at(4))).unwrap();
    let queued = run(&store, id).await;
    assert_eq!((queued.state, queued.generation, queued.committed_at), (RunState::Queued, 2, None));
    assert_eq!((queued.failure, queued.not_before, queued.result), (Some(lost()), Some(at(60)), None));
    assert_eq!(queued.history.last().unwrap().failure, Some(lost()));
    assert_eq!(states(&store).await, [(FileState::Processing, 2)]);
    assert!(due(&store, 59).await.is_empty() && again!(store.open_runs()).unwrap().is_empty());
    assert_eq!(due(&store, 60).await, ["m"]);
    assert_eq!(again!(store.unpublished(id)).unwrap(), None);
    assert_eq!(again!(store.replaced(id)).unwrap(), [replaced(first, true)]);
    // Whoever still has the record changes nothing.
    assert!(is_conflict(&again!(store.complete(id, at(61)))));
    assert!(again!(store.commit(&commit("m", first), &"late".into(), at(61))).is_err());
    let second = start(&store, id, 62).await;
    assert!(is_conflict(&again!(store.supersede(id, first, &lost(), None, at(63)))));
    assert!(is_conflict(&again!(store.supersede(id, second, &lost(), None, at(63)))));
    assert_eq!(again!(store.replaced(id)).unwrap(), [replaced(first, true)]);
    let _ = again!(store.commit(&commit("m", second), &"second".into(), at(64))).unwrap();
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(commit("m", second)));
    assert_eq!(states(&store).await, [(FileState::Processing, 2)]);
    // It can happen again.
    again!(store.supersede(id, second, &lost(), None, at(65))).unwrap();
    assert_eq!(again!(store.replaced(id)).unwrap(), [replaced(second, true), replaced(first, true)]);
    let third = start(&store, id, 66).await;
    finish(&store, id, third, "third").await;
    let done = run(&store, id).await;
    assert_eq!((done.state, done.generation, done.result), (RunState::Completed, 3, Some("third".into())));
    assert_eq!(done.failure, None);
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    // What is forced after that replaces what is shown, and no more.
    again!(store.force(id, at(300))).unwrap();
    assert_eq!(again!(store.replaced(id)).unwrap(), [replaced(third, false)]);
}

pub(super) async fn a_run_that_gave_its_output_up_can_fail_and_be_cancelled(store: Store) {
    let (id, first) = committed(&store).await;
    let id = &id;
    again!(store.supersede(id, first, &lost(), None, at(3))).unwrap();
    let second = start(&store, id, 4).await;
    again!(store.fail(id, second, &storage("broken"), at(5))).unwrap();
    assert_eq!((run(&store, id).await.state, run(&store, id).await.result), (RunState::Failed, None));
    assert_eq!(states(&store).await, [(FileState::Failed, 2)]);
    again!(store.requeue(id, at(6))).unwrap();
    assert_eq!(again!(store.replaced(id)).unwrap(), [replaced(first, true)]);
    let third = start(&store, id, 7).await;
    let _ = again!(store.commit(&commit("m", third), &"third".into(), at(8))).unwrap();
    let refused = again!(store.cancel(id, at(9)));
    assert!(is_conflict(&refused) && format!("{refused:?}").contains("retry it"), "{refused:?}");
    again!(store.supersede(id, third, &lost(), None, at(10))).unwrap();
    assert_eq!(again!(store.cancel(id, at(11))).unwrap(), RunState::Cancelled);
    assert_eq!(states(&store).await, [(FileState::Failed, 2)]);
    again!(store.requeue(id, at(12))).unwrap();
    let fourth = start(&store, id, 13).await;
    finish(&store, id, fourth, "fourth").await;
    assert_eq!(run(&store, id).await.result, Some("fourth".into()));
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
}

pub(super) async fn a_forced_run_falls_back_on_the_output_it_had(store: Store) {
    let (id, first) = committed(&store).await;
    let id = &id;
    again!(store.complete(id, at(3))).unwrap();
    again!(store.force(id, at(4))).unwrap();
    let second = start(&store, id, 5).await;
    let _ = again!(store.commit(&commit("m", second), &"second".into(), at(6))).unwrap();
    again!(store.supersede(id, second, &lost(), None, at(7))).unwrap();
    let queued = run(&store, id).await;
    assert_eq!((queued.state, queued.generation, queued.result), (RunState::Queued, 3, Some("first".into())));
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    assert_eq!(again!(store.replaced(id)).unwrap(), [replaced(second, true), replaced(first, false)]);
    let third = start(&store, id, 8).await;
    again!(store.fail(id, third, &cancelled(), at(9))).unwrap();
    let kept = run(&store, id).await;
    assert_eq!((kept.state, kept.result), (RunState::Completed, Some("first".into())));
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    again!(store.force(id, at(10))).unwrap();
    assert_eq!(again!(store.replaced(id)).unwrap(), [replaced(second, true), replaced(first, false)]);
    let fourth = start(&store, id, 11).await;
    finish(&store, id, fourth, "fourth").await;
    assert_eq!(run(&store, id).await.result, Some("fourth".into()));
}

pub(super) async fn only_a_committed_output_is_given_up(store: Store) {
    let id = &submit(&store, "m", &["a"], 0).await;
    let give_up = async |attempt, seconds| again!(store.supersede(id, attempt, &lost(), None, at(seconds)));
    assert!(is_conflict(&give_up(0, 1).await));
    let attempt = start(&store, id, 2).await;
    assert!(is_conflict(&give_up(attempt, 3).await));
    finish(&store, id, attempt, "done").await;
    assert!(is_conflict(&give_up(attempt, 200).await));
    assert_eq!(run(&store, id).await.state, RunState::Completed);
}
