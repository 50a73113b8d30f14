//! The files of runs, which follow them; see `attempts`.

use super::change::{Change, is_in, manifested};
use super::deltas::{Deltas, RunChange};
use super::files::Changed;
use super::item::{self, Item, StoredFile};
use super::request::{Written, all_until_error, pause};
use super::run_item::StoredRun;
use super::runs::TRIES;
use super::{DynamoStore, key};
use crate::decide::OVERWRITTEN;
use crate::life::{can_return, check_owned, has_output};
use crate::{Run, TrackedFile, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FileState, Manifest, ManifestFile, ManifestId, ObjectUri, RunState};

/// States of a file in a run.
const IN_RUN: [FileState; 2] = [FileState::Manifested, FileState::Processing];

impl DynamoStore {
    /// Moves the files of a starting run to processing; refused if the run has lost any.
    ///
    /// Files of a forced run are only checked, and stay completed. A file whose record has expired is in no other
    /// manifest.
    pub(super) async fn take_files(&self, run: &Run, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = &run.manifest_id;
        if has_output(run) {
            let files = self.known_files(id).await?;
            let mut lost = files.iter().filter(|file| !is_in(file, id, &[FileState::Completed]));
            let first = lost.next();
            let lost = lost.count() + usize::from(first.is_some());
            return check_owned(run, run.files.saturating_sub(lost as u64), first);
        }
        let processing = |file: &TrackedFile| {
            let change = Change::of(file, now).to(FileState::Processing, Some(id.to_string()));
            (is_in(file, id, &IN_RUN), is_in(file, id, &[FileState::Manifested]).then_some(change))
        };
        self.move_all(run, processing, None).await
    }

    /// Returns the files of a run that ended without output to it; refused if the run has lost any.
    pub(super) async fn return_files(&self, run: &Run, lost: RunState, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = &run.manifest_id;
        // Manifested files are written as well: this changes their version, so that a concurrent change based on an
        // older read is refused.
        let back = |file: &TrackedFile| {
            let can_return = can_return(file, id);
            (can_return, can_return.then(|| manifested(file, id, now)))
        };
        let again = RunChange { date: run.date, gained: None, lost: Some(lost), output: None, committed_at: None };
        self.move_all(run, back, Some(&again)).await
    }

    /// Changes all files of a run; `decide` also tells whether a file belongs to the run. Writes nothing if one does
    /// not at the first read.
    async fn move_all(
        &self,
        run: &Run,
        decide: impl Fn(&TrackedFile) -> (bool, Option<Change>),
        change: Option<&RunChange>,
    ) -> TrackingResult<()> {
        let items = self.file_items(&run.manifest_id).await?;
        let files: Vec<TrackedFile> = items.iter().map(item::tracked_file).collect::<TrackingResult<_>>()?;
        check_all_owned(run, files.iter().map(|file| (decide(file).0, file)))?;
        let moved: Vec<Changed<bool>> = self.change_files(&items, decide, change).await?;
        check_all_owned(run, moved.iter().map(|file| (file.outcome, &file.after)))
    }

    /// Moves the files of a committed run to completed.
    pub(super) async fn complete_files(&self, run: &Run, now: DateTime<Utc>) -> TrackingResult<()> {
        let id = &run.manifest_id;
        // Files of a forced run are completed already. A manifested file was being returned to the run by a concurrent
        // requeue, which the commit preceded.
        let completed = |file: &TrackedFile| {
            let change = towards(file, FileState::Completed, id.as_str(), now);
            ((), is_in(file, id, &IN_RUN).then_some(change))
        };
        let ended = RunChange {
            date: run.date,
            gained: Some(RunState::Completed),
            lost: None,
            output: run.summary,
            committed_at: run.committed_at,
        };
        self.change_files(&self.file_items(id).await?, completed, Some(&ended)).await.map(drop)
    }

    /// Moves the files of a failing run, then ends the failing.
    pub(super) async fn settle(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        if !self.stored_run(id).await?.is_some_and(|run| run.is_failing) {
            return Ok(());
        }
        let manifest = self.known_manifest(id).await?;
        let uris: Vec<ObjectUri> = manifest.files.iter().map(|file| file.uri.clone()).collect();
        let mut is_counted = false;
        for retry in 0..TRIES {
            let files = self.stored_files(&uris).await?;
            // Read after the files: a run that is queued again has changed every file before, so that moves based on
            // older reads are refused.
            let Some(before) = self.stored_run(id).await?.filter(|run| run.is_failing) else { return Ok(()) };
            let mut moves = Vec::new();
            for stored in files.iter().flatten() {
                let stored = StoredFile::of_item(stored)?;
                let change = released(&stored.file, &manifest, before.run.failure.as_ref(), now);
                moves.extend(change.map(|change| (stored, change)));
            }
            if moves.is_empty() {
                let settled = StoredRun::with(&before, before.run.clone()).expression(&before)?;
                match self.update(&self.names.runs, key::run(id), &settled).await? {
                    Written::Done(_) => return Ok(()),
                    Written::Refused(_) => {}
                }
            }
            let ended = RunChange {
                date: before.run.date,
                gained: Some(before.run.state),
                lost: None,
                output: None,
                committed_at: None,
            };
            let is_first = !std::mem::replace(&mut is_counted, true);
            self.move_counted(&moves, is_first.then_some(&ended)).await?;
            pause(retry).await;
        }
        let message = format!("the files of run `{id}` change all the time");
        Err(TrackingError::Unavailable { store: self.names.tracking.clone(), message })
    }

    /// Writes those changes whose file is unchanged.
    pub(super) async fn move_once(&self, moves: &[(StoredFile, Change)]) -> TrackingResult<()> {
        self.move_counted(moves, None).await
    }

    /// Writes changes as in [`Self::move_once`], and counts the change of a run if any of its files moved.
    async fn move_counted(&self, moves: &[(StoredFile, Change)], run: Option<&RunChange>) -> TrackingResult<()> {
        let work = moves.iter().map(|(stored, change)| self.write_change(stored, change)).collect();
        let (written, end) = all_until_error(work).await;
        let (mut deltas, mut has_moved) = (Deltas::default(), false);
        for ((stored, change), written) in moves.iter().zip(written) {
            if matches!(written, Written::Done(_)) {
                deltas.change(Some(&stored.file), &change.after);
                has_moved = true;
            }
        }
        if let Some(run) = run.filter(|_| has_moved) {
            deltas.run(run);
        }
        let applied = self.apply(deltas).await;
        end?;
        applied.map(drop)
    }

    /// Updates the content of a run's files to the present one, where they belong to the run, or to none.
    pub(super) async fn refresh_files(
        &self,
        id: &ManifestId,
        changed: &[ManifestFile],
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let uris: Vec<ObjectUri> = changed.iter().map(|file| file.uri.clone()).collect();
        let items: Vec<Item> = self.stored_files(&uris).await?.into_iter().flatten().collect();
        let refreshed = |file: &TrackedFile| {
            let found = changed.iter().find(|found| found.uri == file.uri).filter(|_| can_return(file, id));
            let change = found.map(|found| {
                Change::of(file, now).with(|after| {
                    after.size_bytes = found.size_bytes.unwrap_or(0);
                    after.etag = found.etag.clone().unwrap_or_default();
                    after.version_id.clone_from(&found.version_id);
                    after.overwritten_etag = None;
                })
            });
            ((), change)
        };
        self.change_files(&items, refreshed, None).await.map(drop)
    }

    async fn file_items(&self, id: &ManifestId) -> TrackingResult<Vec<Item>> {
        let uris: Vec<ObjectUri> = self.known_manifest(id).await?.files.into_iter().map(|file| file.uri).collect();
        Ok(self.stored_files(&uris).await?.into_iter().flatten().collect())
    }

    async fn known_files(&self, id: &ManifestId) -> TrackingResult<Vec<TrackedFile>> {
        self.file_items(id).await?.iter().map(item::tracked_file).collect()
    }
}

/// Refuses to continue unless all files belong to the run.
fn check_all_owned<'a>(run: &Run, files: impl Iterator<Item = (bool, &'a TrackedFile)>) -> TrackingResult<()> {
    let (owned, lost): (Vec<_>, Vec<_>) = files.partition(|(is_owned, _)| *is_owned);
    check_owned(run, owned.len() as u64, lost.first().map(|(_, file)| *file))
}

/// Moves a file in a run to its final state, through processing.
fn towards(file: &TrackedFile, state: FileState, detail: &str, now: DateTime<Utc>) -> Change {
    let change = Change::of(file, now);
    let change = match file.state {
        FileState::Manifested => change.to(FileState::Processing, None),
        _ => change,
    };
    change.to(state, Some(detail.to_owned()))
}

/// Effect of a run's failure on one of its files: if particular files are at fault, only these fail, and the others
/// become pending.
fn released(file: &TrackedFile, manifest: &Manifest, failure: Option<&Failure>, now: DateTime<Utc>) -> Option<Change> {
    if !is_in(file, &manifest.id, &IN_RUN) {
        return None;
    }
    let is_of_files =
        failure.is_some_and(|failure| manifest.files.iter().any(|file| failure.fault_of(file.uri.as_str()).is_some()));
    let own = failure.and_then(|failure| failure.fault_of(file.uri.as_str()));
    if is_of_files && own.is_none() {
        let change = Change::of(file, now);
        let change = match file.state {
            FileState::Processing => change.to(FileState::Manifested, Some(manifest.id.to_string())),
            _ => change,
        };
        return Some(change.to(FileState::Pending, Some(manifest.id.to_string())));
    }
    let message = own.or(failure.map(|failure| failure.message.as_str())).unwrap_or_default().to_owned();
    let failed = towards(file, FileState::Failed, &message, now);
    if file.overwritten_etag.as_ref().is_some_and(|etag| *etag != file.etag) {
        // Other content was found meanwhile, whose entity tag will be known only when the file is read again.
        let unknown = |after: &mut TrackedFile| {
            after.etag.clear();
            (after.version_id, after.overwritten_etag, after.reason) = (None, None, None);
        };
        return Some(failed.with(unknown).to(FileState::Pending, Some(OVERWRITTEN.to_owned())));
    }
    Some(failed.with(|after| after.reason = Some(message)))
}
