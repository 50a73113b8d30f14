//! The store in DynamoDB, shared by any number of processes.
//!
//! | table | item | key | holds |
//! |---|---|---|---|
//! | tracking | file | date in its key or `no-date`, URI | its state, version, manifest and timeline |
//! | lock | lock | `LOCK#…`, `LOCK` | its holder, token and time |
//! | lock | batch index | `BATCH#{date}`, `INDEX` | the last one given out |
//! | metrics | date | `PENDING`, date | how much of it waits, files by state, ended runs and what they produced |
//! | metrics | sample | `SERIES#{seconds}#{day or month}`, time | what happened in a minute, or an hour |
//! | metrics | word of a process | `NOTE#{kind}`, name | what it says |
//! | metrics | number | day, what is counted | how many |
//! | metrics | note | `AUDIT#{day}`, time and id | who did what |
//! | metrics | planned change | `PLAN#{id}`, `PLAN` | what is to change, and how far that is |
//! | runs | run | manifest id | its state and attempts |
//! | runs | document | `DOC#{id}` | the manifest |
//! | runs | commit record | `COMMIT#{id}#{generation}` | the attempt that won, and how to finish its publication |
//! | runs | part | `PART#{id}#{hash}#{n}` | a part of a text that is too long for one item |
//!
//! There are no transactions over a whole operation, which may have hundreds of files. Where one decision is all that
//! matters it is one write, or one transaction: taking a lock, claiming files under it, committing. The rest follows
//! from that decision, and each module says what is left when the process dies in between, and who goes on.

mod audits;
mod backlog;
mod change;
mod commits;
mod counted;
mod deltas;
mod documents;
mod drafts;
mod expression;
mod files;
mod inspection;
mod item;
mod key;
mod listing;
mod locks;
mod metrics;
mod names;
mod pages;
mod request;
mod run_files;
mod run_item;
mod runs;
mod series;
mod submit;
mod tables;
mod totals;
mod turns;

pub use names::TableNames;
pub use tables::{IndexDefinition, TableDefinition, create_table, create_tables, table_definitions};

use crate::{
    AttemptWork, AuditEntry, AuditFilter, Backlog, Commit, DateTotals, Draft, FileFilter, FileTotal, FoundFile, Lock,
    Metric, Note, NumberStore, Overwrites, Page, PlanRecord, QueuedManifest, Replaced, Run, RunCount, RunFilter,
    RunState, Sample, Span, TimelineEntry, TrackedBatch, TrackedFile, TrackingError, TrackingResult, TrackingStore,
};
use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::Client;
use chrono::{DateTime, Duration, Utc};
use deltas::Deltas;
use millwork_manifest::{DatePrefix, Failure, FileState, Manifest, ManifestFile, ManifestId, ObjectUri};
use std::sync::{Arc, Mutex};

/// Limit of the tries at a request that is throttled or gets no answer, by the SDK.
const ATTEMPTS: u32 = 5;

/// Time that the server has to accept a connection, and to answer. The SDK itself waits for an answer for ever.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The store in DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    names: TableNames,
    /// Effects of refused files on the numbers of their dates, kept until something else of these dates is written.
    owed: Arc<Mutex<Deltas>>,
}

impl DynamoStore {
    /// Opens the store with the region, credentials and endpoint of the environment.
    pub async fn open(names: TableNames) -> TrackingResult<Self> {
        let config = aws_sdk_dynamodb::config::Builder::from(&sdk_config().await).interceptor(counted::Counted);
        let client = Client::from_conf(config.build());
        if let Err(error) = client.describe_table().table_name(&names.tracking).send().await {
            let is_missing = error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception());
            let message = if is_missing {
                "there is no such table: run `millwork bootstrap aws`".to_owned()
            } else {
                request::describe(&error)
            };
            return Err(TrackingError::Open { store: format!("dynamodb:{}", names.tracking), message });
        }
        Ok(Self::new(client, names))
    }

    /// The store behind a client.
    pub fn new(client: Client, names: TableNames) -> Self {
        Self { client, names, owed: Arc::default() }
    }
}

#[async_trait]
impl NumberStore for DynamoStore {
    async fn date_totals(
        &self,
        from: Option<DatePrefix>,
        to: Option<DatePrefix>,
    ) -> TrackingResult<Vec<(DatePrefix, DateTotals)>> {
        self.totals_between(from, to).await
    }

    async fn recount_totals(&self, date: DatePrefix) -> TrackingResult<DateTotals> {
        self.count_date(date).await
    }

    async fn arrivals(&self) -> TrackingResult<FileTotal> {
        self.all_arrivals().await
    }

    async fn note_work(&self, id: &ManifestId, attempt: u32, work: &AttemptWork) -> TrackingResult<()> {
        self.put_work(id, attempt, work).await
    }

    async fn put_sample(&self, span: Span, sample: &Sample) -> TrackingResult<()> {
        self.write_sample(span, sample).await
    }

    async fn samples(&self, span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> TrackingResult<Vec<Sample>> {
        self.samples_between(span, from, to).await
    }

    async fn prune(&self, _now: DateTime<Utc>) -> TrackingResult<()> {
        // Items expire by themselves.
        Ok(())
    }

    async fn put_note(&self, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> TrackingResult<()> {
        self.write_note(kind, note, expires_at).await
    }

    async fn notes(&self, kind: &str, now: DateTime<Utc>) -> TrackingResult<Vec<Note>> {
        self.notes_of(kind, now).await
    }
}

async fn sdk_config() -> SdkConfig {
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(ANSWER_TIMEOUT).build();
    aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts).load().await
}

#[async_trait]
impl TrackingStore for DynamoStore {
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
        self.track_files(&found, overwrites, now).await
    }

    async fn mark_missing(&self, found: &FoundFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        self.mark_file_missing(&found.bounded(), now).await
    }

    async fn mark_moved(&self, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> TrackingResult<()> {
        self.mark_file_moved(uri, to, now).await
    }

    async fn take_back(&self, seen: &TrackedFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        self.take_file_back(seen, now).await
    }

    async fn files(&self, uris: &[ObjectUri]) -> TrackingResult<Vec<Option<TrackedFile>>> {
        self.tracked_files(uris).await
    }

    async fn list_files(&self, filter: &FileFilter) -> TrackingResult<Page<TrackedFile>> {
        self.list(filter).await
    }

    async fn count_files(&self) -> TrackingResult<Vec<(FileState, u64)>> {
        self.count_states().await
    }

    async fn timeline(&self, uri: &ObjectUri) -> TrackingResult<Vec<TimelineEntry>> {
        self.timeline_of(uri).await
    }

    async fn pending(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>> {
        self.pending_files(date, limit).await
    }

    async fn backlog(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        self.backlog_of(date).await
    }

    async fn backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>> {
        self.all_backlogs().await
    }

    async fn recount(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        self.recount_date(date).await
    }

    async fn lock(&self, name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lock>> {
        self.take_lock(name, holder, ttl, now).await
    }

    async fn renew(&self, lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Lock> {
        self.renew_lock(lock, ttl, now).await
    }

    async fn unlock(&self, lock: &Lock) -> TrackingResult<()> {
        self.release_lock(lock).await
    }

    async fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64> {
        self.new_batch_index(date).await
    }

    async fn begin_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()> {
        self.put_draft(draft, lock).await
    }

    async fn claim(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>> {
        self.claim_files(id, seen, lock, now).await
    }

    async fn finish_draft(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<()> {
        self.queue_draft(queued, 0, now).await
    }

    async fn drop_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()> {
        self.forget_draft(id, lock).await
    }

    async fn drafts(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>> {
        self.drafts_before(begun_before).await
    }

    async fn submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool> {
        self.submit_manifest(queued, priority, now).await
    }

    async fn release_abandoned(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> TrackingResult<u64> {
        self.release_files(before, now).await
    }

    async fn ping(&self) -> TrackingResult<()> {
        self.read_nothing().await
    }

    async fn run_head(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        Ok(self.stored_run(id).await?.map(|stored| stored.run))
    }

    async fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        self.whole_run(id).await
    }

    async fn manifest(&self, id: &ManifestId) -> TrackingResult<Option<Manifest>> {
        self.manifest_of(id).await
    }

    async fn list_runs(&self, filter: &RunFilter) -> TrackingResult<Page<Run>> {
        self.list_some_runs(filter).await
    }

    async fn count_runs(&self) -> TrackingResult<Vec<RunCount>> {
        self.count_unfinished().await
    }

    async fn due(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>> {
        self.due_runs(limit, now).await
    }

    async fn open_runs(&self) -> TrackingResult<Vec<Run>> {
        self.runs_under_way(Utc::now()).await
    }

    async fn start_attempt(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32> {
        self.start(id, lock, now).await
    }

    async fn set_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()> {
        self.note_running(id, attempt, now).await
    }

    async fn retry_later(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        self.put_off(id, attempt, failure, not_before, now).await
    }

    async fn fail(&self, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()> {
        self.fail_run(id, attempt, failure, now).await
    }

    async fn cancel(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<RunState> {
        self.cancel_run(id, now).await
    }

    async fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        self.requeue_run(id, now).await
    }

    async fn refresh(&self, manifest: &Manifest, changed: &[ManifestFile], now: DateTime<Utc>) -> TrackingResult<()> {
        self.refresh_run(manifest, changed, now).await
    }

    async fn force(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        self.force_run(id, now).await
    }

    async fn prioritise(&self, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> TrackingResult<()> {
        self.set_priority(id, priority, now).await
    }

    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool> {
        self.put_commit(commit, result, now).await
    }

    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>> {
        self.open_commit(id).await
    }

    async fn supersede(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        self.supersede_commit(id, attempt, failure, not_before, now).await
    }

    async fn replaced(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>> {
        self.commits_to_replace(id).await
    }

    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        self.complete_run(id, now).await
    }

    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()> {
        self.add_counts(counts, now).await
    }

    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>> {
        self.metrics_of(day).await
    }

    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()> {
        self.put_audit(entry).await
    }

    async fn audits(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>> {
        self.audits_of(filter).await
    }

    async fn put_plan(&self, plan: &PlanRecord, _now: DateTime<Utc>) -> TrackingResult<bool> {
        self.put_new_plan(plan).await
    }

    async fn plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>> {
        self.find_plan(id).await
    }

    async fn update_plan(&self, plan: &PlanRecord) -> TrackingResult<bool> {
        self.write_plan(plan).await
    }
}
