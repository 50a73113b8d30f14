//! Redrive of quarantined and failed files: the result for a file is determined first, then carried out.
//!
//! A quarantined file is moved back to its origin, then tracked. After a crash in between, the event of the move, or
//! the next listing, tracks it. An unchanged failed file becomes pending by a single write to the store; one with other
//! content is tracked anew. Both operations are idempotent.

use chrono::{DateTime, Utc};
use millwork_manifest::{Arrival, FileRules, FileState, InvalidUri, ObjectUri, QuarantineReason};
use millwork_storage::{Location, Object, Objects, StorageError};
use millwork_tracking::{FileStore, FoundFile, Overwrites, TrackedFile, TrackingError};

/// Reason why a file could not be taken back. The file is left unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The lookup or move of the object failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// A recorded address of the file is invalid.
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    /// The file is in a state from which it cannot be taken back.
    #[error("`{uri}` is {state}: only quarantined and failed files are taken back")]
    NotRefused {
        /// URI of the file.
        uri: ObjectUri,
        /// State of the file.
        state: FileState,
    },
    /// The file has changed meanwhile.
    #[error("`{0}` has changed since it was looked at: look again")]
    Changed(ObjectUri),
}

/// Result for a file, predicted or achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The file is pending.
    Pending,
    /// The present rules refuse the file. It stays in place.
    Refused(QuarantineReason, String),
    /// The object of the file is gone.
    Missing,
}

/// A file with the predicted result.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Predicted result under the present rules.
    pub verdict: Verdict,
    /// The object, in the quarantine or its origin; `None` if it is gone.
    object: Option<Object>,
}

/// Redrive under given rules.
#[derive(Clone, Copy)]
pub struct Redrive<'a> {
    /// Store with the records of the files.
    pub store: &'a dyn FileStore,
    /// Storage of the files.
    pub objects: &'a dyn Objects,
    /// Rules for accepting files.
    pub rules: &'a FileRules,
    /// Place that the files came from, relative to which names of local files are judged; `None` to judge whole paths.
    pub place: Option<&'a Location>,
    /// Current time.
    pub now: DateTime<Utc>,
}

impl Redrive<'_> {
    /// Predicts the result for a file, without changes.
    pub async fn look(&self, file: &TrackedFile) -> Result<Looked, RedriveError> {
        let noted = match file.state {
            FileState::Quarantined => file.quarantine_uri.as_deref().map(str::parse).transpose()?,
            FileState::Failed => None,
            state => return Err(RedriveError::NotRefused { uri: file.uri.clone(), state }),
        };
        // An earlier attempt may have moved the file back without tracking it.
        let places: [Option<&ObjectUri>; 2] = [noted.as_ref(), Some(&file.uri)];
        for uri in places.into_iter().flatten() {
            match self.objects.head(uri).await {
                Ok(object) => {
                    let verdict = match self.judge(file, &object) {
                        FoundFile { quarantine: Some(reason), size_bytes, .. } => {
                            Verdict::Refused(reason, self.rules.explain(reason, size_bytes))
                        }
                        _ => Verdict::Pending,
                    };
                    return Ok(Looked { verdict, object: Some(object) });
                }
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Looked { verdict: Verdict::Missing, object: None })
    }

    /// Takes a file back, if the present rules accept it.
    pub async fn take_back(&self, file: &TrackedFile) -> Result<Verdict, RedriveError> {
        let Looked { verdict, object } = self.look(file).await?;
        let (Verdict::Pending, Some(object)) = (&verdict, object) else { return Ok(verdict) };
        if file.state == FileState::Failed && (file.etag == object.etag || file.etag.is_empty()) {
            return match self.store.take_back(file, self.now).await? {
                true => Ok(verdict),
                false => Err(RedriveError::Changed(file.uri.clone())),
            };
        }
        if object.uri != file.uri {
            self.objects.move_object(&object.uri, &file.uri, &object.etag).await?;
        }
        let there = self.objects.head(&file.uri).await?;
        self.store.track(&[self.judge(file, &there)], Overwrites::Record, self.now).await?;
        Ok(verdict)
    }

    /// Judges the object under the file's original name.
    fn judge(&self, file: &TrackedFile, object: &Object) -> FoundFile {
        let below = self.place.filter(|place| place.local_path().is_some()).and_then(|place| place.key_of(&file.uri));
        let key = below.unwrap_or_else(|| file.uri.key());
        let today = self.now.date_naive().into();
        let (date, quarantine) = match self.rules.judge(&key, object.size_bytes, today) {
            Arrival::Accepted(date) => (Some(date), None),
            Arrival::Quarantined(reason, date) => (date, Some(reason)),
        };
        FoundFile {
            uri: file.uri.clone(),
            date,
            size_bytes: object.size_bytes,
            etag: object.etag.clone(),
            version_id: object.version_id.clone(),
            sequencer: None,
            quarantine,
        }
    }
}

#[cfg(test)]
mod tests;
