//! Cases of runs: attempts, failures, cancelling.

use super::support::*;
use chrono::Duration;
use millwork_manifest::{Failure, FailureClass, FileFault, FileState, RunState};
use millwork_tracking::{TrackingError, TrackingResult};

fn bug(message: &str) -> Failure {
    Failure::new(FailureClass::Bug, message)
}

pub(super) fn storage(message: &str) -> Failure {
    Failure::new(FailureClass::Storage, message)
}

pub(super) fn cancelled() -> Failure {
    Failure::new(FailureClass::Cancelled, "cancelled by somebody")
}

fn is_conflict<T>(result: &TrackingResult<T>) -> bool {
    matches!(result, Err(TrackingError::Conflict { .. }))
}

pub(super) async fn a_run_goes_through_its_life(store: Store) {
    track(&store, &[found("a", "1"), found("b", "1")]).await;
    let queued = manifest("m", &["a", "b"]);
    let id = &queued.manifest.id;
    let _ = again!(store.submit(&queued, 7, at(1))).unwrap();
    assert!(!again!(store.submit(&queued, 8, at(2))).unwrap());
    assert!(pending(&store).await.is_empty());
    assert_eq!(again!(store.manifest(id)).unwrap().as_ref(), Some(&queued.manifest));
    let new = run(&store, id).await;
    assert_eq!((new.state, new.priority, new.files, new.bytes), (RunState::Queued, 7, 2, 14));
    assert_eq!((new.attempts, new.failures, new.generation, new.created_at), (0, 0, 1, at(1)));
    assert_eq!((&*new.manifest_uri, new.history.len(), new.result), ("s3://m/m.json", 0, None));
    assert_eq!(due(&store, 2).await, ["m"]);
    assert!(again!(store.open_runs()).unwrap().is_empty());
    let attempt = start(&store, id, 3).await;
    assert_eq!(states(&store).await, [(FileState::Processing, 2)]);
    assert!(due(&store, 4).await.is_empty());
    let planned = run(&store, id).await;
    assert_eq!((planned.state, planned.attempts, planned.started_at), (RunState::Planning, attempt, Some(at(3))));
    again!(store.set_running(id, attempt, at(4))).unwrap();
    let open = again!(store.open_runs()).unwrap();
    assert_eq!((open[0].state, open[0].history.len()), (RunState::Running, 1));
    let result = serde_json::json!({"rows": 3});
    let _ = again!(store.commit(&commit("m", attempt), &result, at(5))).unwrap();
    assert!(!again!(store.commit(&commit("m", attempt), &serde_json::json!({}), at(6))).unwrap());
    assert!(is_conflict(&again!(store.fail(id, attempt, &bug("late"), at(6)))));
    assert!(is_conflict(&again!(store.retry_later(id, attempt, &bug("late"), at(9), at(6)))));
    assert!(is_conflict(&again!(store.cancel(id, at(6)))));
    again!(store.set_running(id, attempt, at(6))).unwrap();
    assert_eq!(again!(store.open_runs()).unwrap()[0].state, RunState::Committing);
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(commit("m", attempt)));
    assert_eq!(again!(store.replaced(id)).unwrap(), []);
    again!(store.complete(id, at(7))).unwrap();
    again!(store.complete(id, at(8))).unwrap();
    assert_eq!(again!(store.unpublished(id)).unwrap(), None);
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    let done = run(&store, id).await;
    assert_eq!((done.state, done.attempts, done.result), (RunState::Completed, attempt, Some(result)));
    assert_eq!((done.committed_at, done.ended_at, done.failure), (Some(at(5)), Some(at(7)), None));
    assert_eq!(done.history.last().unwrap().ended_at, Some(at(5)));
    assert!(again!(store.open_runs()).unwrap().is_empty());
    let seen: Vec<_> = again!(store.timeline(&uri("a"))).unwrap().into_iter().map(|entry| entry.state).collect();
    use FileState::{Completed, Manifested, Pending, Processing};
    assert_eq!(seen, [Pending, Manifested, Processing, Completed]);
}

pub(super) async fn what_is_not_there_is_refused_or_left(store: Store) {
    let id = &"none".parse().unwrap();
    // It lives all the same.
    again!(store.ping()).unwrap();
    let lock = lock_named(&store, "LOCK#runs").await;
    assert!(again!(store.run(id)).unwrap().is_none());
    assert!(again!(store.manifest(id)).unwrap().is_none());
    assert!(again!(store.unpublished(id)).unwrap().is_none() && again!(store.replaced(id)).unwrap().is_empty());
    assert!(is_conflict(&again!(store.start_attempt(id, &lock, at(0)))));
    assert!(is_conflict(&again!(store.fail(id, 0, &bug("x"), at(0)))));
    assert!(is_conflict(&again!(store.cancel(id, at(0)))));
    assert!(is_conflict(&again!(store.requeue(id, at(0)))));
    assert!(is_conflict(&again!(store.force(id, at(0)))));
    assert!(is_conflict(&again!(store.complete(id, at(0)))));
    assert!(!again!(store.commit(&commit("none", 1), &serde_json::json!({}), at(0))).unwrap());
    again!(store.set_running(id, 1, at(0))).unwrap();
    again!(store.prioritise(id, 1, at(0))).unwrap();
}

pub(super) async fn only_who_holds_the_lock_of_the_runs_starts_attempts(store: Store) {
    let id = &submit(&store, "m", &["a"], 0).await;
    let old = lock_named(&store, "LOCK#runs").await;
    let new = lock_named(&store, "LOCK#runs").await;
    assert!(new.token > old.token);
    let refused = again!(store.start_attempt(id, &old, at(1)));
    assert!(matches!(refused, Err(TrackingError::LockLost { .. })), "{refused:?}");
    let left = run(&store, id).await;
    assert_eq!(
        (left.state, left.attempts, file(&store, "a").await.state),
        (RunState::Queued, 0, FileState::Manifested)
    );
    // Only the token counts, not the time.
    let attempt = again!(store.start_attempt(id, &new, new.expires_at + Duration::seconds(1000))).unwrap();
    // After a crash.
    assert!(again!(store.start_attempt(id, &new, at(2))).unwrap() > attempt);
}

pub(super) async fn an_attempt_that_was_given_up_changes_nothing(store: Store) {
    let id = &submit(&store, "m", &["a"], 0).await;
    let old = start(&store, id, 1).await;
    let new = start(&store, id, 2).await;
    assert!(new > old);
    again!(store.set_running(id, old, at(3))).unwrap();
    assert_eq!(run(&store, id).await.state, RunState::Planning);
    assert!(!again!(store.commit(&commit("m", old), &serde_json::json!({}), at(3))).unwrap());
    assert!(is_conflict(&again!(store.fail(id, old, &bug("late"), at(3)))));
    assert!(is_conflict(&again!(store.retry_later(id, old, &bug("late"), at(9), at(3)))));
    let left = run(&store, id).await;
    assert_eq!((left.state, left.failure, left.failures), (RunState::Planning, None, 0));
    assert!(left.history.iter().all(|attempt| attempt.ended_at.is_none()));
    // The plan may be with the executors before that is noted.
    let _ = again!(store.commit(&commit("m", new), &serde_json::json!({}), at(4))).unwrap();
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(commit("m", new)));
}

pub(super) async fn a_run_that_failed_for_now_waits_for_its_time(store: Store) {
    let id = &submit(&store, "m", &["a", "b"], 0).await;
    let first = start(&store, id, 1).await;
    assert!(again!(store.retry_later(id, first, &storage("slow"), at(60), at(2))).unwrap());
    assert!(again!(store.retry_later(id, first, &storage("slow"), at(60), at(3))).unwrap());
    let waits = run(&store, id).await;
    assert_eq!((waits.state, waits.failures, waits.not_before), (RunState::Queued, 1, Some(at(60))));
    assert_eq!(waits.failure, Some(storage("slow")));
    let ended = waits.history.last().unwrap();
    assert_eq!((ended.number, ended.ended_at, &ended.failure), (first, Some(at(2)), &waits.failure));
    assert_eq!(states(&store).await, [(FileState::Processing, 2)]);
    assert!(due(&store, 59).await.is_empty());
    assert_eq!(due(&store, 60).await, ["m"]);
    assert!(is_conflict(&again!(store.commit(&commit("m", first), &serde_json::json!({}), at(61)))));
    let second = start(&store, id, 61).await;
    let started = run(&store, id).await;
    assert_eq!((started.not_before, started.failures, started.failure), (None, 1, Some(storage("slow"))));
    again!(store.fail(id, second, &storage("still slow"), at(62))).unwrap();
    let failed = run(&store, id).await;
    assert_eq!((failed.state, failed.failures, failed.ended_at), (RunState::Failed, 2, Some(at(62))));
    assert_eq!(states(&store).await, [(FileState::Failed, 2)]);
    again!(store.requeue(id, at(63))).unwrap();
    let again = run(&store, id).await;
    assert_eq!((again.failures, again.failure, again.ended_at), (0, None, None));
    let third = start(&store, id, 64).await;
    finish(&store, id, third, "done").await;
    let done = run(&store, id).await;
    assert_eq!((done.failure, done.history.iter().filter(|attempt| attempt.failure.is_some()).count()), (None, 2));
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
}

pub(super) async fn a_run_is_cancelled_before_its_turn_and_after(store: Store) {
    let id = &submit(&store, "m", &["a", "b"], 0).await;
    assert_eq!(again!(store.cancel(id, at(1))).unwrap(), RunState::Cancelled);
    assert_eq!(again!(store.cancel(id, at(2))).unwrap(), RunState::Cancelled);
    let ended = run(&store, id).await;
    let failure = ended.failure.unwrap();
    assert_eq!((failure.class, ended.ended_at, ended.failures), (FailureClass::Cancelled, Some(at(1)), 0));
    assert_eq!(states(&store).await, [(FileState::Failed, 2)]);
    assert_eq!(file(&store, "a").await.reason, Some(failure.message));
    assert!(due(&store, 3).await.is_empty());
    let lock = lock_named(&store, "LOCK#runs").await;
    assert!(is_conflict(&again!(store.start_attempt(id, &lock, at(3)))));
    again!(store.requeue(id, at(3))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Manifested, 2)]);
    // While it waits to be tried again, its files are processing.
    let attempt = start(&store, id, 4).await;
    assert!(again!(store.retry_later(id, attempt, &storage("slow"), at(60), at(5))).unwrap());
    assert_eq!(again!(store.cancel(id, at(6))).unwrap(), RunState::Cancelled);
    assert_eq!(states(&store).await, [(FileState::Failed, 2)]);
    assert_eq!(run(&store, id).await.not_before, None);
}

pub(super) async fn a_run_that_has_a_turn_is_cancelled_by_who_runs_it(store: Store) {
    let id = &submit(&store, "m", &["a"], 0).await;
    let attempt = start(&store, id, 1).await;
    assert_eq!(again!(store.cancel(id, at(2))).unwrap(), RunState::Planning);
    assert_eq!(again!(store.cancel(id, at(3))).unwrap(), RunState::Planning);
    assert!(again!(store.open_runs()).unwrap()[0].cancel_requested);
    let lock = lock_named(&store, "LOCK#runs").await;
    let refused = again!(store.start_attempt(id, &lock, at(3)));
    assert!(is_conflict(&refused) && format!("{refused:?}").contains("to be cancelled"), "{refused:?}");
    assert!(!again!(store.retry_later(id, attempt, &storage("slow"), at(60), at(3))).unwrap());
    assert!(!again!(store.commit(&commit("m", attempt), &serde_json::json!({}), at(3))).unwrap());
    let asked = run(&store, id).await;
    assert_eq!((asked.state, asked.cancel_requested, asked.failure), (RunState::Planning, true, None));
    again!(store.fail(id, attempt, &cancelled(), at(4))).unwrap();
    again!(store.fail(id, attempt, &cancelled(), at(5))).unwrap();
    let ended = run(&store, id).await;
    assert_eq!((ended.state, ended.cancel_requested, ended.failures), (RunState::Cancelled, false, 0));
    assert_eq!((ended.failure, ended.ended_at), (Some(cancelled()), Some(at(4))));
    assert_eq!(file(&store, "a").await.reason.as_deref(), Some("cancelled by somebody"));
    assert!(is_conflict(&again!(store.commit(&commit("m", attempt), &serde_json::json!({}), at(6)))));
    assert!(again!(store.unpublished(id)).unwrap().is_none());
    // An end by other causes is no less an end.
    again!(store.requeue(id, at(7))).unwrap();
    let attempt = start(&store, id, 8).await;
    again!(store.set_running(id, attempt, at(9))).unwrap();
    assert_eq!(again!(store.cancel(id, at(9))).unwrap(), RunState::Running);
    again!(store.fail(id, attempt, &bug("broken"), at(10))).unwrap();
    let failed = run(&store, id).await;
    assert_eq!((failed.state, failed.cancel_requested), (RunState::Failed, false));
    assert!(is_conflict(&again!(store.cancel(id, at(11)))));
}

pub(super) async fn a_run_fails_before_any_attempt(store: Store) {
    let id = &submit(&store, "m", &["a"], 0).await;
    again!(store.fail(id, 0, &bug("no manifest"), at(1))).unwrap();
    let failed = run(&store, id).await;
    assert_eq!((failed.state, failed.failures, failed.attempts), (RunState::Failed, 0, 0));
    assert_eq!(file(&store, "a").await.reason.as_deref(), Some("no manifest"));
    assert!(is_conflict(&again!(store.fail(id, 0, &bug("another"), at(2)))));
}

pub(super) async fn bad_files_fail_alone(store: Store) {
    let id = &submit(&store, "m", &["a", "b", "c", "d"], 0).await;
    let attempt = start(&store, id, 1).await;
    let fault = |name: &str| FileFault { file: uri(name).to_string(), message: format!("bad file {name}") };
    let failure = Failure::of_files([fault("b"), fault("d"), fault("of another manifest")]).unwrap();
    again!(store.fail(id, attempt, &failure, at(2))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Failed, 2), (FileState::Pending, 2)]);
    assert_eq!(file(&store, "b").await.reason, Some(failure.message.clone()));
    assert_eq!(file(&store, "d").await.reason.as_deref(), Some("bad file d"));
    let failed = run(&store, id).await;
    assert_eq!((failed.state, failed.failure), (RunState::Failed, Some(failure)));
    assert_eq!(again!(store.recount(date())).unwrap().pending_files, 2);
    // With other content it is still nobody else's.
    track(&store, &[found("a", "2"), found("b", "2")]).await;
    again!(store.requeue(id, at(3))).unwrap();
    again!(store.requeue(id, at(4))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Manifested, 4)]);
    let attempt = start(&store, id, 5).await;
    assert!(is_conflict(&again!(store.requeue(id, at(6)))));
    finish(&store, id, attempt, "done").await;
    assert!(is_conflict(&again!(store.requeue(id, at(102)))));
}

pub(super) async fn files_of_a_failed_run_go_into_another_but_not_into_two(store: Store) {
    let id = &submit(&store, "m", &["a", "b"], 0).await;
    let attempt = start(&store, id, 1).await;
    again!(store.fail(id, attempt, &bug("broken"), at(2))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Failed, 2)]);
    submit(&store, "n", &["a"], 3).await;
    let error = again!(store.requeue(id, at(4))).unwrap_err().to_string();
    assert!(
        error.contains("left with 1 of its 2 files: `s3://in/d/2025-12-23-a.ndjson` is manifested in manifest `n`"),
        "{error}"
    );
    assert_eq!(run(&store, id).await.state, RunState::Failed);
    assert_eq!(file(&store, "a").await.manifest_id.as_deref(), Some("n"));
    // The others are free.
    submit(&store, "o", &["b"], 5).await;
}

pub(super) async fn a_run_that_has_lost_a_file_names_it(store: Store) {
    let id = &submit(&store, "m", &["a", "b"], 0).await;
    again!(store.fail(id, 0, &bug("broken"), at(1))).unwrap();
    let _ = again!(store.mark_missing(&found("b", ""), at(2))).unwrap();
    let error = again!(store.requeue(id, at(3))).unwrap_err().to_string();
    let lost =
        "left with 1 of its 2 files: `s3://in/d/2025-12-23-b.ndjson` is quarantined in manifest `m` (missing-object)";
    assert!(error.contains(lost), "{error}");
}
