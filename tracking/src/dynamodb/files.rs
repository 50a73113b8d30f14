//! Storage and changes of files.
//!
//! A file is one item, and each change of it is one conditional write, which is atomic. The effect of several changes
//! on the backlogs is written after them. A crash in between leaves the files correct and the counters wrong, until a
//! recount; the call can be repeated, and finds its files known.

use super::DynamoStore;
use super::change::{Change, new_file, replaced};
use super::deltas::{Deltas, RunChange};
use super::expression::Expression;
use super::item::{Item, StoredFile, file_item, timeline_entry, tracked_file};
use super::key;
use super::request::{Written, all_until_error, pause};
use crate::decide::{Decision, TAKEN_BACK, adopt, arrival, decide, decide_missing, note_overwrite};
use crate::{
    Backlog, FileFilter, FileStore, FoundFile, Overwrites, Page, TimelineEntry, Tracked, TrackedBatch, TrackedFile,
    TrackingError, TrackingResult,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, ObjectUri, QuarantineReason};
use std::collections::{BTreeMap, HashMap};

/// Limit of the attempts to change a file that others keep changing: each decides again on the present record.
const TRIES: u32 = 6;

/// Result for one file.
#[derive(Clone, Debug)]
pub(super) struct Changed<T> {
    /// Result of the decision.
    pub(super) outcome: T,
    /// Record before; `None` if the file was not known.
    pub(super) before: Option<TrackedFile>,
    /// Record after.
    pub(super) after: TrackedFile,
}

impl DynamoStore {
    pub(super) async fn track_files(
        &self,
        found: &[FoundFile],
        overwrites: Overwrites,
        now: DateTime<Utc>,
    ) -> TrackingResult<TrackedBatch> {
        let groups = by_uri(found).into_iter().map(|group| self.track_in_turn(group, overwrites, now)).collect();
        let (tracked, end) = all_until_error(groups).await;
        let mut tracked: Vec<_> = tracked.into_iter().flatten().collect();
        tracked.sort_by_key(|(position, _)| *position);
        let mut deltas = Deltas::default();
        for (_, changed) in &tracked {
            deltas.change(changed.before.as_ref(), &changed.after);
            if matches!(changed.outcome, Tracked::New | Tracked::Updated) {
                deltas.show(changed.after.date);
            }
        }
        let backlogs = self.apply(deltas).await;
        end?;
        Ok(TrackedBatch { outcomes: tracked.iter().map(|(_, changed)| changed.outcome).collect(), backlogs: backlogs? })
    }

    /// Tracks the findings of one file in order.
    async fn track_in_turn(
        &self,
        found: Vec<(usize, FoundFile)>,
        overwrites: Overwrites,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<(usize, Changed<Tracked>)>> {
        let mut tracked = Vec::with_capacity(found.len());
        for (position, found) in found {
            let (state, outcome) = arrival(&found);
            let new = new_file(&found, state, None, now);
            let decided = |known: &TrackedFile| track_known(known, &found, overwrites, now);
            tracked.push((position, self.put_or_change(&new, outcome, decided).await?));
        }
        Ok(tracked)
    }

    pub(super) async fn mark_file_missing(&self, found: &FoundFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        let gone = FoundFile { quarantine: Some(QuarantineReason::MissingObject), ..found.clone() };
        let new = new_file(&gone, FileState::Quarantined, None, now);
        let changed = self.put_or_change(&new, true, |known| missing(known, found, now)).await?;
        let mut deltas = Deltas::default();
        deltas.change(changed.before.as_ref(), &changed.after);
        self.apply(deltas).await?;
        Ok(changed.outcome)
    }

    /// Makes a failed file pending again, if it is unchanged since `seen`.
    pub(super) async fn take_file_back(&self, seen: &TrackedFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        let Some(item) = self.get(&self.names.tracking, key::file(&seen.uri)).await? else { return Ok(false) };
        let taken = |known: &TrackedFile| {
            let is_as_seen = known.state == FileState::Failed && known.version == seen.version;
            let pending = |after: &mut TrackedFile| after.reason = None;
            let change = Change::of(known, now).with(pending).to(FileState::Pending, Some(TAKEN_BACK.to_owned()));
            (is_as_seen, is_as_seen.then_some(change))
        };
        let changed = self.change_files(&[item], taken, None).await?;
        Ok(changed.iter().any(|changed| changed.outcome))
    }

    pub(super) async fn mark_file_moved(&self, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> TrackingResult<()> {
        let Some(item) = self.get(&self.names.tracking, key::file(uri)).await? else { return Ok(()) };
        let moved = |file: &TrackedFile| {
            let is_new = file.state == FileState::Quarantined && file.quarantine_uri.as_deref() != Some(to);
            ((), is_new.then(|| Change::of(file, now).with(|after| after.quarantine_uri = Some(to.to_owned()))))
        };
        self.change_file(&item, moved).await.map(drop)
    }

    /// Records of files, in the order of `uris`.
    pub(super) async fn stored_files(&self, uris: &[ObjectUri]) -> TrackingResult<Vec<Option<Item>>> {
        let keys: HashMap<ObjectUri, Item> = uris.iter().map(|uri| (uri.clone(), key::file(uri))).collect();
        let items = self.get_many(&self.names.tracking, keys.into_values().collect()).await?;
        let by_uri: HashMap<String, Item> =
            items.into_iter().filter_map(|item| Some((item.get("file_path")?.as_s().ok()?.clone(), item))).collect();
        Ok(uris.iter().map(|uri| by_uri.get(uri.as_str()).cloned()).collect())
    }

    pub(super) async fn tracked_files(&self, uris: &[ObjectUri]) -> TrackingResult<Vec<Option<TrackedFile>>> {
        let items = self.stored_files(uris).await?;
        items.iter().map(|item| item.as_ref().map(tracked_file).transpose()).collect()
    }

    pub(super) async fn timeline_of(&self, uri: &ObjectUri) -> TrackingResult<Vec<TimelineEntry>> {
        let item = self.get(&self.names.tracking, key::file(uri)).await?;
        let entries = item.map(|item| StoredFile::of_item(&item)).transpose()?.map(|stored| stored.timeline);
        entries.unwrap_or_default().iter().map(timeline_entry).collect()
    }

    /// Creates the record of an unknown file, or changes that of a known one as `decide` says.
    pub(super) async fn put_or_change<T: Clone>(
        &self,
        new: &Change,
        outcome: T,
        decide: impl Fn(&TrackedFile) -> (T, Option<Change>),
    ) -> TrackingResult<Changed<T>> {
        let table = &self.names.tracking;
        let item = file_item(key::file(&new.after.uri), &new.after, &new.notes);
        let if_unknown = Expression::new().when_absent("date_prefix");
        for retry in 0..TRIES {
            match self.put(table, item.clone(), &if_unknown).await? {
                Written::Done(_) => return Ok(Changed { outcome, before: None, after: new.after.clone() }),
                Written::Refused(Some(known)) => {
                    if let Some(changed) = self.change_file(&known, &decide).await? {
                        return Ok(changed);
                    }
                }
                // The record existed and expired meanwhile.
                Written::Refused(None) => pause(retry).await,
            }
        }
        Err(self.restless(&new.after.uri))
    }

    /// Changes a file as `decide` says, deciding again if it has changed meanwhile. `None` if it is gone.
    pub(super) async fn change_file<T>(
        &self,
        item: &Item,
        decide: impl Fn(&TrackedFile) -> (T, Option<Change>),
    ) -> TrackingResult<Option<Changed<T>>> {
        let mut stored = StoredFile::of_item(item)?;
        for retry in 0..TRIES {
            let (outcome, change) = decide(&stored.file);
            let Some(change) = change else {
                return Ok(Some(Changed { outcome, before: Some(stored.file.clone()), after: stored.file }));
            };
            match self.write_change(&stored, &change).await? {
                Written::Done(_) => {
                    return Ok(Some(Changed { outcome, before: Some(stored.file), after: change.after }));
                }
                Written::Refused(Some(now)) => stored = StoredFile::of_item(&now)?,
                Written::Refused(None) => return Ok(None),
            }
            pause(retry).await;
        }
        Err(self.restless(&stored.file.uri))
    }

    /// Writes a change of a file, if the file is unchanged since `seen`.
    pub(super) async fn write_change(&self, seen: &StoredFile, change: &Change) -> TrackingResult<Written> {
        self.update(&self.names.tracking, key::file(&seen.file.uri), &change.expression_on(seen)).await
    }

    /// Changes many files as `decide` says, and updates the totals of their dates, as well as those of a run if any
    /// of its files moved.
    pub(super) async fn change_files<T>(
        &self,
        items: &[Item],
        decide: impl Fn(&TrackedFile) -> (T, Option<Change>),
        run: Option<&RunChange>,
    ) -> TrackingResult<Vec<Changed<T>>> {
        let work = items.iter().map(|item| self.change_file(item, &decide)).collect();
        let (changed, end) = all_until_error(work).await;
        let changed: Vec<_> = changed.into_iter().flatten().collect();
        let mut deltas = Deltas::default();
        changed.iter().for_each(|changed| deltas.change(changed.before.as_ref(), &changed.after));
        let has_moved =
            |changed: &Changed<T>| changed.before.as_ref().is_none_or(|before| before.state != changed.after.state);
        if let Some(run) = run.filter(|_| changed.iter().any(has_moved)) {
            deltas.run(run);
        }
        let applied = self.apply(deltas).await;
        end?;
        applied?;
        Ok(changed)
    }

    fn restless(&self, uri: &ObjectUri) -> TrackingError {
        let message = format!("`{uri}` changes all the time");
        TrackingError::Unavailable { store: self.names.tracking.clone(), message }
    }
}

/// Groups findings by file, with their positions: several findings of one file must be tracked in order.
fn by_uri(found: &[FoundFile]) -> Vec<Vec<(usize, FoundFile)>> {
    let mut groups: BTreeMap<&ObjectUri, Vec<(usize, FoundFile)>> = BTreeMap::new();
    for (position, file) in found.iter().enumerate() {
        groups.entry(&file.uri).or_default().push((position, file.clone()));
    }
    groups.into_values().collect()
}

fn track_known(
    known: &TrackedFile,
    found: &FoundFile,
    overwrites: Overwrites,
    now: DateTime<Utc>,
) -> (Tracked, Option<Change>) {
    match decide(known, found, overwrites, now) {
        Decision::Leave(outcome) => (outcome, None),
        Decision::Replace(state, outcome) => (outcome, Some(replaced(known, found, state, now))),
        Decision::Adopt(outcome) => (outcome, Some(Change::of(known, now).with(|after| adopt(after, found)))),
        Decision::NoteOverwrite => {
            let is_noted = known.overwritten_etag.as_deref() == Some(&found.etag);
            let change = Change::of(known, now).with(|after| note_overwrite(after, found));
            let detail = format!("overwritten: etag {}", found.etag);
            (Tracked::Overwritten, Some(if is_noted { change } else { change.to(known.state, Some(detail)) }))
        }
    }
}

fn missing(known: &TrackedFile, found: &FoundFile, now: DateTime<Utc>) -> (bool, Option<Change>) {
    let Some((state, reason)) = decide_missing(known, found) else { return (false, None) };
    let gone = |after: &mut TrackedFile| {
        after.reason = Some(reason.as_str().to_owned());
        after.sequencer = found.sequencer.clone().or_else(|| known.sequencer.clone());
    };
    (true, Some(Change::of(known, now).with(gone).to(state, Some(reason.as_str().to_owned()))))
}

#[async_trait]
impl FileStore for DynamoStore {
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

    async fn take_back(&self, seen: &TrackedFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        self.take_file_back(seen, now).await
    }

    async fn mark_moved(&self, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> TrackingResult<()> {
        self.mark_file_moved(uri, to, now).await
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
}
