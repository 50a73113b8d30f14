//! Submission of external manifests.
//!
//! First every file is assigned to the manifest, then its document and run are written in one transaction. A crash in
//! between leaves files in a manifest without a run. A repeated call finds the files assigned already, and continues; a
//! refused call releases all files that are in the manifest and not in its run; and files of a submission that is never
//! repeated are released after a while.

use super::DynamoStore;
use super::change::{Change, is_in, manifested, new_file};
use super::deltas::Deltas;
use super::expression::Expression;
use super::files::Changed;
use super::item::{StoredFile, number, text, timeline_entry, tracked_file};
use super::key;
use super::request::{Query, Transacted, all, all_until_error, put_action};
use super::run_item::new_item;
use super::tables::STATUS_INDEX;
use crate::{FoundFile, QueuedManifest, TrackedFile, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, Manifest, ManifestFile, ManifestId, ObjectUri, RunState};
use std::collections::{BTreeMap, HashSet};

/// Limit of the manifested files that are searched for some without a run: the oldest. Files without a run remain while
/// others advance, so that they end up among the oldest.
const MAX_LOOK: usize = 100;

/// Success, or the reason why a file cannot be assigned to a manifest.
type Claimed = Result<(), Box<TrackingError>>;

impl DynamoStore {
    pub(super) async fn submit_manifest(
        &self,
        queued: &QueuedManifest,
        priority: i32,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        let submitted = self.try_to_submit(queued, priority, now).await;
        if let Err(TrackingError::Taken { .. } | TrackingError::Conflict { .. }) = &submitted {
            let uris: Vec<ObjectUri> = queued.manifest.files.iter().map(|file| file.uri.clone()).collect();
            self.release(&queued.manifest.id, &uris, DateTime::<Utc>::MAX_UTC, now).await?;
        }
        submitted
    }

    async fn try_to_submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool> {
        let manifest = &queued.manifest;
        let state = self.stored_run(&manifest.id).await?.map(|stored| stored.run.state);
        match state {
            Some(RunState::Draft) => {
                self.claim_all(manifest, now).await?;
                self.queue_draft(queued, priority, now).await?;
                Ok(true)
            }
            Some(_) => self.check_same_files(manifest).await.map(|()| false),
            None => {
                self.claim_all(manifest, now).await?;
                let item = new_item(queued, RunState::Queued, priority, now)?;
                let if_unknown = Expression::new().when_absent("manifest_id");
                let actions = [put_action(&self.names.runs, item, &if_unknown)?, self.document_action(manifest).await?];
                match self.transact(&actions).await? {
                    Transacted::Done => Ok(true),
                    // Another process has submitted it at the same time.
                    Transacted::Refused(_) => self.check_same_files(manifest).await.map(|()| false),
                }
            }
        }
    }

    /// Assigns every file to the manifest, up to the first that belongs to another.
    async fn claim_all(&self, manifest: &Manifest, now: DateTime<Utc>) -> TrackingResult<()> {
        let uris: Vec<ObjectUri> = manifest.files.iter().map(|file| file.uri.clone()).collect();
        let id = &manifest.id;
        // Finds most refusals before anything is written.
        for file in self.tracked_files(&uris).await?.iter().flatten() {
            claim(file, id, now).0.map_err(|taken| *taken)?;
        }
        // The file first in alphabetical order goes first: of two manifests with the same files, one is refused at
        // once, and not both.
        let mut files: Vec<&ManifestFile> = manifest.files.iter().collect();
        files.sort_by_key(|file| &file.uri);
        let (first, others) = files.split_at(files.len().min(1));
        let (mut claimed, mut end) = self.claim_each(manifest, first, now).await;
        if end.is_ok() && claimed.iter().all(|file| file.outcome.is_ok()) {
            let (more, more_end) = self.claim_each(manifest, others, now).await;
            claimed.extend(more);
            end = more_end;
        }
        let refused = claimed.iter().find_map(|file| file.outcome.clone().err());
        let mut deltas = Deltas::default();
        claimed.iter().for_each(|file| deltas.change(file.before.as_ref(), &file.after));
        let applied = self.apply(deltas).await;
        if let Some(taken) = refused {
            return Err(*taken);
        }
        end?;
        applied.map(drop)
    }

    /// Releases those of these files that have been in the manifest, but not in its run, since before a time: they get
    /// their former state, from their timeline.
    async fn release(
        &self,
        id: &ManifestId,
        uris: &[ObjectUri],
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<u64> {
        let known = self.manifest_of(id).await?.map(|known| known.files).unwrap_or_default();
        let known: HashSet<ObjectUri> = known.into_iter().map(|file| file.uri).collect();
        let uris: Vec<ObjectUri> = uris.iter().filter(|uri| !known.contains(*uri)).cloned().collect();
        let (mut forgotten, mut moves) = (Vec::new(), Vec::new());
        for item in self.stored_files(&uris).await?.iter().flatten() {
            let stored = StoredFile::of_item(item)?;
            if !is_in(&stored.file, id, &[FileState::Manifested]) || stored.file.updated_at >= before {
                continue;
            }
            match put_back(&stored, now)? {
                Some(change) => moves.push((stored, change)),
                None => forgotten.push(stored.file),
            }
        }
        let forgetting = forgotten.iter().map(|file| {
            let unchanged = Expression::new().when("version", "=", number(file.version));
            async move { self.delete(&self.names.tracking, key::file(&file.uri), &unchanged).await }
        });
        all(forgetting.collect()).await?;
        let mut deltas = Deltas::default();
        forgotten.iter().for_each(|file| deltas.forget(file));
        self.apply(deltas).await?;
        self.move_once(&moves).await?;
        Ok((forgotten.len() + moves.len()) as u64)
    }

    /// Releases files of submissions that were claimed before a time and then abandoned.
    pub(super) async fn release_files(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> TrackingResult<u64> {
        let expression = Expression::new().when("status", "=", text(FileState::Manifested.as_str()));
        let query = Query { index: Some(STATUS_INDEX), expression, limit: Some(MAX_LOOK), ..Query::default() };
        let mut claimed: BTreeMap<String, Vec<ObjectUri>> = BTreeMap::new();
        for item in self.query(&self.names.tracking, &query).await? {
            let file = tracked_file(&item)?;
            if let (Some(id), true) = (file.manifest_id, file.updated_at < before) {
                claimed.entry(id).or_default().push(file.uri);
            }
        }
        let mut released = 0;
        for (id, uris) in claimed {
            if let Ok(id) = id.parse()
                && self.stored_run(&id).await?.is_none()
            {
                released += self.release(&id, &uris, before, now).await?;
            }
        }
        Ok(released)
    }

    async fn claim_each(
        &self,
        manifest: &Manifest,
        files: &[&ManifestFile],
        now: DateTime<Utc>,
    ) -> (Vec<Changed<Claimed>>, TrackingResult<()>) {
        all_until_error(files.iter().map(|file| self.claim_one(manifest, file, now)).collect()).await
    }

    async fn claim_one(
        &self,
        manifest: &Manifest,
        file: &ManifestFile,
        now: DateTime<Utc>,
    ) -> TrackingResult<Changed<Claimed>> {
        let id = &manifest.id;
        let found = FoundFile::listed(file, manifest.date);
        let new = new_file(&found, FileState::Manifested, Some(id.as_str()), now);
        self.put_or_change(&new, Ok(()), |known| claim(known, id, now)).await
    }

    /// Refuses a manifest that has the id of a different one.
    async fn check_same_files(&self, manifest: &Manifest) -> TrackingResult<()> {
        let known = self.known_manifest(&manifest.id).await?;
        let uris = |manifest: &Manifest| manifest.files.iter().map(|file| file.uri.clone()).collect::<Vec<_>>();
        if uris(&known) == uris(manifest) {
            return Ok(());
        }
        Err(TrackingError::Conflict {
            manifest_id: manifest.id.to_string(),
            found: "known with other files".to_owned(),
            wanted: "give the new manifest an id of its own",
        })
    }
}

/// Assigns a file to a manifest, unless it is assigned already, or belongs to another.
fn claim(file: &TrackedFile, id: &ManifestId, now: DateTime<Utc>) -> (Claimed, Option<Change>) {
    match file.state {
        FileState::Pending | FileState::Failed => (Ok(()), Some(manifested(file, id, now))),
        // Written even if unchanged: the new version makes a concurrent release based on an older read fail.
        _ if is_in(file, id, &[FileState::Manifested]) => (Ok(()), Some(Change::of(file, now))),
        state => {
            let holder = file.manifest_id.as_ref().map(|id| format!(" in manifest `{id}`")).unwrap_or_default();
            let (uri, manifest_id) = (file.uri.to_string(), id.to_string());
            (Err(Box::new(TrackingError::Taken { uri, state, holder, manifest_id })), None)
        }
    }
}

/// Change that releases a file from a manifest; `None` if only the submission created its record.
fn put_back(stored: &StoredFile, now: DateTime<Utc>) -> TrackingResult<Option<Change>> {
    let notes: Vec<_> = stored.timeline.iter().map(timeline_entry).collect::<TrackingResult<_>>()?;
    let before = notes.into_iter().rev().find(|note| note.state != FileState::Manifested);
    if before.is_none() && stored.file.sequencer.is_none() {
        return Ok(None);
    }
    let (state, reason) = match before {
        Some(before) if before.state == FileState::Failed => (FileState::Failed, before.detail),
        _ => (FileState::Pending, None),
    };
    let undo = |after: &mut TrackedFile| {
        after.manifest_id = None;
        after.reason = reason;
    };
    Ok(Some(Change::of(&stored.file, now).with(undo).to(state, Some("put back".to_owned()))))
}
