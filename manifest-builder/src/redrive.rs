//! Quarantined files are put back, once the rules accept them.
//!
//! A file is moved back to where it came from, then tracked. If the process dies in between, the move has made an event,
//! and a listing shows the file: either tracks it.

use crate::builder::{Builder, BuilderError};
use millwork_manifest::{FileState, ObjectUri, QuarantineReason};
use millwork_storage::Location;
use millwork_tracking::{AuditEntry, TrackedFile};
use serde::Serialize;

/// What a redrive came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Redriven {
    /// Files that are back, and pending; with a dry run, those that would be.
    pub pending: Vec<ObjectUri>,
    /// Files that the rules still refuse, and why. They stay where they are.
    pub refused: Vec<(ObjectUri, QuarantineReason)>,
    /// Files whose objects are gone.
    pub missing: Vec<ObjectUri>,
    /// Files that could not be put back, and why.
    pub failed: Vec<(ObjectUri, String)>,
}

impl Builder {
    /// Puts back the quarantined files that came from a place, or those refused for one reason.
    pub async fn redrive(
        &self,
        place: &Location,
        reason: Option<&str>,
        dry_run: bool,
    ) -> Result<Redriven, BuilderError> {
        if !self.settings.input.covers(place) {
            return Err(BuilderError::NoPlace(place.to_string()));
        }
        let mut done = Redriven::default();
        for file in self.files_in(FileState::Quarantined, place).await? {
            if reason.is_some_and(|reason| file.reason.as_deref() != Some(reason)) {
                continue;
            }
            if let Err(error) = self.redrive_one(&file, place, dry_run, &mut done).await {
                done.failed.push((file.uri, error.to_string()));
            }
        }
        if !dry_run && !done.pending.is_empty() {
            let detail = format!("{} files of {place} put back", done.pending.len());
            let actor = self.holder.clone();
            let entry = AuditEntry::done(self.now(), actor, "quarantine redrive", detail);
            self.store.audit(&entry).await?;
        }
        Ok(done)
    }

    async fn redrive_one(
        &self,
        file: &TrackedFile,
        place: &Location,
        dry_run: bool,
        done: &mut Redriven,
    ) -> Result<(), BuilderError> {
        let mut stands_at: ObjectUri = match &file.quarantine_uri {
            Some(uri) => uri.parse()?,
            None => file.uri.clone(),
        };
        let object = match self.objects.head(&stands_at).await {
            Ok(object) => object,
            // It may have been moved back before, and not been tracked since.
            Err(e) if e.is_not_found() => match self.objects.head(&file.uri).await {
                Ok(back) => {
                    stands_at = file.uri.clone();
                    back
                }
                Err(e) if e.is_not_found() => {
                    done.missing.push(file.uri.clone());
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            },
            Err(e) => return Err(e.into()),
        };
        let original = millwork_storage::Object { uri: file.uri.clone(), ..object };
        if let Some(reason) = self.judge_object(&original, place).quarantine {
            done.refused.push((file.uri.clone(), reason));
            return Ok(());
        }
        if !dry_run {
            if stands_at != file.uri {
                self.objects.move_object(&stands_at, &file.uri, &original.etag).await?;
            }
            let there = self.objects.head(&file.uri).await?;
            self.track(&[self.judge_object(&there, place)]).await?;
        }
        done.pending.push(file.uri.clone());
        Ok(())
    }
}
