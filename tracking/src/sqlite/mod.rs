//! The embedded store: one SQLite file in WAL mode, safe for several processes.
//!
//! One thread writes. Operations that wait for it at the same time share a transaction, each in a savepoint of its own, so
//! that they share the cost of making it durable too. An operation is answered after that: it happens whole or not at all,
//! whenever the process dies. Others read, each by a connection of its own: no read waits for a write.

mod audits;
mod commits;
mod files;
mod inspection;
mod job;
mod listing;
#[cfg(test)]
mod listing_tests;
mod locks;
mod manifests;
mod numbers;
mod open;
mod readers;
mod rows;
mod runs;
#[cfg(test)]
mod scale;
mod schema;
mod series;
mod totals;
mod turns;
mod wanted;
mod worker;

use crate::{
    AttemptWork, AuditEntry, AuditFilter, Backlog, Commit, DateTotals, Draft, FileFilter, FileTotal, FoundFile, Lock,
    Metric, Note, NumberStore, Overwrites, Page, PlanRecord, QueuedManifest, Replaced, Run, RunCount, RunFilter,
    RunState, Sample, Span, TimelineEntry, TrackedBatch, TrackedFile, TrackingError, TrackingResult, TrackingStore,
};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{DatePrefix, Failure, FileState, Manifest, ManifestFile, ManifestId, ObjectUri};
use std::fs::File;
use worker::Worker;

pub use open::lock_path;

/// The embedded store.
pub struct SqliteStore {
    worker: Worker,
    /// Held by the one process that runs manifests; the system lets go of it when that process ends, however it does.
    _owner: Option<File>,
}

#[async_trait]
impl TrackingStore for SqliteStore {
    fn inspection(&self) -> &dyn crate::Inspection {
        self
    }

    async fn track(
        &self,
        found: &[FoundFile],
        overwrites: Overwrites,
        now: DateTime<Utc>,
    ) -> TrackingResult<TrackedBatch> {
        let found: Vec<FoundFile> = found.iter().map(FoundFile::bounded).collect();
        self.worker.write(move |c| files::track(c, &found, overwrites, now)).await
    }

    async fn mark_missing(&self, found: &FoundFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        let found = found.bounded();
        self.worker.write(move |c| files::mark_missing(c, &found, now)).await
    }

    async fn mark_moved(&self, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> TrackingResult<()> {
        let (uri, to) = (uri.clone(), to.to_owned());
        self.worker.write(move |c| files::mark_moved(c, &uri, &to, now)).await
    }

    async fn take_back(&self, seen: &TrackedFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        let seen = seen.clone();
        self.worker.write(move |c| files::take_back(c, &seen, now)).await
    }

    async fn files(&self, uris: &[ObjectUri]) -> TrackingResult<Vec<Option<TrackedFile>>> {
        let uris = uris.to_vec();
        self.worker.read(move |c| uris.iter().map(|uri| rows::find_file(c, uri)).collect()).await
    }

    async fn list_files(&self, filter: &FileFilter) -> TrackingResult<Page<TrackedFile>> {
        let filter = filter.clone();
        self.worker.read(move |c| listing::files(c, &filter)).await
    }

    async fn count_files(&self) -> TrackingResult<Vec<(FileState, u64)>> {
        self.worker.read(files::count).await
    }

    async fn timeline(&self, uri: &ObjectUri) -> TrackingResult<Vec<TimelineEntry>> {
        let uri = uri.clone();
        self.worker.read(move |c| files::timeline(c, &uri)).await
    }

    async fn pending(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>> {
        self.worker.read(move |c| files::pending(c, date, limit)).await
    }

    async fn backlog(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        self.worker.read(move |c| files::backlog(c, date)).await
    }

    async fn backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>> {
        self.worker.read(files::backlogs).await
    }

    async fn recount(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        self.worker.write(move |c| files::recount(c, date)).await
    }

    async fn lock(&self, name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lock>> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.worker.write(move |c| locks::lock(c, name, holder, ttl, now)).await
    }

    async fn renew(&self, lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Lock> {
        let lock = Lock { expires_at: now + ttl, ..lock.clone() };
        self.worker.write(move |c| locks::renew(c, lock)).await
    }

    async fn unlock(&self, lock: &Lock) -> TrackingResult<()> {
        let lock = lock.clone();
        self.worker.write(move |c| locks::unlock(c, &lock)).await
    }

    async fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64> {
        self.worker.write(move |c| manifests::next_batch_index(c, date)).await
    }

    async fn begin_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()> {
        let (draft, lock) = (draft.clone(), lock.clone());
        self.worker.write(move |c| manifests::begin_draft(c, &draft, &lock)).await
    }

    async fn claim(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>> {
        let (id, seen, lock) = (id.clone(), seen.to_vec(), lock.clone());
        self.worker.write(move |c| manifests::claim(c, &id, &seen, &lock, now)).await
    }

    async fn finish_draft(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<()> {
        let (queued, document) = (queued.clone(), queued.manifest.to_json());
        self.worker.write(move |c| manifests::finish_draft(c, &queued, &document, 0, now)).await
    }

    async fn drop_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()> {
        let (id, lock) = (id.clone(), lock.clone());
        self.worker.write(move |c| manifests::drop_draft(c, &id, &lock)).await
    }

    async fn drafts(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>> {
        self.worker.read(move |c| manifests::drafts(c, begun_before)).await
    }

    async fn submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool> {
        let (manifest, known) = (queued.manifest.clone(), queued.clone());
        if self.worker.read(move |c| manifests::is_submitted(c, &manifest)).await? {
            return Ok(false);
        }
        let document = known.manifest.to_json();
        self.worker.write(move |c| manifests::submit(c, &known, &document, priority, now)).await
    }

    async fn release_abandoned(&self, _before: DateTime<Utc>, _now: DateTime<Utc>) -> TrackingResult<u64> {
        // A submission happens whole or not at all.
        Ok(0)
    }

    async fn ping(&self) -> TrackingResult<()> {
        self.worker.check_writer()?;
        self.worker.read(runs::ping).await
    }

    async fn close(&self) {
        self.worker.close().await;
    }

    async fn run_head(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        let id = id.clone();
        self.worker.read(move |c| runs::find(c, &id)).await
    }

    async fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        let id = id.clone();
        self.worker.read(move |c| runs::whole(c, &id)).await
    }

    async fn manifest(&self, id: &ManifestId) -> TrackingResult<Option<Manifest>> {
        let id = id.clone();
        self.worker.read(move |c| manifests::manifest(c, &id)).await
    }

    async fn list_runs(&self, filter: &RunFilter) -> TrackingResult<Page<Run>> {
        let filter = filter.clone();
        self.worker.read(move |c| listing::runs(c, &filter)).await
    }

    async fn count_runs(&self) -> TrackingResult<Vec<RunCount>> {
        self.worker.read(runs::count).await
    }

    async fn due(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>> {
        self.worker.read(move |c| runs::due(c, limit, now)).await
    }

    async fn open_runs(&self) -> TrackingResult<Vec<Run>> {
        self.worker.read(runs::open).await
    }

    async fn start_attempt(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32> {
        let (id, lock) = (id.clone(), lock.clone());
        self.worker.write(move |c| turns::start_attempt(c, &id, &lock, now)).await
    }

    async fn set_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| turns::set_running(c, &id, attempt, now)).await
    }

    async fn retry_later(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        let (id, failure) = (id.clone(), failure.clone());
        self.worker.write(move |c| turns::retry_later(c, &id, attempt, &failure, not_before, now)).await
    }

    async fn fail(&self, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()> {
        let (id, failure) = (id.clone(), failure.clone());
        self.worker.write(move |c| turns::fail(c, &id, attempt, &failure, now)).await
    }

    async fn cancel(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<RunState> {
        let id = id.clone();
        self.worker.write(move |c| turns::cancel(c, &id, now)).await
    }

    async fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| turns::requeue(c, &id, now)).await
    }

    async fn refresh(&self, manifest: &Manifest, changed: &[ManifestFile], now: DateTime<Utc>) -> TrackingResult<()> {
        let (manifest, changed, document) = (manifest.clone(), changed.to_vec(), manifest.to_json());
        self.worker.write(move |c| turns::refresh(c, &manifest, &document, &changed, now)).await
    }

    async fn force(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| turns::force(c, &id, now)).await
    }

    async fn prioritise(&self, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| turns::prioritise(c, &id, priority, now)).await
    }

    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool> {
        let (commit, result) = (commit.clone(), result.clone());
        self.worker.write(move |c| commits::commit(c, &commit, &result, now)).await
    }

    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>> {
        let id = id.clone();
        self.worker.read(move |c| commits::unpublished(c, &id)).await
    }

    async fn supersede(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let (id, failure) = (id.clone(), failure.clone());
        self.worker.write(move |c| commits::supersede(c, &id, attempt, &failure, not_before, now)).await
    }

    async fn replaced(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>> {
        let id = id.clone();
        self.worker.read(move |c| commits::replaced(c, &id)).await
    }

    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = id.clone();
        self.worker.write(move |c| commits::complete(c, &id, now)).await
    }

    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()> {
        let counts: Vec<(String, u64)> = counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        self.worker.write(move |c| numbers::count(c, &counts, now)).await
    }

    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>> {
        self.worker.read(move |c| numbers::metrics(c, day)).await
    }

    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()> {
        let entry = entry.clone();
        self.worker.write(move |c| audits::audit(c, &entry)).await
    }

    async fn audits(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>> {
        let filter = filter.clone();
        self.worker.read(move |c| audits::audits(c, &filter)).await
    }

    async fn put_plan(&self, plan: &PlanRecord, now: DateTime<Utc>) -> TrackingResult<bool> {
        let plan = plan.clone();
        self.worker.write(move |c| audits::put_plan(c, &plan, now)).await
    }

    async fn plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>> {
        let id = id.to_owned();
        self.worker.read(move |c| audits::find_plan(c, &id)).await
    }

    async fn update_plan(&self, plan: &PlanRecord) -> TrackingResult<bool> {
        let plan = plan.clone();
        self.worker.write(move |c| audits::update_plan(c, &plan)).await
    }
}

#[async_trait]
impl NumberStore for SqliteStore {
    async fn date_totals(
        &self,
        from: Option<DatePrefix>,
        to: Option<DatePrefix>,
    ) -> TrackingResult<Vec<(DatePrefix, DateTotals)>> {
        self.worker.read(move |c| totals::dates(c, from, to)).await
    }

    async fn recount_totals(&self, date: DatePrefix) -> TrackingResult<DateTotals> {
        self.worker.write(move |c| totals::recount(c, date)).await
    }

    async fn arrivals(&self) -> TrackingResult<FileTotal> {
        self.worker.read(totals::arrivals).await
    }

    async fn note_work(&self, id: &ManifestId, attempt: u32, work: &AttemptWork) -> TrackingResult<()> {
        let (id, work) = (id.clone(), work.clone());
        self.worker.write(move |c| totals::note_work(c, &id, attempt, &work)).await
    }

    async fn put_sample(&self, span: Span, sample: &Sample) -> TrackingResult<()> {
        let sample = *sample;
        self.worker.write(move |c| series::put_sample(c, span, &sample)).await
    }

    async fn samples(&self, span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> TrackingResult<Vec<Sample>> {
        self.worker.read(move |c| series::samples(c, span, from, to)).await
    }

    async fn prune(&self, now: DateTime<Utc>) -> TrackingResult<()> {
        self.worker.write(move |c| series::prune(c, now)).await
    }

    async fn put_note(&self, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> TrackingResult<()> {
        let (kind, note) = (kind.to_owned(), note.clone());
        self.worker.write(move |c| series::put_note(c, &kind, &note, expires_at)).await
    }

    async fn notes(&self, kind: &str, now: DateTime<Utc>) -> TrackingResult<Vec<Note>> {
        let kind = kind.to_owned();
        self.worker.read(move |c| series::notes(c, &kind, now)).await
    }
}

/// The document of a manifest as the store holds it.
fn parse_document(id: &str, document: &str) -> TrackingResult<Manifest> {
    Manifest::parse_own(id, document.as_bytes(), DateTime::default())
        .map_err(|e| TrackingError::Corrupt { what: "a manifest", value: e.to_string() })
}

#[cfg(test)]
mod tests;
