//! Reading, changing, listing and counting of runs.
//!
//! Queued runs are found through an index that contains only them, in the order in which they are to start. Like all
//! indexes it is eventually consistent, so that runs read from it are read again before they are returned. Listings
//! return the data of the index. The cost of a listing by state, by date, or of all runs is proportional to its result;
//! failure classes are filtered from those.

use super::expression::Expression;
use super::item::{Item, get, parsed, text, time};
use super::pages::{self, Part};
use super::request::{Query, Written, pause};
use super::run_item::{FAILING, QUEUED, RUN, StoredRun, listed_run, run};
use super::tables::{AGE_INDEX, DATE_INDEX, QUEUE_INDEX, STATUS_INDEX};
use super::{DynamoStore, key};
use crate::{Page, QueuedManifest, Run, RunCount, RunFilter, RunStore, TrackingError, TrackingResult, life};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Manifest, ManifestFile, ManifestId, RunState};

/// Limit of the attempts to change a run that others keep changing: each decides again on the present record.
pub(super) const TRIES: u32 = 6;
/// Limit of the requests per page: a filter can drop all items that a request reads.
const MAX_REQUESTS: usize = 20;

impl DynamoStore {
    /// Reads a run.
    pub(super) async fn stored_run(&self, id: &ManifestId) -> TrackingResult<Option<StoredRun>> {
        self.get(&self.names.runs, key::run(id)).await?.as_ref().map(StoredRun::of_item).transpose()
    }

    /// Reads an item that does not exist: half a read unit proves that the table answers and may be read.
    pub(super) async fn read_nothing(&self) -> TrackingResult<()> {
        self.get(&self.names.runs, key::nothing()).await.map(drop)
    }

    /// Reads a run that must exist.
    pub(super) async fn known_run(&self, id: &ManifestId) -> TrackingResult<StoredRun> {
        self.stored_run(id).await?.ok_or_else(|| life::unknown(id))
    }

    /// Changes a run as `decide` says, deciding again if it has changed meanwhile.
    pub(super) async fn change_run<T>(
        &self,
        id: &ManifestId,
        decide: impl Fn(&StoredRun) -> TrackingResult<(T, Option<StoredRun>)>,
    ) -> TrackingResult<T> {
        let mut known = self.stored_run(id).await?;
        for retry in 0..TRIES {
            let before = known.ok_or_else(|| life::unknown(id))?;
            let (outcome, after) = decide(&before)?;
            let Some(after) = after else { return Ok(outcome) };
            match self.update(&self.names.runs, key::run(id), &after.expression(&before)?).await? {
                Written::Done(_) => return Ok(outcome),
                Written::Refused(item) => known = item.as_ref().map(StoredRun::of_item).transpose()?,
            }
            pause(retry).await;
        }
        Err(self.restless_run(id))
    }

    pub(super) fn restless_run(&self, id: &ManifestId) -> TrackingError {
        let message = format!("run `{id}` changes all the time");
        TrackingError::Unavailable { store: self.names.runs.clone(), message }
    }

    pub(super) async fn due_runs(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>> {
        let expression =
            Expression::new().when("queue", "=", text(QUEUED)).only_absent_or("not_before", "<=", time(now));
        let query = Query { index: Some(QUEUE_INDEX), expression, limit: Some(limit), ..Query::default() };
        let mut runs = self.reread(self.query(&self.names.runs, &query).await?).await?;
        runs.retain(|run| run.state == RunState::Queued && run.not_before.is_none_or(|at| at <= now));
        runs.sort_by(|a, b| {
            (-i64::from(a.priority), a.created_at, &a.manifest_id).cmp(&(
                -i64::from(b.priority),
                b.created_at,
                &b.manifest_id,
            ))
        });
        Ok(runs)
    }

    /// Active runs. Failing ones are settled first.
    pub(super) async fn runs_under_way(&self, now: DateTime<Utc>) -> TrackingResult<Vec<Run>> {
        let expression = Expression::new().when("queue", "=", text(FAILING));
        let query = Query { index: Some(QUEUE_INDEX), expression, ..Query::default() };
        for failing in self.query(&self.names.runs, &query).await? {
            let Some(id) = readable(parsed(&failing, "manifest_id", "manifest id"))? else { continue };
            readable(self.settle(&id, now).await)?;
        }
        let mut items = Vec::new();
        for state in RunState::OPEN {
            items.extend(self.query(&self.names.runs, &in_state(state)).await?);
        }
        let mut runs = self.reread(items).await?;
        runs.retain(|run| RunState::OPEN.contains(&run.state));
        Ok(runs)
    }

    /// Reads the runs of these items again, and returns them oldest first.
    pub(super) async fn reread(&self, items: Vec<Item>) -> TrackingResult<Vec<Run>> {
        let mut ids: Vec<&str> = items.iter().filter_map(|item| get(item, "manifest_id")).collect();
        ids.sort_unstable();
        ids.dedup();
        let keys = ids.into_iter().map(|id| Item::from([("manifest_id".to_owned(), text(id))])).collect();
        let items = self.get_many(&self.names.runs, keys).await?;
        let mut runs = runs_of(&items, run)?;
        runs.sort_by(|a, b| (a.created_at, &a.manifest_id).cmp(&(b.created_at, &b.manifest_id)));
        Ok(runs)
    }

    pub(super) async fn count_unfinished(&self) -> TrackingResult<Vec<RunCount>> {
        let mut counts = Vec::new();
        for state in [RunState::Queued].into_iter().chain(RunState::OPEN) {
            let mut count = RunCount { state, runs: 0, bytes: 0, unsized_files: 0, oldest: None };
            let add = |page: Vec<Item>| {
                for item in &page {
                    count.runs += 1;
                    let bytes: Option<u64> = readable(parsed(item, "bytes", "number of bytes"))?;
                    count.bytes = count.bytes.saturating_add(bytes.unwrap_or(0));
                    if bytes.is_none_or(|bytes| bytes == 0) {
                        let files: Option<u64> = readable(parsed(item, "files", "number of files"))?;
                        count.unsized_files = count.unsized_files.saturating_add(files.unwrap_or(0));
                    }
                    // Listed in order of time, so that the first is the oldest.
                    if count.oldest.is_none() {
                        count.oldest = readable(parsed(item, "created_at", "time"))?;
                    }
                }
                Ok(())
            };
            self.query_pages(&self.names.runs, &in_state(state), add).await?;
            counts.extend((count.runs > 0).then_some(count));
        }
        Ok(counts)
    }

    pub(super) async fn list_some_runs(&self, filter: &RunFilter) -> TrackingResult<Page<Run>> {
        let date = filter.date.map(|date| text(date.to_string()));
        let (index, partition, value) = match (filter.state, &date) {
            (Some(state), _) => (STATUS_INDEX, "status", text(state.as_str())),
            (None, Some(date)) => (DATE_INDEX, "date_prefix", date.clone()),
            (None, None) => (AGE_INDEX, "kind", text(RUN)),
        };
        let place = filter.cursor.as_deref().map(|cursor| pages::place_of(cursor, &KEYS, (partition, &value)));
        let mut place = place.transpose()?;
        let mut expression = Expression::new().when(partition, "=", value);
        if let Some(date) = date.filter(|_| filter.state.is_some()) {
            expression = expression.only("date_prefix", "=", date);
        }
        if let Some(class) = filter.failure_class {
            expression = expression.only("failure_class", "=", text(class.as_str()));
        }
        let query = Query { index: Some(index), expression, newest_first: true, limit: None };
        let limit = filter.limit.max(1);
        let mut items = Vec::new();
        for _ in 0..MAX_REQUESTS {
            let Part { items: found, next } =
                self.query_some(&self.names.runs, &query, place, limit - items.len()).await?;
            items.extend(runs_of(&found, listed_run)?);
            place = next;
            if place.is_none() || items.len() >= limit {
                break;
            }
        }
        Ok(Page { items, next_cursor: place.as_ref().map(pages::cursor_of) })
    }
}

fn runs_of(items: &[Item], read: fn(&Item) -> TrackingResult<Run>) -> TrackingResult<Vec<Run>> {
    let mut runs = Vec::with_capacity(items.len());
    for item in items {
        runs.extend(readable(read(item))?);
    }
    Ok(runs)
}

/// Filters out invalid stored values, which are logged, so that they do not block others.
pub(super) fn readable<T>(read: TrackingResult<T>) -> TrackingResult<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ TrackingError::Corrupt { .. }) => {
            tracing::error!(%error, "something in the state cannot be read, and is passed over");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Names of the key attributes in an index of runs, besides its partition.
const KEYS: [&str; 2] = ["manifest_id", "created_at"];

/// Query for the runs in one state, oldest first, as the index has them.
fn in_state(state: RunState) -> Query {
    let expression = Expression::new().when("status", "=", text(state.as_str()));
    Query { index: Some(STATUS_INDEX), expression, ..Query::default() }
}

#[async_trait]
impl RunStore for DynamoStore {
    async fn submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool> {
        self.submit_manifest(queued, priority, now).await
    }

    async fn release_abandoned(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> TrackingResult<u64> {
        self.release_files(before, now).await
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
}
