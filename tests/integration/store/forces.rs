//! Cases of completed runs that are forced.

use super::runs::{cancelled, storage};
use super::support::*;
use millwork_manifest::{FileState, RunState};
use millwork_tracking::{FoundFile, Overwrites, Replaced, Sequencer, TrackingError};

/// A run that is completed once.
async fn completed(store: &Store) -> millwork_manifest::ManifestId {
    let known = |name| FoundFile { sequencer: Some(Sequencer::new("1")), ..found(name, "1") };
    track(store, &[known("a"), known("b")]).await;
    let id = submit(store, "m", &["a", "b"], 0).await;
    let attempt = start(store, &id, 1).await;
    finish(store, &id, attempt, "first").await;
    id
}

pub(super) async fn a_forced_run_replaces_its_output(store: Store) {
    let id = &completed(&store).await;
    let first = run(&store, id).await;
    assert_eq!(again!(store.replaced(id)).unwrap(), []);
    again!(store.force(id, at(200))).unwrap();
    again!(store.force(id, at(201))).unwrap();
    let forced = run(&store, id).await;
    assert_eq!((forced.state, forced.generation, forced.ended_at), (RunState::Queued, 2, None));
    assert_eq!(forced.result, Some("first".into()));
    assert_eq!(due(&store, 202).await, ["m"]);
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    let replaced = [Replaced { commit: commit("m", first.attempts), is_superseded: false }];
    assert_eq!(again!(store.replaced(id)).unwrap(), replaced);
    let attempt = start(&store, id, 203).await;
    assert!(attempt > first.attempts);
    assert!(again!(store.retry_later(id, attempt, &storage("slow"), at(204), at(203))).unwrap());
    let attempt = start(&store, id, 204).await;
    assert_eq!(again!(store.replaced(id)).unwrap(), replaced);
    assert_eq!(again!(store.unpublished(id)).unwrap(), None);
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    assert!(!again!(store.commit(&commit("m", first.attempts), &"late".into(), at(205))).unwrap());
    let _ = again!(store.commit(&commit("m", attempt), &"second".into(), at(205))).unwrap();
    assert_eq!(again!(store.replaced(id)).unwrap(), []);
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(commit("m", attempt)));
    again!(store.complete(id, at(206))).unwrap();
    let second = run(&store, id).await;
    assert_eq!((second.state, second.generation, second.failure), (RunState::Completed, 2, None));
    assert_eq!((second.result, second.ended_at), (Some("second".into()), Some(at(206))));
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    // They were not touched.
    assert_eq!(again!(store.timeline(&uri("a"))).unwrap().len(), 4);
}

pub(super) async fn a_forced_run_that_comes_to_nothing_keeps_the_output_it_had(store: Store) {
    let id = &completed(&store).await;
    let kept = async |failure| {
        let kept = run(&store, id).await;
        assert_eq!((kept.state, kept.result), (RunState::Completed, Some("first".into())));
        assert_eq!((kept.failure, kept.cancel_requested, kept.not_before), (Some(failure), false, None));
        assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
        assert_eq!(again!(store.replaced(id)).unwrap(), []);
        assert!(due(&store, 1000).await.is_empty() && again!(store.open_runs()).unwrap().is_empty());
    };
    again!(store.force(id, at(200))).unwrap();
    let attempt = start(&store, id, 201).await;
    again!(store.fail(id, attempt, &storage("broken"), at(202))).unwrap();
    again!(store.fail(id, attempt, &storage("broken"), at(203))).unwrap();
    kept(storage("broken")).await;
    again!(store.force(id, at(204))).unwrap();
    assert_eq!(again!(store.cancel(id, at(205))).unwrap(), RunState::Completed);
    assert_eq!(again!(store.cancel(id, at(206))).unwrap(), RunState::Completed);
    let failure = run(&store, id).await.failure.unwrap();
    kept(failure).await;
    again!(store.force(id, at(207))).unwrap();
    let attempt = start(&store, id, 208).await;
    assert_eq!(again!(store.cancel(id, at(209))).unwrap(), RunState::Planning);
    assert!(!again!(store.commit(&commit("m", attempt), &"lost".into(), at(210))).unwrap());
    again!(store.fail(id, attempt, &cancelled(), at(211))).unwrap();
    kept(cancelled()).await;
    // It can be forced all the same.
    again!(store.force(id, at(212))).unwrap();
    let attempt = start(&store, id, 213).await;
    finish(&store, id, attempt, "last").await;
    let last = run(&store, id).await;
    assert_eq!((last.result, last.failure), (Some("last".into()), None));
}

pub(super) async fn a_forced_run_whose_files_are_elsewhere_is_refused(store: Store) {
    let id = &completed(&store).await;
    again!(store.force(id, at(200))).unwrap();
    let attempt = start(&store, id, 201).await;
    again!(store.track(&[found("a", "2")], Overwrites::Reprocess, at(202))).unwrap();
    let refused = again!(store.commit(&commit("m", attempt), &"mixed".into(), at(203)));
    assert!(matches!(refused, Err(TrackingError::Conflict { .. })), "{refused:?}");
    let lock = lock_named(&store, "LOCK#runs").await;
    let refused = again!(store.start_attempt(id, &lock, at(204)));
    assert!(matches!(refused, Err(TrackingError::Conflict { .. })), "{refused:?}");
    again!(store.fail(id, attempt, &storage("changed"), at(205))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Completed, 1), (FileState::Pending, 1)]);
    assert_eq!(run(&store, id).await.result, Some("first".into()));
}

pub(super) async fn only_a_completed_run_is_forced(store: Store) {
    let id = &submit(&store, "m", &["a"], 0).await;
    again!(store.force(id, at(1))).unwrap();
    assert_eq!(run(&store, id).await.generation, 1);
    let attempt = start(&store, id, 2).await;
    assert!(again!(store.force(id, at(3))).is_err());
    again!(store.fail(id, attempt, &storage("broken"), at(4))).unwrap();
    assert!(again!(store.force(id, at(5))).is_err());
}
