//! A store that fails as its gate says: before an operation, after it, or by showing an old listing.

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{DatePrefix, Failure, FileState, Manifest, ManifestFile, ManifestId, ObjectUri, RunState};
use millwork_tracking::{
    AttemptStore, AttemptWork, AuditEntry, AuditFilter, AuditStore, Backlog, Commit, CommitStore, DateTotals, Draft,
    DraftStore, FileFilter, FileStore, FileTotal, FoundFile, Lead, Leader, Lock, LockStore, Metric, Note, NumberStore,
    Overwrites, Page, PlanRecord, PlanStore, QueuedManifest, Replaced, Run, RunCount, RunFilter, RunStore, Sample,
    Span, TimelineEntry, TrackedBatch, TrackedFile, TrackingError, TrackingResult, TrackingStore,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeeds,
    /// Nothing happens, and an error is returned.
    FailsBefore,
    /// It happens, and an error is returned all the same.
    FailsAfter,
    /// A listing is that of an earlier time.
    IsStale,
}

/// Decides what happens to operations.
#[async_trait]
pub(crate) trait Gate: Send + Sync {
    async fn fate(&self, operation: &'static str) -> Fate;
}

/// A store behind a gate.
pub(crate) struct Faulty<G> {
    inner: Arc<dyn TrackingStore>,
    gate: Arc<G>,
    listed: Mutex<HashMap<DatePrefix, Vec<TrackedFile>>>,
}

fn unavailable(operation: &str, when: &str) -> TrackingError {
    TrackingError::Unavailable { store: "faulty".to_owned(), message: format!("{operation} fails {when} its effect") }
}

impl<G: Gate> Faulty<G> {
    pub(crate) fn new(inner: Arc<dyn TrackingStore>, gate: Arc<G>) -> Self {
        Self { inner, gate, listed: Mutex::default() }
    }

    async fn through<T>(
        &self,
        operation: &'static str,
        effect: impl Future<Output = TrackingResult<T>> + Send,
    ) -> TrackingResult<T> {
        let fate = self.gate.fate(operation).await;
        if fate == Fate::FailsBefore {
            return Err(unavailable(operation, "before"));
        }
        let done = effect.await;
        if fate == Fate::FailsAfter && done.is_ok() { Err(unavailable(operation, "after")) } else { done }
    }

    async fn pending_through(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>> {
        let fate = self.gate.fate("pending").await;
        if fate == Fate::FailsBefore || fate == Fate::FailsAfter {
            return Err(unavailable("pending", "before"));
        }
        if fate == Fate::IsStale {
            return Ok(self.listed.lock().unwrap().get(&date).cloned().unwrap_or_default());
        }
        let now = self.inner.pending(date, limit).await?;
        self.listed.lock().unwrap().insert(date, now.clone());
        Ok(now)
    }
}

/// Has each operation of a subject go through the gate.
macro_rules! delegate {
    ($store:ident { $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)* } $($other:tt)*) => {
        #[async_trait]
        impl<G: Gate> $store for Faulty<G> {
            $(async fn $name(&self, $($argument: $type),*) -> TrackingResult<$result> {
                self.through(stringify!($name), self.inner.$name($($argument),*)).await
            })*

            $($other)*
        }
    };
}

delegate! {
    FileStore {
        fn track(found: &[FoundFile], overwrites: Overwrites, now: DateTime<Utc>) -> TrackedBatch;
        fn mark_missing(found: &FoundFile, now: DateTime<Utc>) -> bool;
        fn take_back(seen: &TrackedFile, now: DateTime<Utc>) -> bool;
        fn mark_moved(uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> ();
        fn files(uris: &[ObjectUri]) -> Vec<Option<TrackedFile>>;
        fn list_files(filter: &FileFilter) -> Page<TrackedFile>;
        fn count_files() -> Vec<(FileState, u64)>;
        fn timeline(uri: &ObjectUri) -> Vec<TimelineEntry>;
        fn backlog(date: DatePrefix) -> Backlog;
        fn recount(date: DatePrefix) -> Backlog;
    }
        async fn backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>> {
            match self.gate.fate("backlogs").await {
                Fate::Succeeds => self.inner.backlogs().await,
                // Counters that were lost.
                Fate::IsStale => Ok(Vec::new()),
                _ => Err(unavailable("backlogs", "before")),
            }
        }

        async fn pending(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>> {
            self.pending_through(date, limit).await
        }
}

delegate! {
    LockStore {
        fn lock(name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> Option<Lock>;
        fn renew(lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> Lock;
        fn unlock(lock: &Lock) -> ();
        fn lead(holder: &str, ttl: Duration, now: DateTime<Utc>) -> Option<Lead>;
    }
        async fn leader(&self, now: DateTime<Utc>) -> TrackingResult<Leader> {
            self.inner.leader(now).await
        }
}

delegate! {
    DraftStore {
        fn next_batch_index(date: DatePrefix) -> u64;
        fn begin_draft(draft: &Draft, lock: &Lock) -> ();
        fn claim(id: &ManifestId, seen: &[TrackedFile], lock: &Lock, now: DateTime<Utc>) -> Vec<ObjectUri>;
        fn finish_draft(queued: &QueuedManifest, now: DateTime<Utc>) -> ();
        fn drop_draft(id: &ManifestId, lock: &Lock) -> ();
        fn drafts(begun_before: DateTime<Utc>) -> Vec<Draft>;
    }
}

delegate! {
    RunStore {
        fn submit(queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> bool;
        fn release_abandoned(before: DateTime<Utc>, now: DateTime<Utc>) -> u64;
        fn run_head(id: &ManifestId) -> Option<Run>;
        fn run(id: &ManifestId) -> Option<Run>;
        fn manifest(id: &ManifestId) -> Option<Manifest>;
        fn list_runs(filter: &RunFilter) -> Page<Run>;
        fn count_runs() -> Vec<RunCount>;
        fn cancel(id: &ManifestId, now: DateTime<Utc>) -> RunState;
        fn requeue(id: &ManifestId, now: DateTime<Utc>) -> ();
        fn refresh(manifest: &Manifest, changed: &[ManifestFile], now: DateTime<Utc>) -> ();
        fn force(id: &ManifestId, now: DateTime<Utc>) -> ();
        fn prioritise(id: &ManifestId, priority: i32, now: DateTime<Utc>) -> ();
    }
}

delegate! {
    AttemptStore {
        fn due(limit: usize, now: DateTime<Utc>) -> Vec<Run>;
        fn open_runs() -> Vec<Run>;
        fn start_attempt(id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> u32;
        fn set_running(id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> ();
        fn retry_later(
            id: &ManifestId,
            attempt: u32,
            failure: &Failure,
            not_before: DateTime<Utc>,
            now: DateTime<Utc>
        ) -> bool;
        fn fail(id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> ();
    }
}

delegate! {
    CommitStore {
        fn commit(commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> bool;
        fn unpublished(id: &ManifestId) -> Option<Commit>;
        fn supersede(
            id: &ManifestId,
            attempt: u32,
            failure: &Failure,
            not_before: Option<DateTime<Utc>>,
            now: DateTime<Utc>
        ) -> ();
        fn replaced(id: &ManifestId) -> Vec<Replaced>;
        fn complete(id: &ManifestId, now: DateTime<Utc>) -> ();
    }
}

delegate! {
    AuditStore {
        fn audit(entry: &AuditEntry) -> ();
        fn audits(filter: &AuditFilter) -> Page<AuditEntry>;
    }
}

delegate! {
    PlanStore {
        fn put_plan(plan: &PlanRecord, now: DateTime<Utc>) -> bool;
        fn plan(id: &str) -> Option<PlanRecord>;
        fn update_plan(plan: &PlanRecord) -> bool;
    }
}

delegate! {
    NumberStore {
        fn count(counts: &[(&str, u64)], now: DateTime<Utc>) -> ();
        fn metrics(day: DatePrefix) -> Vec<Metric>;
        fn date_totals(from: Option<DatePrefix>, to: Option<DatePrefix>) -> Vec<(DatePrefix, DateTotals)>;
        fn recount_totals(date: DatePrefix) -> DateTotals;
        fn arrivals() -> FileTotal;
        fn note_work(id: &ManifestId, attempt: u32, work: &AttemptWork) -> ();
        fn put_sample(span: Span, sample: &Sample) -> ();
        fn samples(span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Sample>;
        fn prune(now: DateTime<Utc>) -> ();
        fn put_note(kind: &str, note: &Note, expires_at: DateTime<Utc>) -> ();
        fn notes(kind: &str, now: DateTime<Utc>) -> Vec<Note>;
        fn note(kind: &str, name: &str, now: DateTime<Utc>) -> Option<Note>;
    }
}

#[async_trait]
impl<G: Gate> TrackingStore for Faulty<G> {
    fn inspection(&self) -> &dyn millwork_tracking::Inspection {
        self.inner.inspection()
    }

    fn file(&self) -> Option<&Path> {
        self.inner.file()
    }

    fn forgets_after_days(&self) -> Option<u64> {
        self.inner.forgets_after_days()
    }

    async fn ping(&self) -> TrackingResult<()> {
        self.through("ping", self.inner.ping()).await
    }
}
