//! Quarantined and failed files are taken back: what becomes of one is looked at first, then done.
//!
//! A quarantined file is moved back to where it came from, then tracked. If the process dies in between, the move has made an event,
//! and a listing shows the file: either tracks it. A failed file that is as it was becomes pending by one write of the store; one
//! that has other content by now is tracked as that. So each can be done again, and ends as if it had been done once.

use chrono::{DateTime, Utc};
use millwork_manifest::{Arrival, FileRules, FileState, InvalidUri, ObjectUri, QuarantineReason};
use millwork_storage::{Location, Object, Objects, StorageError};
use millwork_tracking::{FileStore, FoundFile, Overwrites, TrackedFile, TrackingError};

/// Reason why a file could not be taken back. It stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// Looking at it or moving it failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// A place that is noted for it cannot be one.
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    /// A file in a state from which none is taken back.
    #[error("`{uri}` is {state}: only quarantined and failed files are taken back")]
    NotRefused {
        /// The file.
        uri: ObjectUri,
        /// State of the file.
        state: FileState,
    },
    /// A file that somebody has changed meanwhile.
    #[error("`{0}` has changed since it was looked at: look again")]
    Changed(ObjectUri),
}

/// Verdict on a file: what would become of it, or became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The file waits for a manifest.
    Pending,
    /// The rules refuse it, as they are now. It stays where it is.
    Refused(QuarantineReason, String),
    /// The object of the file is gone.
    Missing,
}

/// A file and what would become of it.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Verdict on the file, as the rules are now.
    pub verdict: Verdict,
    /// The object as it stands, in the quarantine or where it came from; none, if it is gone.
    object: Option<Object>,
}

/// Takes files back by these rules.
#[derive(Clone, Copy)]
pub struct Redrive<'a> {
    /// Store that remembers the files.
    pub store: &'a dyn FileStore,
    /// Storage of the files.
    pub objects: &'a dyn Objects,
    /// Rules that the files are held to.
    pub rules: &'a FileRules,
    /// The place they came from: the names of local files below it are judged. None judges by the whole path.
    pub place: Option<&'a Location>,
    /// Time that is taken as now.
    pub now: DateTime<Utc>,
}

impl Redrive<'_> {
    /// Looks what would become of a file. Nothing is changed.
    pub async fn look(&self, file: &TrackedFile) -> Result<Looked, RedriveError> {
        let noted = match file.state {
            FileState::Quarantined => file.quarantine_uri.as_deref().map(str::parse).transpose()?,
            FileState::Failed => None,
            state => return Err(RedriveError::NotRefused { uri: file.uri.clone(), state }),
        };
        // The file may have been moved back before, and not been tracked since.
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

    /// Takes a file back, if the rules accept it as it is now.
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

    /// The file as it was found, by the name it came under.
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
