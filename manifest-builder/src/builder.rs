//! The builder: arriving files are judged, tracked, and quarantined where they must be.

use crate::settings::Settings;
use chrono::{DateTime, Utc};
use millwork_manifest::{Arrival, DatePrefix, InvalidUri, Manifest, ObjectUri, QuarantineReason};
use millwork_queue::{EventKind, ObjectEvent};
use millwork_storage::{Location, Object, Objects, StorageError, is_hidden};
use millwork_tracking::{FoundFile, Sequencer, Tracked, TrackingError, TrackingStore};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

/// How many files of one name the quarantine keeps.
const MAX_NAMESAKES: u32 = 1000;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Is told of a manifest.
pub(crate) type Drafting = Arc<dyn Fn(&Manifest) + Send + Sync>;

/// Turns files into manifests. Any number of them work on one store, in any number of processes.
#[derive(Clone)]
pub struct Builder {
    pub(crate) store: Arc<dyn TrackingStore>,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) settings: Arc<Settings>,
    /// Who takes the locks, for people.
    pub(crate) holder: String,
    pub(crate) clock: Clock,
    /// Told of each manifest that is going to be made.
    pub(crate) drafting: Option<Drafting>,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// Listing, moving or writing failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// The places would feed each other.
    #[error("{inner} `{place}` is inside the input `{input}`: what is written there would be read again")]
    Loop {
        /// Which place.
        inner: &'static str,
        /// Where it is.
        place: String,
        /// The input.
        input: String,
    },
    /// A manifest that cannot be named.
    #[error(transparent)]
    Id(#[from] millwork_manifest::InvalidManifestId),
    /// An object that cannot be named.
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    /// Somebody else makes manifests of a date, and goes on.
    #[error("somebody else is making manifests of {0}: try again when that is done")]
    Busy(DatePrefix),
    /// Somebody else's object where a manifest was to be written.
    #[error("`{0}` is there already, and is not this manifest: move it away; the sweep then goes on")]
    Foreign(String),
}

/// What became of arriving files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Files that are pending now.
    pub pending: u64,
    /// Files that were known as they are.
    pub known: u64,
    /// Files refused now, by reason.
    pub quarantined: BTreeMap<QuarantineReason, u64>,
    /// Converted files that have other content now.
    pub overwritten: u64,
    /// Files that are gone.
    pub removed: u64,
    /// Events older than what is known, or of hidden objects.
    pub ignored: u64,
    /// The dates whose pending files fill a manifest.
    pub due: Vec<DatePrefix>,
}

impl Arrived {
    /// Adds what became of more files.
    pub fn merge(&mut self, other: Self) {
        self.pending += other.pending;
        self.known += other.known;
        self.overwritten += other.overwritten;
        self.removed += other.removed;
        self.ignored += other.ignored;
        for (reason, n) in other.quarantined {
            *self.quarantined.entry(reason).or_default() += n;
        }
        self.due.extend(other.due);
        self.due.sort();
        self.due.dedup();
    }
}

impl Builder {
    /// A builder on a store and the objects.
    pub fn new(store: Arc<dyn TrackingStore>, objects: Arc<dyn Objects>, settings: Settings, holder: String) -> Self {
        Self { store, objects, settings: Arc::new(settings), holder, clock: Arc::new(Utc::now), drafting: None }
    }

    /// With one who is told of each manifest that is going to be made, as far as can be known: some of its files may yet be left out.
    #[must_use]
    pub fn with_drafting(self, drafting: impl Fn(&Manifest) + Send + Sync + 'static) -> Self {
        Self { drafting: Some(Arc::new(drafting)), ..self }
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Refuses places that would feed each other.
    pub fn check_loops(&self, input: &Location) -> Result<(), BuilderError> {
        match self.settings.own_places().find(|(_, place)| input.contains(place)) {
            None => Ok(()),
            Some((inner, place)) => {
                Err(BuilderError::Loop { inner, place: place.to_string(), input: input.to_string() })
            }
        }
    }

    /// Takes in what events say. When this returns, it is durable: their messages can be deleted.
    pub async fn arrive(&self, events: &[ObjectEvent]) -> Result<Arrived, BuilderError> {
        let mut arrived = Arrived::default();
        // As in listings: names that start with a dot are other programs' private files.
        let (hidden, events): (Vec<_>, Vec<_>) = events.iter().partition(|event| is_hidden(&event.uri.key()));
        arrived.ignored = hidden.len() as u64;
        // Which of an object's events is the last, their sequencers say.
        let (created, removed): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| event.kind == EventKind::Created);
        let found: Vec<FoundFile> = created.into_iter().map(|event| self.judge_event(event)).collect();
        arrived.merge(self.track(&found).await?);
        for event in removed {
            let is_gone = match self.objects.head(&event.uri).await {
                // What was removed may have been a version, or be there again.
                Ok(_) => false,
                Err(e) if e.is_not_found() => true,
                Err(e) => return Err(e.into()),
            };
            if is_gone && self.store.mark_missing(&self.judge_event(event), self.now()).await? {
                arrived.removed += 1;
            } else {
                arrived.ignored += 1;
            }
        }
        Ok(arrived)
    }

    /// Which place that is written to an object is in, if it is in one: its event must not have come.
    pub(crate) fn own_place_of(&self, uri: &ObjectUri) -> Option<&'static str> {
        self.settings.own_places().find(|(_, place)| place.key_of(uri).is_some()).map(|(what, _)| what)
    }

    fn judge_event(&self, event: &ObjectEvent) -> FoundFile {
        let size_bytes = event.size_bytes.unwrap_or(0);
        FoundFile {
            version_id: event.version_id.clone(),
            sequencer: event.sequencer.as_deref().map(Sequencer::new),
            ..self.judge(&event.uri, &event.uri.key(), size_bytes, event.etag.clone().unwrap_or_default())
        }
    }

    /// Judges an object that was found in a place.
    pub(crate) fn judge_object(&self, object: &Object, place: &Location) -> FoundFile {
        self.judge(&object.uri, &key_in(place, &object.uri), object.size_bytes, object.etag.clone())
    }

    fn judge(&self, uri: &ObjectUri, key: &str, size_bytes: u64, etag: String) -> FoundFile {
        let today = self.now().date_naive().into();
        let (date, quarantine) = match self.settings.rules.judge(key, size_bytes, today) {
            Arrival::Accepted(date) => (Some(date), None),
            Arrival::Quarantined(reason, date) => (date, Some(reason)),
        };
        FoundFile { uri: uri.clone(), date, size_bytes, etag, version_id: None, sequencer: None, quarantine }
    }

    /// Tracks files, and moves away those that are refused.
    pub(crate) async fn track(&self, found: &[FoundFile]) -> Result<Arrived, BuilderError> {
        let mut arrived = Arrived::default();
        if found.is_empty() {
            return Ok(arrived);
        }
        let tracked = self.store.track(found, self.settings.overwrites, self.now()).await?;
        for (file, outcome) in found.iter().zip(&tracked.outcomes) {
            match *outcome {
                Tracked::New | Tracked::Updated => arrived.pending += 1,
                Tracked::Known | Tracked::StillFailed => arrived.known += 1,
                Tracked::Overwritten => arrived.overwritten += 1,
                Tracked::Outdated => arrived.ignored += 1,
                Tracked::Quarantined(reason) => {
                    *arrived.quarantined.entry(reason).or_default() += 1;
                    self.quarantine(file, &file.uri.key(), reason).await?;
                }
                // Its move may have been cut short.
                Tracked::StillQuarantined(reason) => {
                    arrived.known += 1;
                    self.quarantine(file, &file.uri.key(), reason).await?;
                }
            }
        }
        let is_due = |backlog: &millwork_tracking::Backlog| {
            self.settings.caps.are_reached(backlog.pending_files, backlog.pending_bytes)
        };
        arrived.due = tracked.backlogs.iter().filter(|(_, backlog)| is_due(backlog)).map(|(date, _)| *date).collect();
        Ok(arrived)
    }

    /// Moves a refused file away, if there is a place for it and it is still there. Returns where to.
    pub(crate) async fn quarantine(
        &self,
        file: &FoundFile,
        key: &str,
        reason: QuarantineReason,
    ) -> Result<Option<ObjectUri>, BuilderError> {
        let Some(root) = &self.settings.quarantine else { return Ok(None) };
        let folder = file.date.map_or_else(|| "no-date".to_owned(), |date| date.to_string());
        let key = format!("{folder}/{}/{key}", reason.as_str());
        for n in 0..MAX_NAMESAKES {
            // A file of that name may be there already, from another bucket or an earlier time: a number keeps both.
            let numbered = if n == 0 { key.clone() } else { format!("{key}.{n}") };
            let to = root.object(&numbered)?;
            match self.objects.move_object(&file.uri, &to, &file.etag).await {
                Ok(()) => {
                    self.store.mark_moved(&file.uri, to.as_str(), self.now()).await?;
                    return Ok(Some(to));
                }
                Err(e) if e.is_not_found() => return self.find_moved(file, &to).await,
                Err(e) if e.source.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e.into()),
            }
        }
        let full = std::io::Error::other(format!("{MAX_NAMESAKES} files of that name are there"));
        Err(StorageError { operation: "move", object: file.uri.to_string(), source: full }.into())
    }
}

impl Builder {
    /// Makes up for the note of a move whose maker died. A file that is in neither place was deleted, or written anew, of
    /// which another event tells.
    async fn find_moved(&self, file: &FoundFile, to: &ObjectUri) -> Result<Option<ObjectUri>, BuilderError> {
        match self.objects.head(to).await {
            Ok(there) if there.size_bytes == file.size_bytes => {
                self.store.mark_moved(&file.uri, to.as_str(), self.now()).await?;
                Ok(Some(to.clone()))
            }
            Ok(_) => Ok(None),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// The key by which a file is judged and quarantined: the whole key in a bucket, the path below a directory.
pub(crate) fn key_in(place: &Location, uri: &ObjectUri) -> String {
    place.local_path().and_then(|_| place.key_of(uri)).unwrap_or_else(|| uri.key())
}
