//! Cases of files, locks, numbers and notes.

use super::support::*;
use chrono::Duration;
use millwork_manifest::{DatePrefix, Failure, FailureClass, FileState, ObjectUri, QuarantineReason};
use millwork_tracking::{FileFilter, FoundFile, Overwrites, Sequencer, Tracked, TrackedFile, TrackingError};

pub(super) async fn found_twice_is_once(store: Store) {
    track(&store, &[found("a", "1"), found("b", "1"), found("a", "1")]).await;
    assert_eq!(track(&store, &[found("a", "1"), found("b", "1")]).await, [Tracked::Known; 2]);
    assert_eq!(states(&store).await, [(FileState::Pending, 2)]);
    let backlog = again!(store.recount(date())).unwrap();
    assert_eq!((backlog.pending_files, backlog.pending_bytes, backlog.oldest_pending), (2, 14, Some(at(0))));
    assert_eq!(again!(store.backlog(date())).unwrap(), backlog);
    assert_eq!(again!(store.backlogs()).unwrap(), [(date(), backlog)]);
    assert_eq!(pending(&store).await.len(), 2);
    assert_eq!(again!(store.pending(date(), 1)).unwrap().len(), 1);
}

pub(super) async fn changed_content_is_taken_until_it_is_converted(store: Store) {
    let event = |etag: &str, sequencer: &str| FoundFile {
        sequencer: Some(Sequencer::new(sequencer)),
        size_bytes: 9,
        ..found("a", etag)
    };
    track(&store, &[event("1", "0A")]).await;
    track(&store, &[event("2", "00FF")]).await;
    assert_eq!(file(&store, "a").await.etag, "2");
    assert_eq!(track(&store, &[event("1", "0B")]).await, [Tracked::Outdated]);
    assert_eq!(again!(store.recount(date())).unwrap().pending_bytes, 9);
    let _ = again!(store.submit(&manifest("m", &["a"]), 0, at(1))).unwrap();
    assert_eq!(track(&store, &[found("a", "3")]).await, [Tracked::Outdated], "the listing began before the last event");
    let listed = again!(store.track(&[found("a", "3"), found("a", "3")], Overwrites::Record, at(2))).unwrap();
    assert_eq!(listed.outcomes, [Tracked::Overwritten; 2]);
    let overwritten = file(&store, "a").await;
    assert_eq!((overwritten.state, overwritten.etag.as_str()), (FileState::Manifested, "2"));
    assert_eq!(overwritten.overwritten_etag.as_deref(), Some("3"));
    let timeline = again!(store.timeline(&uri("a"))).unwrap();
    let notes = timeline.iter().filter(|entry| entry.detail.as_deref() == Some("overwritten: etag 3"));
    assert_eq!(notes.count(), 1);
}

pub(super) async fn a_converted_file_is_converted_again_only_when_told(store: Store) {
    let queued = manifest("m", &["a"]);
    let _ = again!(store.submit(&queued, 0, at(0))).unwrap();
    let attempt = start(&store, &queued.manifest.id, 1).await;
    let _ = again!(store.commit(&commit("m", attempt), &serde_json::json!({}), at(2))).unwrap();
    again!(store.complete(&queued.manifest.id, at(3))).unwrap();
    let again = manifest("n", &["a"]);
    let refused = again!(store.submit(&again, 0, at(4)));
    assert!(matches!(refused, Err(TrackingError::Taken { state: FileState::Completed, .. })), "{refused:?}");
    // The first manifest did not say what the content was; from here on it is known.
    let known = FoundFile { sequencer: Some(Sequencer::new("5")), ..found("b", "1") };
    track(&store, std::slice::from_ref(&known)).await;
    let _ = again!(store.submit(&manifest("o", &["b"]), 0, at(5))).unwrap();
    let id = "o".parse().unwrap();
    let attempt = start(&store, &id, 6).await;
    let _ = again!(store.commit(&commit("o", attempt), &serde_json::json!({}), at(7))).unwrap();
    again!(store.complete(&id, at(8))).unwrap();
    let changed = [found("b", "2")];
    again!(store.track(&changed, Overwrites::Reprocess, at(9))).unwrap();
    assert_eq!((file(&store, "b").await.state, pending(&store).await.len()), (FileState::Pending, 1));
}

pub(super) async fn refused_files_come_back_when_the_rules_or_they_change(store: Store) {
    let small = |etag: &str| FoundFile { quarantine: Some(QuarantineReason::TooSmall), ..found("a", etag) };
    track(&store, &[small("1")]).await;
    assert_eq!(track(&store, &[small("1")]).await, [Tracked::StillQuarantined(QuarantineReason::TooSmall)]);
    again!(store.mark_moved(&uri("a"), "s3://bad/a", at(1))).unwrap();
    let moved = file(&store, "a").await;
    assert_eq!((moved.reason.as_deref(), moved.quarantine_uri.as_deref()), (Some("too-small"), Some("s3://bad/a")));
    let filter = FileFilter { state: Some(FileState::Quarantined), limit: 10, ..FileFilter::default() };
    assert_eq!(again!(store.list_files(&filter)).unwrap().items.len(), 1);
    track(&store, &[found("a", "2")]).await;
    let back = file(&store, "a").await;
    assert_eq!((back.state, back.reason, back.quarantine_uri), (FileState::Pending, None, None));
    let nameless: ObjectUri = "s3://in/no/date.ndjson".parse().unwrap();
    let dateless =
        FoundFile { uri: nameless.clone(), date: None, quarantine: Some(QuarantineReason::NoDate), ..found("x", "1") };
    track(&store, std::slice::from_ref(&dateless)).await;
    let known = again!(store.files(std::slice::from_ref(&nameless))).unwrap().remove(0).unwrap();
    assert_eq!((known.date, known.state), (None, FileState::Quarantined));
    // The rule may give it a date later; another day does not make it another file.
    let dated = |day: &str| FoundFile { date: day.parse().ok(), quarantine: None, ..dateless.clone() };
    track(&store, &[dated("2025-12-24")]).await;
    assert_eq!(track(&store, &[dated("2025-12-25")]).await, [Tracked::Known]);
    assert_eq!(again!(store.pending("2025-12-24".parse().unwrap(), 10)).unwrap().len(), 1);
}

/// Last line in the timeline of a file, and the state that it tells.
async fn last_note(store: &Store, name: &str) -> (FileState, String) {
    let last = again!(store.timeline(&uri(name))).unwrap().pop().unwrap();
    (last.state, last.detail.unwrap_or_default())
}

pub(super) async fn a_timeline_says_why_a_refused_file_waits_again(store: Store) {
    let small = |name: &str| FoundFile { quarantine: Some(QuarantineReason::TooSmall), ..found(name, "1") };
    track(&store, &[small("rule"), small("content"), found("gone", "1")]).await;
    let _ = again!(store.mark_missing(&found("gone", "1"), at(1))).unwrap();
    assert_eq!(last_note(&store, "rule").await, (FileState::Quarantined, "too-small".to_owned()));
    assert_eq!(last_note(&store, "gone").await, (FileState::Quarantined, "missing-object".to_owned()));
    track(&store, &[found("rule", "1"), found("content", "2"), found("gone", "1")]).await;
    for (name, told) in [
        ("rule", "accepted by the rules of now, with the same content"),
        ("content", "found with other content"),
        ("gone", "found again, with the same content"),
    ] {
        assert_eq!(last_note(&store, name).await, (FileState::Pending, told.to_owned()), "{name}");
    }
}

pub(super) async fn what_is_gone_is_marked_while_it_waits(store: Store) {
    let event = |sequencer: &str| FoundFile { sequencer: Some(Sequencer::new(sequencer)), ..found("a", "1") };
    track(&store, &[event("5")]).await;
    assert!(!again!(store.mark_missing(&event("4"), at(1))).unwrap());
    let _ = again!(store.mark_missing(&event("6"), at(1))).unwrap();
    let gone = file(&store, "a").await;
    assert_eq!((gone.state, gone.reason.as_deref()), (FileState::Quarantined, Some("missing-object")));
    assert_eq!(track(&store, &[event("5")]).await, [Tracked::Outdated]);
    assert!(pending(&store).await.is_empty());
    // The removal may be told first.
    let other = |sequencer: &str| FoundFile { sequencer: Some(Sequencer::new(sequencer)), ..found("b", "1") };
    let _ = again!(store.mark_missing(&other("9"), at(1))).unwrap();
    assert_eq!(track(&store, &[other("8")]).await, [Tracked::Outdated]);
    track(&store, &[other("A")]).await;
    assert_eq!(file(&store, "b").await.state, FileState::Pending);
    let _ = again!(store.submit(&manifest("m", &["b"]), 0, at(2))).unwrap();
    assert!(!again!(store.mark_missing(&other("B"), at(3))).unwrap());
}

pub(super) async fn a_late_event_of_older_content_changes_nothing(store: Store) {
    let event =
        |etag: &str, sequencer: &str| FoundFile { sequencer: Some(Sequencer::new(sequencer)), ..found("a", etag) };
    // A listing is first, then the event of what it showed.
    track(&store, &[found("a", "2")]).await;
    assert_eq!(track(&store, &[event("2", "2")]).await, [Tracked::Known]);
    assert_eq!(track(&store, &[event("1", "1")]).await, [Tracked::Outdated]);
    assert_eq!(file(&store, "a").await.etag, "2");
    let id = &submit(&store, "m", &["a"], 1).await;
    track(&store, &[event("3", "4")]).await;
    assert_eq!(track(&store, &[event("1", "3")]).await, [Tracked::Outdated]);
    assert_eq!(file(&store, "a").await.overwritten_etag.as_deref(), Some("3"));
    track(&store, &[event("3", "6")]).await;
    let attempt = start(&store, id, 2).await;
    finish(&store, id, attempt, "done").await;
    let late = [event("1", "5")];
    assert_eq!(again!(store.track(&late, Overwrites::Reprocess, at(200))).unwrap().outcomes, [Tracked::Outdated]);
    let notes = again!(store.timeline(&uri("a"))).unwrap();
    assert_eq!(notes.iter().filter(|note| note.detail.as_deref() == Some("overwritten: etag 3")).count(), 1);
}

pub(super) async fn the_content_of_a_submitted_file_is_learned(store: Store) {
    submit(&store, "m", &["a"], 0).await;
    let first = FoundFile { sequencer: Some(Sequencer::new("5")), size_bytes: 9, ..found("a", "1") };
    assert_eq!(track(&store, std::slice::from_ref(&first)).await, [Tracked::Known]);
    let learned = file(&store, "a").await;
    assert_eq!((learned.state, learned.etag.as_str(), learned.size_bytes), (FileState::Manifested, "1", 9));
    assert_eq!(learned.sequencer, first.sequencer);
    let other = again!(store.track(&[found("a", "2")], Overwrites::Record, at(1))).unwrap();
    assert_eq!(other.outcomes, [Tracked::Overwritten]);
}

pub(super) async fn a_failed_file_is_pending_again_when_its_content_changes(store: Store) {
    track(&store, &[found("a", "1"), found("b", "1")]).await;
    let id = &submit(&store, "m", &["a", "b"], 0).await;
    let failure = Failure::new(FailureClass::Input, "bad").of_file(uri("a"));
    again!(store.fail(id, 0, &failure, at(1))).unwrap();
    let failed = file(&store, "a").await;
    assert_eq!((failed.state, failed.reason.as_deref()), (FileState::Failed, Some("bad")));
    assert_eq!(file(&store, "b").await.state, FileState::Pending);
    track(&store, &[found("a", "1")]).await;
    assert_eq!(file(&store, "a").await, failed);
    track(&store, &[FoundFile { size_bytes: 9, ..found("a", "2") }]).await;
    let back = file(&store, "a").await;
    assert_eq!((back.state, back.etag.as_str(), back.size_bytes, back.reason), (FileState::Pending, "2", 9, None));
    assert_eq!((pending(&store).await.len(), again!(store.recount(date())).unwrap().pending_bytes), (2, 16));
    // Its run can have it still, until another manifest has.
    again!(store.requeue(id, at(2))).unwrap();
    assert_eq!(file(&store, "a").await.manifest_id.as_deref(), Some("m"));
}

pub(super) async fn a_file_that_changed_before_its_run_failed_is_pending_again(store: Store) {
    let event = |name: &str, etag: &str, sequencer: &str| FoundFile {
        sequencer: Some(Sequencer::new(sequencer)),
        ..found(name, etag)
    };
    track(&store, &[event("a", "1", "1"), event("b", "1", "1")]).await;
    let id = &submit(&store, "m", &["a", "b"], 0).await;
    let attempt = start(&store, id, 1).await;
    track(&store, &[event("a", "2", "2")]).await;
    again!(store.fail(id, attempt, &Failure::new(FailureClass::Input, "it changed").of_file(uri("a")), at(2))).unwrap();
    let back = file(&store, "a").await;
    assert_eq!((back.state, back.etag.as_str(), back.overwritten_etag), (FileState::Pending, "", None));
    assert_eq!(pending(&store).await.len(), 2);
    // What it is, the next event or listing tells.
    track(&store, &[event("a", "2", "2")]).await;
    assert_eq!((file(&store, "a").await.etag.as_str(), pending(&store).await.len()), ("2", 2));
}

pub(super) async fn a_failed_file_is_taken_back_as_it_was_seen(store: Store) {
    track(&store, &[found("a", "1")]).await;
    let id = &submit(&store, "m", &["a"], 0).await;
    again!(store.fail(id, 0, &Failure::new(FailureClass::Input, "bad"), at(1))).unwrap();
    let failed = file(&store, "a").await;
    let other = TrackedFile { version: failed.version + 1, ..failed.clone() };
    assert!(!again!(store.take_back(&other, at(2))).unwrap());
    // An answer that was lost leaves nothing to do.
    let _ = again!(store.take_back(&failed, at(2))).unwrap();
    let back = file(&store, "a").await;
    assert_eq!((back.state, back.reason, back.etag.as_str()), (FileState::Pending, None, "1"));
    assert!(!again!(store.take_back(&failed, at(3))).unwrap());
    assert_eq!((pending(&store).await.len(), again!(store.recount(date())).unwrap().pending_files), (1, 1));
    let notes = again!(store.timeline(&uri("a"))).unwrap();
    assert_eq!(notes.last().map(|note| note.state), Some(FileState::Pending));
}

pub(super) async fn a_failed_run_takes_over_what_its_files_are_now(store: Store) {
    let id = &submit(&store, "m", &["a", "b"], 0).await;
    again!(store.fail(id, 0, &Failure::new(FailureClass::Input, "changed").of_file(uri("a")), at(1))).unwrap();
    let mut now = again!(store.manifest(id)).unwrap().unwrap();
    now.files[0].size_bytes = Some(100);
    now.files[0].etag = Some("new".to_owned());
    let changed = [now.files[0].clone()];
    again!(store.refresh(&now, &changed, at(2))).unwrap();
    assert_eq!(again!(store.manifest(id)).unwrap().unwrap(), now);
    assert_eq!(run(&store, id).await.bytes, 107);
    let refreshed = file(&store, "a").await;
    assert_eq!((refreshed.state, refreshed.etag.as_str(), refreshed.size_bytes), (FileState::Failed, "new", 100));
    again!(store.requeue(id, at(3))).unwrap();
    // One that waits stays as it is.
    let mut other = now.clone();
    other.files[0].size_bytes = Some(1);
    again!(store.refresh(&other, &changed, at(4))).unwrap();
    assert_eq!(again!(store.manifest(id)).unwrap().unwrap(), now);
    let attempt = start(&store, id, 5).await;
    finish(&store, id, attempt, "done").await;
    assert_eq!(track(&store, &[found("a", "new")]).await, [Tracked::Known]);
}

pub(super) async fn locks_have_tokens_that_grow(store: Store) {
    let first = lock(&store).await;
    let blocked =
        again!(store.lock(&first.name, "other", Duration::seconds(30), first.expires_at - Duration::seconds(1)));
    assert_eq!(blocked.unwrap(), None);
    let second = loop {
        let later = first.expires_at + Duration::seconds(60);
        match store.lock(&first.name, "other", Duration::seconds(3000), later).await {
            Ok(Some(lock)) => break lock,
            Ok(None) => return, // it was taken, and the answer lost
            Err(error) => assert!(error.can_pass(), "{error}"),
        }
    };
    assert!(second.token > first.token);
    let lost = again!(store.renew(&first, Duration::seconds(30), at(0)));
    assert!(matches!(lost, Err(TrackingError::LockLost { .. })), "{lost:?}");
    again!(store.unlock(&first)).unwrap();
    let renewed = again!(store.renew(&second, Duration::seconds(30), second.expires_at)).unwrap();
    assert!(renewed.expires_at > second.expires_at && renewed.token == second.token);
    again!(store.unlock(&renewed)).unwrap();
    let third = loop {
        match store.lock(&first.name, "third", Duration::seconds(30), at(0)).await {
            Ok(Some(lock)) => break lock,
            Ok(None) => return,
            Err(error) => assert!(error.can_pass(), "{error}"),
        }
    };
    assert!(third.token > second.token);
}

pub(super) async fn listings_have_pages(store: Store) {
    let names: Vec<String> = (0..7).map(|i| format!("f{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        again!(store.track(&[found(name, "1")], Overwrites::Record, at(i as i64))).unwrap();
    }
    for state in [Some(FileState::Pending), None] {
        let mut filter = FileFilter { state, date: Some(date()), limit: 3, ..FileFilter::default() };
        let mut seen = Vec::new();
        loop {
            let page = again!(store.list_files(&filter)).unwrap();
            assert!(page.items.len() <= 3);
            seen.extend(page.items.into_iter().map(|file| file.uri));
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => break,
            }
        }
        seen.sort();
        assert_eq!(seen, names.iter().map(|name| uri(name)).collect::<Vec<_>>());
    }
    let filter = FileFilter { state: Some(FileState::Failed), limit: 3, ..FileFilter::default() };
    assert!(again!(store.list_files(&filter)).unwrap().items.is_empty());
    let wrong = FileFilter { limit: 1, cursor: Some("nonsense".to_owned()), ..FileFilter::default() };
    assert!(matches!(again!(store.list_files(&wrong)), Err(TrackingError::BadCursor(_))));
}

pub(super) async fn long_keys_and_strange_ones_are_files_of_their_own(store: Store) {
    let long = |end: &str| -> ObjectUri { format!("s3://in/{}/{DATE}-{end}.ndjson", "k".repeat(990)).parse().unwrap() };
    let strange: ObjectUri = format!("s3://in/a b+c%2Bü#?/{DATE}-'\"#|.ndjson").parse().unwrap();
    let uris = [long("a"), long("b"), strange];
    let files: Vec<FoundFile> = uris.iter().map(|uri| FoundFile { uri: uri.clone(), ..found("x", "1") }).collect();
    track(&store, &files).await;
    let known = again!(store.files(&uris)).unwrap();
    assert_eq!(known.into_iter().map(|file| file.unwrap().uri).collect::<Vec<_>>(), uris);
    assert_eq!(again!(store.files(&[uri("unknown"), uris[0].clone()])).unwrap().iter().flatten().count(), 1);
}

pub(super) async fn numbers_add_up_and_notes_stay(store: Store) {
    store.count(&[("files_pending", 2), ("x", 1)], at(0)).await.unwrap_or_default();
    let day = DatePrefix::from(at(0).date_naive());
    let before = again!(store.metrics(day)).unwrap();
    let value = |metrics: &[millwork_tracking::Metric]| {
        metrics.iter().find(|metric| metric.metric_type == "files_pending").map_or(0, |metric| metric.value)
    };
    again!(store.count(&[("files_pending", 3)], at(1))).unwrap();
    assert!(value(&again!(store.metrics(day)).unwrap()) >= value(&before) + 3);
    assert_eq!(again!(store.next_batch_index(date())).unwrap() + 1, again!(store.next_batch_index(date())).unwrap());
}
