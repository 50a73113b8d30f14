//! Manifests that somebody else made.
//!
//! First every file is put in the manifest, then its document and its run are written, both at once. A process that dies
//! in between leaves files that are in a manifest without a run; the same call, made again, finds them its own, and goes
//! on. A file that is taken refuses the whole: the files that were put in are put back, each for itself, so that a
//! process that dies in the middle leaves some of them in the manifest.

use super::DynamoStore;
use super::backlog::Deltas;
use super::change::{Change, is_in, manifested, new_file};
use super::expression::Expression;
use super::files::Changed;
use super::request::{Transacted, all_until_error, put_action};
use super::run_item::new_item;
use crate::{FoundFile, QueuedManifest, RunState, TrackedFile, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, Manifest, ManifestFile, ManifestId, ObjectUri};

/// Why a file cannot be put in a manifest.
type Claimed = Result<(), Box<TrackingError>>;

impl DynamoStore {
    pub(super) async fn submit_manifest(
        &self,
        queued: &QueuedManifest,
        priority: i32,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
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

    /// Puts every file in the manifest, or none.
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
            let changed = |file: &Changed<Claimed>| {
                file.before.as_ref().is_none_or(|before| before.version != file.after.version)
            };
            let claimed: Vec<_> = claimed.into_iter().filter(changed).collect();
            self.put_back(&claimed, now).await?;
            return Err(*taken);
        }
        end?;
        applied.map(drop)
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
        _ if is_in(file, id, &[FileState::Manifested]) => (Ok(()), None),
        state => {
            let holder = file.manifest_id.as_ref().map(|id| format!(" in manifest `{id}`")).unwrap_or_default();
            let (uri, manifest_id) = (file.uri.to_string(), id.to_string());
            (Err(Box::new(TrackingError::Taken { uri, state, holder, manifest_id })), None)
        }
    }
}
