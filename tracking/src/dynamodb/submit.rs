//! Manifests that somebody else made.
//!
//! First every file is put in the manifest, then its document and its run are written, both at once. A process that dies
//! in between leaves files that are in a manifest without a run. The same call, made again, finds them its own, and goes
//! on; one that is refused puts back whatever is in the manifest and not in its run, whoever put it there; and what nobody
//! submits again is put back after a while.

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
use crate::{FoundFile, QueuedManifest, RunState, TrackedFile, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, Manifest, ManifestFile, ManifestId, ObjectUri};
use std::collections::{BTreeMap, HashSet};

/// Limit of the manifested files that are looked at for some without a run: those that came first. Files without one stay, while
/// others go on, so that they are among the first in the end.
const MAX_LOOK: usize = 100;

/// Success, or the reason why a file cannot be put in a manifest.
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
                    // Somebody else has submitted it at the same time.
                    Transacted::Refused(_) => self.check_same_files(manifest).await.map(|()| false),
                }
            }
        }
    }

    /// Puts every file in the manifest, until one is taken.
    async fn claim_all(&self, manifest: &Manifest, now: DateTime<Utc>) -> TrackingResult<()> {
        let uris: Vec<ObjectUri> = manifest.files.iter().map(|file| file.uri.clone()).collect();
        let id = &manifest.id;
        // Most refusals are found before anything is written.
        for file in self.tracked_files(&uris).await?.iter().flatten() {
            claim(file, id, now).0.map_err(|taken| *taken)?;
        }
        // The first in the alphabet before the others: of two that want the same files, one is refused at once, not both.
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

    /// Puts those of these files back that are in a manifest, but not in its run, since before a time: as they were, by
    /// their timeline.
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

    /// Puts back what submissions claimed before a time, and then died.
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

    /// Refuses a manifest that has the id of another one.
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

/// Puts a file in a manifest, unless it is there, or taken.
fn claim(file: &TrackedFile, id: &ManifestId, now: DateTime<Utc>) -> (Claimed, Option<Change>) {
    match file.state {
        FileState::Pending | FileState::Failed => (Ok(()), Some(manifested(file, id, now))),
        // Written anew: who wants to put it back by an older look at it must not.
        _ if is_in(file, id, &[FileState::Manifested]) => (Ok(()), Some(Change::of(file, now))),
        state => {
            let holder = file.manifest_id.as_ref().map(|id| format!(" in manifest `{id}`")).unwrap_or_default();
            let (uri, manifest_id) = (file.uri.to_string(), id.to_string());
            (Err(Box::new(TrackingError::Taken { uri, state, holder, manifest_id })), None)
        }
    }
}

/// Change of a file that is not to be in its manifest after all; none, if nobody else has told of the file.
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
