//! Cases of many runs: the queue, listings, counts.

use super::runs::storage;
use super::support::*;
use millwork_manifest::{Failure, FailureClass, ManifestId, RunState};
use millwork_tracking::{Run, RunCount, RunFilter, TrackingError};

pub(super) async fn runs_start_by_priority_and_then_by_age(store: Store) {
    for (name, priority, seconds) in [("d", 0, 4), ("b", 0, 2), ("a", -5, 1), ("c", 5, 3), ("e", 5, 5)] {
        let _ = again!(store.submit(&manifest(name, &[name]), priority, at(seconds))).unwrap();
    }
    assert_eq!(due(&store, 10).await, ["c", "e", "b", "d", "a"]);
    let first = again!(store.due(2, at(10))).unwrap();
    assert_eq!(first.iter().map(|run| run.manifest_id.as_str()).collect::<Vec<_>>(), ["c", "e"]);
    again!(store.prioritise(&"a".parse().unwrap(), 6, at(6))).unwrap();
    again!(store.prioritise(&"a".parse().unwrap(), 6, at(7))).unwrap();
    assert_eq!(due(&store, 10).await, ["a", "c", "e", "b", "d"]);
    // Those that wait for their time do not stand in the way of others.
    for name in ["a", "c"] {
        let id = &name.parse().unwrap();
        let attempt = start(&store, id, 8).await;
        again!(store.prioritise(id, -100, at(8))).unwrap();
        assert!(again!(store.retry_later(id, attempt, &storage("slow"), at(60), at(9))).unwrap());
    }
    let next = again!(store.due(1, at(10))).unwrap();
    assert_eq!((next.len(), next[0].manifest_id.as_str()), (1, "e"));
    assert_eq!(due(&store, 60).await, ["a", "c", "e", "b", "d"]);
    let start_first = start(&store, &"e".parse().unwrap(), 61).await;
    assert_eq!((start_first > 0, due(&store, 62).await), (true, ["a", "c", "b", "d"].map(str::to_owned).to_vec()));
}

/// Ten runs of two dates: four failed, of two classes, one is planning, the others wait.
async fn ten_runs(store: &Store) -> Vec<ManifestId> {
    let mut ids = Vec::new();
    for number in 0..10 {
        let name = format!("r{number}");
        let mut queued = manifest(&name, &[&name]);
        if number % 2 == 1 {
            queued.manifest.date = "2025-12-24".parse().unwrap();
            queued.manifest.files[0].uri = format!("s3://in/2025-12-24-{name}.ndjson").parse().unwrap();
        }
        let _ = again!(store.submit(&queued, 0, at(number))).unwrap();
        ids.push(queued.manifest.id);
    }
    for (number, class) in
        [(0, FailureClass::Bug), (1, FailureClass::Storage), (2, FailureClass::Bug), (3, FailureClass::Bug)]
    {
        again!(store.fail(&ids[number], 0, &Failure::new(class, "failed"), at(20))).unwrap();
    }
    start(store, &ids[4], 21).await;
    ids
}

/// All pages of a listing, each of which is followed by a change.
async fn pages(store: &Store, filter: &RunFilter, mut change: impl AsyncFnMut(&[Run])) -> Vec<String> {
    let mut filter = RunFilter { limit: 2, ..filter.clone() };
    let mut seen = Vec::new();
    loop {
        let page = again!(store.list_runs(&filter)).unwrap();
        assert!(page.items.len() <= 2);
        assert!(page.items.iter().all(|run| run.history.is_empty() && run.result.is_none()));
        change(&page.items).await;
        seen.extend(page.items.into_iter().map(|run| run.manifest_id.to_string()));
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => return seen,
        }
    }
}

pub(super) async fn runs_are_listed_page_by_page(store: Store) {
    let ids = ten_runs(&store).await;
    let list = async |filter: RunFilter| pages(&store, &filter, async |_: &[Run]| {}).await;
    let all = RunFilter::default();
    assert_eq!(list(all.clone()).await, ["r9", "r8", "r7", "r6", "r5", "r4", "r3", "r2", "r1", "r0"]);
    assert_eq!(list(RunFilter { date: Some(date()), ..all.clone() }).await, ["r8", "r6", "r4", "r2", "r0"]);
    let failed = RunFilter { state: Some(RunState::Failed), ..all.clone() };
    assert_eq!(list(failed.clone()).await, ["r3", "r2", "r1", "r0"]);
    assert_eq!(list(RunFilter { date: Some(date()), ..failed.clone() }).await, ["r2", "r0"]);
    let bugs = RunFilter { failure_class: Some(FailureClass::Bug), ..all.clone() };
    assert_eq!(list(bugs.clone()).await, ["r3", "r2", "r0"]);
    assert_eq!(
        list(RunFilter { date: Some(date()), state: Some(RunState::Failed), ..bugs.clone() }).await,
        ["r2", "r0"]
    );
    assert!(list(RunFilter { state: Some(RunState::Cancelled), ..all.clone() }).await.is_empty());
    // What has been shown may change, and what comes may go, without anything else being lost.
    let shown = pages(&store, &failed, async |page: &[Run]| {
        for run in page {
            again!(store.requeue(&run.manifest_id, at(30))).unwrap();
        }
    });
    assert_eq!(shown.await, ["r3", "r2", "r1", "r0"]);
    let queued = RunFilter { state: Some(RunState::Queued), ..all.clone() };
    let shown = pages(&store, &queued, async |_: &[Run]| {
        again!(store.cancel(&ids[5], at(31))).unwrap();
    });
    assert_eq!(shown.await, ["r9", "r8", "r7", "r6", "r3", "r2", "r1", "r0"]);
    let page = again!(store.list_runs(&RunFilter { limit: 2, ..queued.clone() })).unwrap();
    assert!(page.next_cursor.is_some());
    for wrong in ["", "nonsense", "bm9uc2Vuc2U", "2025-12-23T00:00:00Z s3://in/a"] {
        let filter = RunFilter { limit: 1, cursor: Some(wrong.to_owned()), ..all.clone() };
        assert!(matches!(again!(store.list_runs(&filter)), Err(TrackingError::BadCursor(_))), "{wrong}");
    }
}

pub(super) async fn what_has_not_ended_is_counted(store: Store) {
    assert!(again!(store.count_runs()).unwrap().is_empty());
    ten_runs(&store).await;
    let mut counts = again!(store.count_runs()).unwrap();
    counts.sort_by_key(|count| count.state.as_str());
    let count =
        |state, runs, oldest| RunCount { state, runs, bytes: 7 * runs, unsized_files: 0, oldest: Some(at(oldest)) };
    assert_eq!(counts, [count(RunState::Planning, 1, 4), count(RunState::Queued, 5, 5)]);
}

pub(super) async fn the_newest_attempts_are_remembered(store: Store) {
    let id = &submit(&store, "m", &["a"], 0).await;
    let lock = lock_named(&store, "LOCK#runs").await;
    let long = "é".repeat(20_000);
    for number in 0..Run::HISTORY + 5 {
        let attempt = again!(store.start_attempt(id, &lock, at(1))).unwrap();
        let failure = storage(&format!("{number} {long}"));
        assert!(again!(store.retry_later(id, attempt, &failure, at(1), at(2))).unwrap());
    }
    let tried = run(&store, id).await;
    assert_eq!((tried.history.len(), tried.failures as usize), (Run::HISTORY, Run::HISTORY + 5));
    let last = tried.history.last().unwrap();
    assert_eq!((last.number, last.ended_at), (tried.attempts, Some(at(2))));
    assert!(last.failure.as_ref().unwrap().message.starts_with(&format!("{} é", Run::HISTORY + 4)));
    assert!(tried.history.is_sorted_by_key(|attempt| attempt.number));
    // By it the scheduler judges whether it tries again.
    assert_eq!(again!(store.due(1, at(3))).unwrap()[0].history.len(), Run::HISTORY);
}
