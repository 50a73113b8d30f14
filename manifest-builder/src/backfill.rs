//! Reconciliation of a listed place with the store: files that events missed are tracked, files that are gone are
//! marked.

use crate::builder::{Arrived, Builder, HEADS_AT_ONCE, PutAway, key_in, tell_gone, tell_overwritten};
use crate::error::BuilderError;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::future::join_all;
use millwork_manifest::{FileState, ObjectUri, QuarantineReason};
use millwork_storage::{Location, Object};
use millwork_tracking::{FileFilter, FoundFile, Tracked, TrackedFile};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Number of files per call to track them, and per page read from the store.
pub(crate) const CHUNK: usize = 2000;

/// Result of a listing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Backfilled {
    /// Files listed.
    pub listed: u64,
    /// Files that were unknown or had other content, and are pending now.
    pub pending: u64,
    /// Files that were known already, unchanged.
    pub known: u64,
    /// Files refused in this round.
    pub quarantined: Vec<QuarantinedFile>,
    /// Refused files, of this round or earlier ones, that cannot be moved to the quarantine. They stay in place and are
    /// marked.
    pub unmoved: Vec<UnmovedFile>,
    /// Files whose names mark unfinished content. They are left alone for a while.
    pub unfinished: u64,
    /// Converted files that have other content now. Their output is left as it is.
    pub overwritten: Vec<ObjectUri>,
    /// Pending files that are gone.
    pub missing: Vec<ObjectUri>,
    /// Unknown files that are older than the store's memory: they may have been converted already, and are left alone.
    pub too_old: Vec<ObjectUri>,
    /// Refused entries: links that lead out of the place, entries that are not regular files, and directories that may
    /// not be listed. They are left unchanged.
    pub foreign: Vec<ForeignFile>,
}

/// A refused entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForeignFile {
    /// Name of the entry in the place.
    pub uri: String,
    /// Reason for the refusal, as shown to people.
    pub detail: String,
}

/// A refused file that cannot be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnmovedFile {
    /// Address of the file, which stays in place.
    pub uri: ObjectUri,
    /// Reason for which it was refused.
    pub reason: QuarantineReason,
    /// Explanation of the refusal and its remedy, as shown to people.
    pub remedy: String,
    /// Reason why it cannot be moved, as shown to people.
    pub detail: String,
}

/// A file that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantinedFile {
    /// Address at which the file was found.
    pub uri: ObjectUri,
    /// Reason for which it was refused.
    pub reason: QuarantineReason,
    /// Size of the file, in bytes.
    pub size_bytes: u64,
    /// Explanation of the defect and its remedy, as shown to people.
    pub detail: String,
    /// Address of the file in the quarantine, if it was moved.
    pub moved_to: Option<ObjectUri>,
}

impl Builder {
    /// Lists a place and tracks files that the store does not know. Can be repeated at any time.
    pub async fn backfill(&self, place: &Location) -> Result<Backfilled, BuilderError> {
        self.check_place(place)?;
        let mut done = Backfilled::default();
        // Hashes suffice: a collision only hides until the next listing that one of two files is gone.
        let hasher = RandomState::new();
        let mut listed: HashSet<u64> = HashSet::new();
        let waiting = self.waiting(place).await?;
        // Start of the listing, as of which all listed objects are tracked: events that arrive meanwhile are newer.
        let begun_at = self.now();
        let mut chunks = self.objects.list(place).await?.chunks(CHUNK);
        while let Some(chunk) = chunks.next().await {
            self.check_stop()?;
            let mut objects: Vec<Object> = Vec::with_capacity(chunk.len());
            for found in chunk {
                match found {
                    Ok(object) if self.is_unfinished(&object) => done.unfinished += 1,
                    Ok(object) => objects.push(object),
                    Err(error) if error.is_foreign() => {
                        let detail = error.source.to_string();
                        done.foreign.push(ForeignFile { uri: error.object, detail });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            listed.extend(objects.iter().map(|object| hasher.hash_one(&object.uri)));
            done.listed += objects.len() as u64;
            let objects = self.leave_out_forgotten(objects, &mut done).await?;
            self.track_listed(&objects, place, begun_at, &mut done).await?;
        }
        // An unlisted file may have been written after the listing passed its name: each is looked up before it is
        // marked.
        let unlisted = waiting.into_iter().filter(|file| !listed.contains(&hasher.hash_one(&file.uri)));
        done.missing = self.mark_gone(&unlisted.collect::<Vec<_>>()).await?;
        Ok(done)
    }

    /// Refuses a place that is not within the input, or that overlaps with a place written to.
    pub(crate) fn check_place(&self, place: &Location) -> Result<(), BuilderError> {
        self.check_apart(place)?;
        match self.settings.input.covers(place) {
            true => Ok(()),
            false => Err(BuilderError::NoPlace(place.to_string())),
        }
    }

    /// Looks up every pending file of a place, marks those that are gone, and returns them. Can be repeated at any
    /// time, since files are marked one by one.
    pub async fn mark_all_gone(&self, place: &Location) -> Result<Vec<ObjectUri>, BuilderError> {
        self.mark_gone(&self.files_in(FileState::Pending, place).await?).await
    }

    async fn mark_gone(&self, files: &[TrackedFile]) -> Result<Vec<ObjectUri>, BuilderError> {
        let mut gone = Vec::new();
        for some in files.chunks(HEADS_AT_ONCE) {
            self.check_stop()?;
            for marked in join_all(some.iter().map(|file| self.mark_if_gone(file))).await {
                gone.extend(marked?);
            }
        }
        Ok(gone)
    }

    async fn mark_if_gone(&self, file: &TrackedFile) -> Result<Option<ObjectUri>, BuilderError> {
        if !self.is_gone(&file.uri).await {
            return Ok(None);
        }
        let gone = FoundFile {
            uri: file.uri.clone(),
            date: file.date,
            size_bytes: 0,
            etag: String::new(),
            version_id: None,
            sequencer: None,
            quarantine: None,
        };
        let is_marked = self.store.mark_missing(&gone, self.now()).await?;
        if is_marked {
            tell_gone(&file.uri);
        }
        Ok(is_marked.then_some(gone.uri))
    }

    /// Tells whether an object certainly does not exist. False if the lookup fails.
    pub async fn is_gone(&self, uri: &ObjectUri) -> bool {
        matches!(self.objects.head(uri).await, Err(e) if e.is_not_found())
    }

    /// Removes unknown objects that are older than the store's memory from the list.
    async fn leave_out_forgotten(
        &self,
        objects: Vec<Object>,
        done: &mut Backfilled,
    ) -> Result<Vec<Object>, BuilderError> {
        let forgets = self.store.forgets_after_days().is_some();
        let Some(max_age) = self.settings.max_age.filter(|_| forgets) else { return Ok(objects) };
        let oldest = self.now() - max_age;
        let (old, mut objects): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| object.modified_at < oldest);
        let uris: Vec<ObjectUri> = old.iter().map(|object| object.uri.clone()).collect();
        for (object, known) in old.into_iter().zip(self.store.files(&uris).await?) {
            match known {
                Some(_) => objects.push(object),
                None => done.too_old.push(object.uri),
            }
        }
        Ok(objects)
    }

    /// Pending and failed files of a place: a listing must contain them.
    async fn waiting(&self, place: &Location) -> Result<Vec<TrackedFile>, BuilderError> {
        let mut waiting = self.files_in(FileState::Pending, place).await?;
        waiting.extend(self.files_in(FileState::Failed, place).await?);
        Ok(waiting)
    }

    /// The files of a place in one state.
    pub(crate) async fn files_in(&self, state: FileState, place: &Location) -> Result<Vec<TrackedFile>, BuilderError> {
        let mut filter = FileFilter { state: Some(state), limit: CHUNK, ..FileFilter::default() };
        let mut found = Vec::new();
        loop {
            let page = self.store.list_files(&filter).await?;
            found.extend(page.items.into_iter().filter(|file| place.key_of(&file.uri).is_some()));
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => return Ok(found),
            }
        }
    }

    async fn track_listed(
        &self,
        objects: &[Object],
        place: &Location,
        begun_at: DateTime<Utc>,
        done: &mut Backfilled,
    ) -> Result<(), BuilderError> {
        let found: Vec<FoundFile> = objects.iter().map(|object| self.judge_object(object, place)).collect();
        let tracked = self.store.track(&found, self.settings.overwrites, begun_at).await?;
        for (file, outcome) in found.iter().zip(tracked.outcomes) {
            match outcome {
                Tracked::New | Tracked::Updated => done.pending += 1,
                Tracked::Known | Tracked::Outdated => done.known += 1,
                Tracked::Overwritten => {
                    tell_overwritten(&file.uri);
                    done.overwritten.push(file.uri.clone());
                }
                Tracked::Quarantined(reason) => {
                    let moved_to = self.put_listed_away(file, place, reason, done).await?;
                    let (uri, size_bytes) = (file.uri.clone(), file.size_bytes);
                    let detail = self.settings.rules.explain(reason, size_bytes);
                    done.quarantined.push(QuarantinedFile { uri, reason, size_bytes, detail, moved_to });
                }
                // An earlier move of the file to the quarantine may have been interrupted.
                Tracked::StillQuarantined(reason) => {
                    done.known += 1;
                    self.put_listed_away(file, place, reason, done).await?;
                }
            }
        }
        Ok(())
    }

    /// Moves a refused file to the quarantine. A file that cannot be moved stays in place, marked, without delaying
    /// others; the next listing tries again.
    async fn put_listed_away(
        &self,
        file: &FoundFile,
        place: &Location,
        reason: QuarantineReason,
        done: &mut Backfilled,
    ) -> Result<Option<ObjectUri>, BuilderError> {
        match self.put_away(file, &key_in(place, &file.uri), reason).await? {
            PutAway::Moved(to) => Ok(Some(to)),
            PutAway::Marked => Ok(None),
            PutAway::Unmoved(detail) => {
                let remedy = self.settings.rules.explain(reason, file.size_bytes);
                done.unmoved.push(UnmovedFile { uri: file.uri.clone(), reason, remedy, detail });
                Ok(None)
            }
        }
    }
}

impl Backfilled {
    /// Counts of the listing, in the form used for events.
    pub fn arrived(&self) -> Arrived {
        let mut quarantined = BTreeMap::new();
        for file in &self.quarantined {
            *quarantined.entry(file.reason).or_default() += 1;
        }
        Arrived {
            pending: self.pending,
            known: self.known,
            quarantined,
            overwritten: self.overwritten.len() as u64,
            removed: self.missing.len() as u64,
            foreign: self.foreign.len() as u64,
            unmoved: self.unmoved.len() as u64,
            unfinished: self.unfinished,
            ..Arrived::default()
        }
    }
}
