//! One suite for every store: SQLite, DynamoDB's protocol, and each of them behind faults, where every operation is made
//! again until it succeeds.

use super::faults::{Fate, Faulty, Gate};
use crate::servers::Aws;
use async_trait::async_trait;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use chrono::{DateTime, Duration, TimeZone, Utc};
use millwork_manifest::{
    DatePrefix, Failure, FailureClass, FileState, Manifest, ManifestFile, ObjectUri, QuarantineReason,
};
use millwork_tracking::{
    AuditEntry, Commit, Draft, FileFilter, FoundFile, Lock, Overwrites, QueuedManifest, RunState, Sequencer,
    SqliteStore, Tracked, TrackedFile, TrackingError, TrackingResult, TrackingStore,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DATE: &str = "2025-12-23";

fn date() -> DatePrefix {
    DATE.parse().unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_766_000_000 + seconds, 0).unwrap()
}

fn uri(name: &str) -> ObjectUri {
    format!("s3://in/d/{DATE}-{name}.ndjson").parse().unwrap()
}

fn found(name: &str, etag: &str) -> FoundFile {
    FoundFile {
        uri: uri(name),
        date: Some(date()),
        size_bytes: 7,
        etag: etag.to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    }
}

fn manifest(id: &str, names: &[&str]) -> QueuedManifest {
    let file = |name: &&str| ManifestFile { uri: uri(name), size_bytes: Some(7), etag: None, version_id: None };
    let files = names.iter().map(file).collect();
    let manifest = Manifest { id: id.parse().unwrap(), date: date(), created_at: at(0), files };
    QueuedManifest { manifest, uri: format!("s3://m/{id}.json") }
}

fn draft(id: &str, names: &[&str]) -> Draft {
    let QueuedManifest { manifest, uri } = manifest(id, names);
    Draft { manifest, uri, begun_at: at(0) }
}

fn commit(id: &str, attempt: u32) -> Commit {
    Commit { manifest_id: id.parse().unwrap(), attempt, record: format!("record of {id} {attempt}") }
}

/// Makes an operation again until it succeeds, or fails for good.
macro_rules! again {
    ($operation:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            match $operation.await {
                Err(error) if error.can_pass() && tries < 50 => {}
                done => break done,
            }
        }
    }};
}

type Store = Arc<dyn TrackingStore>;

async fn states(store: &Store) -> Vec<(FileState, u64)> {
    let mut states: Vec<_> = again!(store.count_files()).unwrap().into_iter().filter(|(_, count)| *count > 0).collect();
    states.sort_by_key(|(state, _)| state.as_str());
    states
}

async fn track(store: &Store, files: &[FoundFile]) -> Vec<Tracked> {
    again!(store.track(files, Overwrites::Record, at(0))).unwrap().outcomes
}

async fn file(store: &Store, name: &str) -> TrackedFile {
    again!(store.files(&[uri(name)])).unwrap().remove(0).unwrap()
}

async fn lock(store: &Store) -> Lock {
    // One that failed after its effect is held: only time frees it.
    for minutes in 0..50 {
        let taken: TrackingResult<Option<Lock>> =
            store.lock("LOCK#2025-12-23", "test", Duration::seconds(30), at(minutes * 60)).await;
        if let Ok(Some(lock)) = taken {
            return lock;
        }
    }
    panic!("no lock in 50 minutes")
}

async fn pending(store: &Store) -> Vec<TrackedFile> {
    again!(store.pending(date(), 100)).unwrap()
}

async fn a_run_goes_through_its_life(store: Store) {
    track(&store, &[found("a", "1"), found("b", "1")]).await;
    let queued = manifest("m", &["a", "b"]);
    let id = &queued.manifest.id;
    let _ = again!(store.submit(&queued, at(1))).unwrap();
    assert!(!again!(store.submit(&queued, at(2))).unwrap());
    assert!(pending(&store).await.is_empty());
    assert_eq!(again!(store.unfinished()).unwrap()[0].manifest, queued.manifest);
    let attempt = again!(store.start_attempt(id, at(3))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Processing, 2)]);
    let result = serde_json::json!({"rows": 3});
    let _ = again!(store.commit(&commit("m", attempt), &result, at(4))).unwrap();
    assert!(!again!(store.commit(&commit("m", attempt), &serde_json::json!({}), at(5))).unwrap());
    let late = again!(store.fail(id, &Failure::new(FailureClass::Bug, "late"), at(6)));
    assert!(matches!(late, Err(TrackingError::Conflict { .. })), "{late:?}");
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(commit("m", attempt)));
    again!(store.complete(id, at(7))).unwrap();
    assert_eq!(again!(store.unpublished(id)).unwrap(), None);
    assert_eq!(states(&store).await, [(FileState::Completed, 2)]);
    let run = again!(store.run(id)).unwrap().unwrap();
    assert_eq!((run.state, run.attempts, run.result), (RunState::Completed, attempt, Some(result)));
    assert_eq!(again!(store.runs(10)).unwrap()[0].manifest_id, *id);
    assert!(again!(store.unfinished()).unwrap().is_empty());
    let seen: Vec<_> = again!(store.timeline(&uri("a"))).unwrap().into_iter().map(|entry| entry.state).collect();
    use FileState::{Completed, Manifested, Pending, Processing};
    assert_eq!(seen, [Pending, Manifested, Processing, Completed]);
    assert!(again!(store.run(&"none".parse().unwrap())).unwrap().is_none());
}

async fn found_twice_is_once(store: Store) {
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

async fn changed_content_is_taken_until_it_is_converted(store: Store) {
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
    let _ = again!(store.submit(&manifest("m", &["a"]), at(1))).unwrap();
    assert_eq!(track(&store, &[found("a", "3"), found("a", "3")]).await, [Tracked::Overwritten; 2]);
    let overwritten = file(&store, "a").await;
    assert_eq!((overwritten.state, overwritten.etag.as_str()), (FileState::Manifested, "2"));
    assert_eq!(overwritten.overwritten_etag.as_deref(), Some("3"));
    let timeline = again!(store.timeline(&uri("a"))).unwrap();
    let notes = timeline.iter().filter(|entry| entry.detail.as_deref() == Some("overwritten: etag 3"));
    assert_eq!(notes.count(), 1);
}

async fn a_converted_file_is_converted_again_only_when_told(store: Store) {
    let queued = manifest("m", &["a"]);
    let _ = again!(store.submit(&queued, at(0))).unwrap();
    let attempt = again!(store.start_attempt(&queued.manifest.id, at(1))).unwrap();
    let _ = again!(store.commit(&commit("m", attempt), &serde_json::json!({}), at(2))).unwrap();
    again!(store.complete(&queued.manifest.id, at(3))).unwrap();
    let again = manifest("n", &["a"]);
    let refused = again!(store.submit(&again, at(4)));
    assert!(matches!(refused, Err(TrackingError::Taken { state: FileState::Completed, .. })), "{refused:?}");
    // The first manifest did not say what the content was; from here on it is known.
    let known = FoundFile { sequencer: Some(Sequencer::new("5")), ..found("b", "1") };
    track(&store, std::slice::from_ref(&known)).await;
    let _ = again!(store.submit(&manifest("o", &["b"]), at(5))).unwrap();
    let id = "o".parse().unwrap();
    let attempt = again!(store.start_attempt(&id, at(6))).unwrap();
    let _ = again!(store.commit(&commit("o", attempt), &serde_json::json!({}), at(7))).unwrap();
    again!(store.complete(&id, at(8))).unwrap();
    let changed = [found("b", "2")];
    again!(store.track(&changed, Overwrites::Reprocess, at(9))).unwrap();
    assert_eq!((file(&store, "b").await.state, pending(&store).await.len()), (FileState::Pending, 1));
}

async fn refused_files_come_back_when_the_rules_or_they_change(store: Store) {
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

async fn what_is_gone_is_marked_while_it_waits(store: Store) {
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
    let _ = again!(store.submit(&manifest("m", &["b"]), at(2))).unwrap();
    assert!(!again!(store.mark_missing(&other("B"), at(3))).unwrap());
}

async fn locks_have_tokens_that_grow(store: Store) {
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

async fn a_draft_claims_what_is_as_it_was_seen(store: Store) {
    track(&store, &[found("a", "1"), found("b", "1"), found("c", "1")]).await;
    let seen = pending(&store).await;
    track(&store, &[found("b", "2")]).await;
    let held_lock = lock(&store).await;
    let draft = draft("m", &["a", "b", "c"]);
    again!(store.begin_draft(&draft, &held_lock)).unwrap();
    let listed = again!(store.drafts(at(1))).unwrap();
    assert_eq!((listed.len(), &listed[0].manifest, &listed[0].uri), (1, &draft.manifest, &draft.uri));
    assert!(again!(store.drafts(at(0))).unwrap().is_empty());
    let id = &draft.manifest.id;
    let mut held = again!(store.claim(id, &seen, &held_lock, at(1))).unwrap();
    held.sort();
    assert_eq!(held, [uri("a"), uri("c")]);
    let mut twice = again!(store.claim(id, &seen, &held_lock, at(2))).unwrap();
    twice.sort();
    assert_eq!(twice, held);
    again!(store.drop_draft(id, &held_lock)).unwrap();
    assert!(again!(store.unfinished()).unwrap().is_empty());
    let queued = manifest("m", &["a", "c"]);
    again!(store.finish_draft(&queued, at(3))).unwrap();
    again!(store.finish_draft(&queued, at(4))).unwrap();
    assert_eq!(again!(store.unfinished()).unwrap()[0].manifest, queued.manifest);
    assert!(again!(store.drafts(at(1))).unwrap().is_empty());
    let left: Vec<_> = pending(&store).await.into_iter().map(|file| file.uri).collect();
    assert_eq!(left, [uri("b")]);
    assert!(!again!(store.submit(&queued, at(5))).unwrap());
}

async fn a_holder_whose_lock_has_passed_on_changes_nothing(store: Store) {
    track(&store, &[found("a", "1")]).await;
    let seen = pending(&store).await;
    let old = lock(&store).await;
    again!(store.begin_draft(&draft("m", &["a"]), &old)).unwrap();
    let new = lock_after(&store, &old).await;
    let id = "m".parse().unwrap();
    let refused = [
        again!(store.claim(&id, &seen, &old, at(1))).map(|_| ()),
        again!(store.begin_draft(&draft("n", &["a"]), &old)),
        again!(store.drop_draft(&id, &old)),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(TrackingError::LockLost { .. })), "{refused:?}");
    }
    assert_eq!(file(&store, "a").await.state, FileState::Pending);
    assert_eq!(again!(store.drafts(at(1))).unwrap().len(), 1);
    again!(store.drop_draft(&id, &new)).unwrap();
    assert!(again!(store.drafts(at(1))).unwrap().is_empty());
}

async fn lock_after(store: &Store, old: &Lock) -> Lock {
    let mut now = old.expires_at;
    loop {
        now += Duration::seconds(60);
        if let Ok(Some(lock)) = store.lock(&old.name, "other", Duration::seconds(30), now).await {
            return lock;
        }
    }
}

async fn a_submission_finishes_the_draft_of_its_id(store: Store) {
    track(&store, &[found("a", "1")]).await;
    let (seen, held_lock) = (pending(&store).await, lock(&store).await);
    again!(store.begin_draft(&draft("m", &["a"]), &held_lock)).unwrap();
    again!(store.claim(&"m".parse().unwrap(), &seen, &held_lock, at(1))).unwrap();
    let _ = again!(store.submit(&manifest("m", &["a"]), at(2))).unwrap();
    assert_eq!(again!(store.run(&"m".parse().unwrap())).unwrap().unwrap().state, RunState::Queued);
}

async fn a_file_is_in_one_manifest_at_a_time(store: Store) {
    let _ = again!(store.submit(&manifest("m", &["a"]), at(0))).unwrap();
    let error = again!(store.submit(&manifest("n", &["b", "a"]), at(1))).unwrap_err().to_string();
    assert!(error.contains("2025-12-23-a.ndjson` is manifested in manifest `m`"), "{error}");
    assert!(again!(store.run(&"n".parse().unwrap())).unwrap().is_none());
    // What the refused one may have claimed is free.
    let _ = again!(store.submit(&manifest("o", &["b"]), at(2))).unwrap();
    let error = again!(store.submit(&manifest("m", &["a", "c"]), at(3))).unwrap_err().to_string();
    assert!(error.contains("known with other files"), "{error}");
}

async fn an_attempt_that_was_given_up_cannot_commit(store: Store) {
    let queued = manifest("m", &["a"]);
    let id = &queued.manifest.id;
    let _ = again!(store.submit(&queued, at(0))).unwrap();
    let old = again!(store.start_attempt(id, at(1))).unwrap();
    let new = again!(store.start_attempt(id, at(2))).unwrap();
    assert!(new > old);
    assert!(!again!(store.commit(&commit("m", old), &serde_json::json!({}), at(3))).unwrap());
    let _ = again!(store.commit(&commit("m", new), &serde_json::json!({}), at(3))).unwrap();
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(commit("m", new)));
}

async fn one_bad_file_fails_alone(store: Store) {
    let queued = manifest("m", &["a", "b", "c"]);
    let id = &queued.manifest.id;
    let _ = again!(store.submit(&queued, at(0))).unwrap();
    again!(store.start_attempt(id, at(1))).unwrap();
    let failure = Failure::new(FailureClass::Input, "bad file").of_file(uri("b"));
    again!(store.fail(id, &failure, at(2))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Failed, 1), (FileState::Pending, 2)]);
    assert_eq!(file(&store, "b").await.reason.as_deref(), Some("bad file"));
    let run = again!(store.run(id)).unwrap().unwrap();
    assert_eq!((run.state, run.failure), (RunState::Failed, Some(failure)));
    assert_eq!(again!(store.recount(date())).unwrap().pending_files, 2);
    again!(store.requeue(id, at(3))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Manifested, 3)]);
}

async fn files_of_a_failed_run_go_into_another_but_not_into_two(store: Store) {
    let queued = manifest("m", &["a", "b"]);
    let id = &queued.manifest.id;
    let _ = again!(store.submit(&queued, at(0))).unwrap();
    again!(store.start_attempt(id, at(1))).unwrap();
    again!(store.fail(id, &Failure::new(FailureClass::Bug, "broken"), at(2))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Failed, 2)]);
    let _ = again!(store.submit(&manifest("n", &["a"]), at(3))).unwrap();
    let error = again!(store.requeue(id, at(4))).unwrap_err().to_string();
    assert!(error.contains("left with 1 of its 2 files"), "{error}");
    assert_eq!(again!(store.run(id)).unwrap().unwrap().state, RunState::Failed);
    assert_eq!(file(&store, "a").await.manifest_id.as_deref(), Some("n"));
}

async fn listings_have_pages(store: Store) {
    let names: Vec<String> = (0..7).map(|i| format!("f{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        again!(store.track(&[found(name, "1")], Overwrites::Record, at(i as i64))).unwrap();
    }
    for state in [Some(FileState::Pending), None] {
        let mut filter = FileFilter { state, date: Some(date()), limit: 3, cursor: None };
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

async fn long_keys_and_strange_ones_are_files_of_their_own(store: Store) {
    let long = |end: &str| -> ObjectUri { format!("s3://in/{}/{DATE}-{end}.ndjson", "k".repeat(990)).parse().unwrap() };
    let strange: ObjectUri = format!("s3://in/a b+c%2Bü#?/{DATE}-'\"#|.ndjson").parse().unwrap();
    let uris = [long("a"), long("b"), strange];
    let files: Vec<FoundFile> = uris.iter().map(|uri| FoundFile { uri: uri.clone(), ..found("x", "1") }).collect();
    track(&store, &files).await;
    let known = again!(store.files(&uris)).unwrap();
    assert_eq!(known.into_iter().map(|file| file.unwrap().uri).collect::<Vec<_>>(), uris);
    assert_eq!(again!(store.files(&[uri("unknown"), uris[0].clone()])).unwrap().iter().flatten().count(), 1);
}

async fn a_large_manifest_fits(store: Store) {
    let names: Vec<String> = (0..1500).map(|i| format!("{i:05}-{}", "x".repeat(200))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let queued = manifest("m", &names);
    let id = &queued.manifest.id;
    let _ = again!(store.submit(&queued, at(0))).unwrap();
    assert_eq!(again!(store.unfinished()).unwrap()[0].manifest, queued.manifest);
    let attempt = again!(store.start_attempt(id, at(1))).unwrap();
    let large = Commit { record: "r".repeat(700_000), ..commit("m", attempt) };
    let _ = again!(store.commit(&large, &serde_json::json!({"text": "t".repeat(700_000)}), at(2))).unwrap();
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(large));
    again!(store.complete(id, at(3))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Completed, 1500)]);
}

async fn numbers_add_up_and_notes_stay(store: Store) {
    store.count(&[("files_pending", 2), ("x", 1)], at(0)).await.unwrap_or_default();
    let day = DatePrefix::from(at(0).date_naive());
    let before = again!(store.metrics(day)).unwrap();
    let value = |metrics: &[millwork_tracking::Metric]| {
        metrics.iter().find(|metric| metric.metric_type == "files_pending").map_or(0, |metric| metric.value)
    };
    again!(store.count(&[("files_pending", 3)], at(1))).unwrap();
    assert!(value(&again!(store.metrics(day)).unwrap()) >= value(&before) + 3);
    let entry = AuditEntry {
        at: at(0),
        actor: "tester".to_owned(),
        action: "tested".to_owned(),
        detail: "all of it".to_owned(),
    };
    again!(store.audit(&entry)).unwrap();
    assert_eq!(again!(store.audits(day)).unwrap()[0], entry);
    assert_eq!(again!(store.next_batch_index(date())).unwrap() + 1, again!(store.next_batch_index(date())).unwrap());
}

/// Fails every third operation, before and after its effect in turn; shows nothing stale, which the suite would not
/// expect.
#[derive(Default)]
struct EveryThird(AtomicU64);

#[async_trait]
impl Gate for EveryThird {
    async fn fate(&self, operation: &'static str) -> Fate {
        // An index that is given and lost is no fault.
        if operation == "next_batch_index" {
            return Fate::Succeeds;
        }
        match self.0.fetch_add(1, Ordering::Relaxed) % 6 {
            2 => Fate::FailsBefore,
            5 => Fate::FailsAfter,
            _ => Fate::Succeeds,
        }
    }
}

fn faulty(store: Store) -> Store {
    Arc::new(Faulty::new(store, Arc::new(EveryThird::default())))
}

/// Runs every case on a fresh store.
async fn conforms<F: Future<Output = Store>>(fresh: impl Fn() -> F) {
    conforms_whatever_is_lost(&fresh).await;
    // These count, or make very many requests.
    a_large_manifest_fits(fresh().await).await;
    numbers_add_up_and_notes_stay(fresh().await).await;
}

/// Runs the cases whose operations can be made again at will.
async fn conforms_whatever_is_lost<F: Future<Output = Store>>(fresh: &impl Fn() -> F) {
    a_run_goes_through_its_life(fresh().await).await;
    found_twice_is_once(fresh().await).await;
    changed_content_is_taken_until_it_is_converted(fresh().await).await;
    a_converted_file_is_converted_again_only_when_told(fresh().await).await;
    refused_files_come_back_when_the_rules_or_they_change(fresh().await).await;
    what_is_gone_is_marked_while_it_waits(fresh().await).await;
    locks_have_tokens_that_grow(fresh().await).await;
    a_draft_claims_what_is_as_it_was_seen(fresh().await).await;
    a_holder_whose_lock_has_passed_on_changes_nothing(fresh().await).await;
    a_submission_finishes_the_draft_of_its_id(fresh().await).await;
    a_file_is_in_one_manifest_at_a_time(fresh().await).await;
    an_attempt_that_was_given_up_cannot_commit(fresh().await).await;
    one_bad_file_fails_alone(fresh().await).await;
    files_of_a_failed_run_go_into_another_but_not_into_two(fresh().await).await;
    listings_have_pages(fresh().await).await;
    long_keys_and_strange_ones_are_files_of_their_own(fresh().await).await;
}

/// Loses one request in ten before it is sent, and one answer in ten: inside of operations, too.
#[derive(Debug, Default)]
struct Lossy(AtomicU64);

impl Lossy {
    fn lose(&self) -> Result<(), BoxError> {
        // SplitMix64 of the number of the event.
        let mut z = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (z ^ (z >> 31)).is_multiple_of(10) { Err("lost".into()) } else { Ok(()) }
    }
}

impl Intercept for Lossy {
    fn name(&self) -> &'static str {
        "lossy"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.lose()
    }

    fn read_before_deserialization(
        &self,
        _context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.lose()
    }
}

#[tokio::test]
async fn dynamodb_conforms_whichever_requests_are_lost() {
    let aws = Aws::start();
    conforms_whatever_is_lost(&|| async { aws.fresh_store_through(Lossy::default()).await }).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    conforms(|| async { Arc::new(SqliteStore::in_memory().unwrap()) as Store }).await;
}

#[tokio::test]
async fn sqlite_conforms_behind_faults() {
    conforms(|| async { faulty(Arc::new(SqliteStore::in_memory().unwrap())) }).await;
}

#[tokio::test]
async fn dynamodb_conforms() {
    let aws = Aws::start();
    conforms(|| async { aws.fresh_store().await }).await;
}

#[tokio::test]
async fn dynamodb_conforms_behind_faults() {
    let aws = Aws::start();
    conforms(|| async { faulty(aws.fresh_store().await) }).await;
}
