//! Cases of totals by date, series and notes: what is kept as things change is what a count comes to.

use super::support::*;
use chrono::{Duration, Utc};
use millwork_manifest::{Failure, FailureClass, FileState, QuarantineReason, RunState};
use millwork_tracking::{AttemptStep, AttemptWork, DateTotals, FileTotal, FoundFile, Note, Sample, Span};
use serde_json::json;

fn result(rows: u64) -> serde_json::Value {
    json!({"rows": rows, "rejected": 1, "input_bytes": 14, "output_bytes": 5, "cpu_micros": 9,
        "storage": {"reads": 3, "writes": 4}, "outputs": [{"executor": "a"}, {"executor": "b"}]})
}

async fn totals(store: &Store) -> DateTotals {
    let mut dates = again!(store.date_totals(Some(date()), Some(date()))).unwrap();
    dates.pop().map(|(_, totals)| totals).unwrap_or_default()
}

/// The totals, which a count has to come to as well.
async fn counted(store: &Store) -> DateTotals {
    let kept = totals(store).await;
    let mut counted = again!(store.recount_totals(date())).unwrap();
    // Those under way are not counted by date everywhere.
    let ended = |totals: &mut DateTotals| totals.runs.retain(|state, _| state.is_final());
    let mut compared = kept.clone();
    ended(&mut compared);
    ended(&mut counted);
    assert_eq!(compared, counted);
    assert_eq!(totals(store).await, kept, "a count of what is right changes nothing");
    kept
}

fn files(totals: &DateTotals) -> Vec<(FileState, u64, u64)> {
    totals.files.iter().map(|(state, total)| (*state, total.files, total.bytes)).collect()
}

pub(super) async fn totals_follow_files_and_runs(store: Store) {
    let before = again!(store.arrivals()).unwrap();
    let small = FoundFile { quarantine: Some(QuarantineReason::TooSmall), size_bytes: 1, ..found("small", "1") };
    track(&store, &[found("a", "1"), found("b", "1"), found("c", "1"), small]).await;
    let after = again!(store.arrivals()).unwrap();
    assert_eq!((after.files - before.files, after.bytes - before.bytes), (3, 21));
    let now = counted(&store).await;
    assert_eq!(files(&now), [(FileState::Pending, 3, 21), (FileState::Quarantined, 1, 1)]);
    assert_eq!((now.refused["too-small"], now.oldest_pending), (1, Some(at(0))));
    let id = submit(&store, "m", &["a", "b"], 1).await;
    let now = counted(&store).await;
    assert_eq!(now.files[&FileState::Manifested], FileTotal { files: 2, bytes: 14 });
    let attempt = start(&store, &id, 2).await;
    assert_eq!(counted(&store).await.files[&FileState::Processing].files, 2);
    let failure = Failure::new(FailureClass::Storage, "slow");
    let work = AttemptWork {
        steps: vec![AttemptStep { step: "survey".to_owned(), began_at: at(2), millis: 5 }],
        rows: 3,
        ..AttemptWork::default()
    };
    again!(store.note_work(&id, attempt, &work)).unwrap();
    again!(store.note_work(&id, attempt + 7, &AttemptWork::default())).unwrap();
    assert!(again!(store.retry_later(&id, attempt, &failure, at(3), at(3))).unwrap());
    counted(&store).await;
    assert_eq!(run(&store, &id).await.history[0].work.as_ref(), Some(&work));
    let attempt = start(&store, &id, 4).await;
    let _ = again!(store.commit(&commit("m", attempt), &result(10), at(5))).unwrap();
    again!(store.complete(&id, at(6))).unwrap();
    let now = counted(&store).await;
    assert_eq!(
        files(&now),
        [(FileState::Pending, 1, 7), (FileState::Completed, 2, 14), (FileState::Quarantined, 1, 1)]
    );
    assert_eq!((now.runs[&RunState::Completed], now.output.rows, now.output.rejected), (1, 10, 1));
    assert_eq!((now.output.reads, now.output.writes, now.output.cpu_micros), (3, 4, 9));
    let listed = run(&store, &id).await.summary.unwrap();
    assert_eq!((listed.rows, listed.outputs, listed.executors), (10, 2, 2));
    failed_and_forced(&store).await;
}

async fn failed_and_forced(store: &Store) {
    let id = submit(store, "n", &["c"], 7).await;
    let attempt = start(store, &id, 8).await;
    again!(store.fail(&id, attempt, &Failure::new(FailureClass::Bug, "a bug"), at(9))).unwrap();
    let now = counted(store).await;
    assert_eq!((now.runs[&RunState::Failed], now.files[&FileState::Failed].files), (1, 1));
    again!(store.requeue(&id, at(10))).unwrap();
    assert_eq!(counted(store).await.runs.get(&RunState::Failed), None);
    let attempt = start(store, &id, 11).await;
    let _ = again!(store.commit(&commit("n", attempt), &result(20), at(12))).unwrap();
    again!(store.complete(&id, at(13))).unwrap();
    assert_eq!(counted(store).await.output.rows, 30);
    again!(store.force(&id, at(14))).unwrap();
    let attempt = start(store, &id, 15).await;
    let _ = again!(store.commit(&commit("n", attempt), &result(25), at(16))).unwrap();
    again!(store.complete(&id, at(17))).unwrap();
    let now = counted(store).await;
    assert_eq!((now.output.rows, now.runs[&RunState::Completed]), (35, 2), "one output took the place of another");
    assert_eq!(now.last_commit, Some(at(16)));
}

pub(super) async fn samples_and_notes_are_kept_and_replaced(store: Store) {
    let now = Span::Minute.begin(Utc::now());
    let sample =
        |minutes: i64, rows| Sample { at: (now + Duration::minutes(minutes)).timestamp(), rows, ..Sample::default() };
    for span in Span::ALL {
        for (minutes, rows) in [(-60, 1), (-1, 2), (0, 3), (0, 4)] {
            again!(store.put_sample(span, &sample(minutes, rows))).unwrap();
        }
        let rows = async |from, to| {
            let found =
                again!(store.samples(span, now + Duration::minutes(from), now + Duration::minutes(to))).unwrap();
            found.into_iter().map(|sample| sample.rows).collect::<Vec<_>>()
        };
        assert_eq!(rows(-120, 1).await, [1, 2, 4]);
        assert_eq!(rows(-1, 0).await, [2]);
        assert_eq!(rows(1, 1).await, [0; 0]);
    }
    let note = |name: &str, value: u64| Note { name: name.to_owned(), at: now, value: value.into() };
    for (name, value, minutes) in [("a", 1, 10), ("b", 2, 10), ("a", 3, 10), ("old", 4, -10)] {
        again!(store.put_note("kind", &note(name, value), now + Duration::minutes(minutes))).unwrap();
    }
    let notes = again!(store.notes("kind", now)).unwrap();
    assert_eq!(notes, [note("a", 3), note("b", 2)]);
    assert!(again!(store.notes("other", now)).unwrap().is_empty());
    assert_eq!(again!(store.note("kind", "a", now)).unwrap(), Some(note("a", 3)));
    for (kind, name) in [("kind", "old"), ("kind", "c"), ("other", "a")] {
        assert_eq!(again!(store.note(kind, name, now)).unwrap(), None, "{kind} {name}");
    }
    again!(store.prune(now + Duration::days(500))).unwrap();
}
