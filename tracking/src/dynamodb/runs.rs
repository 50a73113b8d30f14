//! Runs.
//!
//! The run's item is the truth; its files follow, and each operation can be made again. What happens when the process
//! dies between the two:
//!
//! | operation | what it writes, in order | what is left when it dies | what goes on |
//! |---|---|---|---|
//! | start | files to processing; the run is running, one attempt more | a queued run with files in processing | start, again |
//! | fail | the run is failing; files to failed or pending; the run is failed | a failing run, which counts as failed | `unfinished`, which a scheduler asks for when it starts, or `fail`, again |
//! | requeue | files to manifested; the run is queued | a failed run with manifested files | requeue, again |
//! | complete | files to completed; the run is completed | a committing run | complete, again |
//!
//! Nobody takes a file from a run that may still commit. Only pending and failed files are claimed; the files of a run
//! become pending or failed only once it is failing; and a failing run never commits. A file mover that is late finds
//! that too: it looks at the run after it has looked at the files, moves only what has not changed since, and a run
//! that is queued again has changed every file before.

use super::backlog::Deltas;
use super::change::{Change, is_in, manifested};
use super::expression::Expression;
use super::item::{self, FAILING, Item, StoredFile, get, number, text, time};
use super::request::{Query, Written, all_until_error, pause};
use super::tables::STATUS_INDEX;
use super::{DynamoStore, key};
use crate::{QueuedManifest, Run, RunState, TrackedFile, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FileState, Manifest, ManifestId, ObjectUri};

/// The states of a file that is in a run.
const IN_RUN: [FileState; 2] = [FileState::Manifested, FileState::Processing];
/// How often the files of a failed run are looked at, while others change them.
const TRIES: u32 = 6;

/// The item of a new run.
pub(super) fn new_item(queued: &QueuedManifest, state: RunState, now: DateTime<Utc>) -> Item {
    let attributes = [
        ("date_prefix", text(queued.manifest.date.to_string())),
        ("manifest_uri", text(&queued.uri)),
        ("status", text(state.as_str())),
        ("attempts", number(0)),
        ("created_at", time(now)),
        ("updated_at", time(now)),
    ];
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
    key::run(&queued.manifest.id).into_iter().chain(attributes).collect()
}

impl DynamoStore {
    /// A run as its item tells it.
    pub(super) async fn stored_run(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        self.get(&self.names.runs, key::run(id)).await?.as_ref().map(item::run).transpose()
    }

    pub(super) async fn start(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<u32> {
        let wanted = "an attempt needs a queued or interrupted run";
        let from = [RunState::Queued, RunState::Running];
        self.check_state(id, &from, wanted).await?;
        let items = self.owned_files(id, |file| is_in(file, id, &IN_RUN)).await?;
        let processing = |file: &TrackedFile| {
            let change = Change::of(file, now).to(FileState::Processing, Some(id.to_string()));
            (is_in(file, id, &IN_RUN), is_in(file, id, &[FileState::Manifested]).then_some(change))
        };
        let moved = self.change_files(&items, processing).await?;
        check_owned(id, moved.iter().filter(|file| file.outcome).count(), items.len())?;
        let started = Expression::new().set("status", text(RunState::Running.as_str())).add("attempts", 1);
        Ok(self.move_run(id, &from, started.remove("failure"), wanted, now).await?.attempts)
    }

    pub(super) async fn fail_run(&self, id: &ManifestId, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()> {
        let wanted = "only a run that is not committed can fail";
        let json = serde_json::to_string(failure)
            .map_err(|e| TrackingError::Corrupt { what: "failure", value: e.to_string() })?;
        let failing = Expression::new().set("status", text(FAILING)).set("failure", text(json));
        match self.move_run(id, &[RunState::Queued, RunState::Running], failing, wanted, now).await {
            Ok(_) => {}
            Err(conflict @ TrackingError::Conflict { .. }) => {
                let known = self.stored_run(id).await?.filter(|run| run.state == RunState::Failed);
                if known.is_none_or(|run| run.failure.as_ref() != Some(failure)) {
                    return Err(conflict);
                }
            }
            Err(error) => return Err(error),
        }
        self.settle(id, now).await
    }

    /// Moves the files of a run that is failing, and ends that.
    async fn settle(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let manifest = self.manifest(id).await?;
        let uris: Vec<ObjectUri> = manifest.files.iter().map(|file| file.uri.clone()).collect();
        for retry in 0..TRIES {
            let files = self.stored_files(&uris).await?;
            // After the files: once the run is queued again, every file has changed since.
            let Some(run) = self.get(&self.names.runs, key::run(id)).await? else { return Ok(()) };
            if get(&run, "status") != Some(FAILING) {
                return Ok(());
            }
            let failure = item::run(&run)?.failure;
            let mut moves = Vec::new();
            for stored in files.iter().flatten() {
                let stored = StoredFile::of_item(stored)?;
                moves.extend(released(&stored.file, &manifest, failure.as_ref(), now).map(|change| (stored, change)));
            }
            if moves.is_empty() {
                let failed =
                    Expression::new().set("status", text(RunState::Failed.as_str())).when("status", "=", text(FAILING));
                return self.update(&self.names.runs, key::run(id), &failed).await.map(drop);
            }
            self.move_once(&moves).await?;
            pause(retry).await;
        }
        let message = format!("the files of run `{id}` change all the time");
        Err(TrackingError::Unavailable { store: self.names.tracking.clone(), message })
    }

    /// Makes those changes whose file is still as it was seen.
    async fn move_once(&self, moves: &[(StoredFile, Change)]) -> TrackingResult<()> {
        let work = moves.iter().map(|(stored, change)| self.write_change(stored, change)).collect();
        let (written, end) = all_until_error(work).await;
        let mut deltas = Deltas::default();
        for ((stored, change), written) in moves.iter().zip(written) {
            if matches!(written, Written::Done(_)) {
                deltas.change(Some(&stored.file), &change.after);
            }
        }
        let applied = self.apply(deltas).await;
        end?;
        applied.map(drop)
    }

    pub(super) async fn requeue_run(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let wanted = "only a run that failed or was interrupted can be queued again";
        let from = [RunState::Queued, RunState::Running, RunState::Failed, RunState::Cancelled];
        self.check_state(id, &from, wanted).await?;
        self.settle(id, now).await?;
        let items = self.owned_files(id, |file| can_return(file, id)).await?;
        // Also those that are manifested: who wants to move them by an older look at them must not.
        let back = |file: &TrackedFile| {
            let can_return = can_return(file, id);
            (can_return, can_return.then(|| manifested(file, id, now)))
        };
        let moved = self.change_files(&items, back).await?;
        check_owned(id, moved.iter().filter(|file| file.outcome).count(), items.len())?;
        let queued = Expression::new().set("status", text(RunState::Queued.as_str())).remove("failure");
        self.move_run(id, &from, queued, wanted, now).await.map(drop)
    }

    pub(super) async fn complete_run(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        let wanted = "only a committed run can be completed";
        let from = [RunState::Committing, RunState::Completed];
        if self.check_state(id, &from, wanted).await?.state == RunState::Completed {
            return Ok(());
        }
        let uris: Vec<ObjectUri> = self.manifest(id).await?.files.into_iter().map(|file| file.uri).collect();
        let items: Vec<Item> = self.stored_files(&uris).await?.into_iter().flatten().collect();
        // One that somebody has tried to queue again meanwhile is manifested; the commit was faster.
        let completed = |file: &TrackedFile| {
            let change = towards(file, FileState::Completed, id.as_str(), now);
            ((), is_in(file, id, &IN_RUN).then_some(change))
        };
        self.change_files(&items, completed).await?;
        let completed = Expression::new().set("status", text(RunState::Completed.as_str()));
        self.move_run(id, &from, completed, wanted, now).await.map(drop)
    }

    pub(super) async fn unfinished_runs(&self) -> TrackingResult<Vec<QueuedManifest>> {
        for failing in self.runs_in(FAILING, None).await? {
            self.settle(&item::run(&failing)?.manifest_id, Utc::now()).await?;
        }
        let open = [RunState::Queued, RunState::Running, RunState::Committing];
        let mut items = Vec::new();
        for state in open {
            items.extend(self.runs_in(state.as_str(), None).await?);
        }
        // The index lags behind: a run can be in it under two states, or have ended.
        let mut runs = self.reread(items).await?;
        runs.retain(|run| open.contains(&run.state));
        let ids: Vec<ManifestId> = runs.iter().map(|run| run.manifest_id.clone()).collect();
        let manifests = self.manifests(&ids).await?;
        let queued = |(run, manifest): (Run, Manifest)| QueuedManifest { manifest, uri: run.manifest_uri };
        Ok(runs.into_iter().zip(manifests).map(queued).collect())
    }

    /// The items of runs in one state, as the index has them: the newest, or all.
    pub(super) async fn runs_in(&self, status: &str, newest: Option<usize>) -> TrackingResult<Vec<Item>> {
        let expression = Expression::new().when("status", "=", text(status));
        let query = Query { index: Some(STATUS_INDEX), expression, newest_first: newest.is_some(), limit: newest };
        self.query(&self.names.runs, &query).await
    }

    /// The runs of these items as they are now, oldest first.
    pub(super) async fn reread(&self, items: Vec<Item>) -> TrackingResult<Vec<Run>> {
        let mut ids: Vec<&str> = items.iter().filter_map(|item| get(item, "manifest_id")).collect();
        ids.sort_unstable();
        ids.dedup();
        let keys = ids.into_iter().map(|id| Item::from([("manifest_id".to_owned(), text(id))])).collect();
        let items = self.get_many(&self.names.runs, keys).await?;
        let mut runs: Vec<Run> = items.iter().map(item::run).collect::<TrackingResult<_>>()?;
        runs.sort_by(|a, b| (a.created_at, &a.manifest_id).cmp(&(b.created_at, &b.manifest_id)));
        Ok(runs)
    }

    /// The files of a manifest, if it still has them all.
    async fn owned_files(&self, id: &ManifestId, is_owned: impl Fn(&TrackedFile) -> bool) -> TrackingResult<Vec<Item>> {
        let uris: Vec<ObjectUri> = self.manifest(id).await?.files.into_iter().map(|file| file.uri).collect();
        let items: Vec<Item> = self.stored_files(&uris).await?.into_iter().flatten().collect();
        let files: Vec<TrackedFile> = items.iter().map(item::tracked_file).collect::<TrackingResult<_>>()?;
        check_owned(id, files.iter().filter(|file| is_owned(file)).count(), uris.len())?;
        Ok(items)
    }

    async fn check_state(&self, id: &ManifestId, from: &[RunState], wanted: &'static str) -> TrackingResult<Run> {
        let run = self.stored_run(id).await?;
        let state = run.as_ref().map(|run| run.state);
        run.filter(|run| from.contains(&run.state)).ok_or_else(|| conflict(id, state, wanted))
    }

    /// Changes a run that is in one of these states.
    pub(super) async fn move_run(
        &self,
        id: &ManifestId,
        from: &[RunState],
        change: Expression,
        wanted: &'static str,
        now: DateTime<Utc>,
    ) -> TrackingResult<Run> {
        let states = from.iter().map(|state| text(state.as_str()));
        let change = change.set("updated_at", time(now)).when_in("status", states);
        match self.update(&self.names.runs, key::run(id), &change).await? {
            Written::Done(item) => item::run(&item),
            Written::Refused(item) => {
                let found = item.as_ref().map(item::run).transpose()?.map(|run| run.state);
                Err(conflict(id, found, wanted))
            }
        }
    }
}

pub(super) fn conflict(id: &ManifestId, found: Option<RunState>, wanted: &'static str) -> TrackingError {
    let found = found.map_or("unknown", RunState::as_str).to_owned();
    TrackingError::Conflict { manifest_id: id.to_string(), found, wanted }
}

/// Refuses to go on with a manifest some of whose files are in another one by now: their rows would be there twice.
fn check_owned(id: &ManifestId, owned: usize, listed: usize) -> TrackingResult<()> {
    if owned == listed {
        return Ok(());
    }
    let found = format!("left with {owned} of its {listed} files");
    let wanted = "the others are in a newer manifest: submit that one";
    Err(TrackingError::Conflict { manifest_id: id.to_string(), found, wanted })
}

/// Whether a run can have a file again: it has it, or had it last.
fn can_return(file: &TrackedFile, id: &ManifestId) -> bool {
    let is_free = file.state == FileState::Pending && file.manifest_id.is_none();
    is_free || is_in(file, id, &[FileState::Pending, FileState::Manifested, FileState::Processing, FileState::Failed])
}

/// Moves a file that is in a run to the end of one, by way of processing.
fn towards(file: &TrackedFile, state: FileState, detail: &str, now: DateTime<Utc>) -> Change {
    let change = Change::of(file, now);
    let change = match file.state {
        FileState::Manifested => change.to(FileState::Processing, None),
        _ => change,
    };
    change.to(state, Some(detail.to_owned()))
}

/// What a failure makes of a file of the run: if one file is at fault, it alone fails, and the others wait.
fn released(file: &TrackedFile, manifest: &Manifest, failure: Option<&Failure>, now: DateTime<Utc>) -> Option<Change> {
    if !is_in(file, &manifest.id, &IN_RUN) {
        return None;
    }
    let culprit = failure.and_then(|failure| failure.file.as_deref());
    let culprit = culprit.filter(|culprit| manifest.files.iter().any(|file| file.uri.as_str() == *culprit));
    if culprit.is_some_and(|culprit| culprit != file.uri.as_str()) {
        let change = Change::of(file, now);
        let change = match file.state {
            FileState::Processing => change.to(FileState::Manifested, Some(manifest.id.to_string())),
            _ => change,
        };
        return Some(change.to(FileState::Pending, Some(manifest.id.to_string())));
    }
    let message = failure.map(|failure| failure.message.clone()).unwrap_or_default();
    let failed = towards(file, FileState::Failed, &message, now);
    Some(failed.with(|after| after.reason = Some(message)))
}
