//! The builder: judges and tracks arriving files, and quarantines those that are refused.

use crate::batches::Batches;
use crate::error::BuilderError;
use crate::settings::Settings;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use millwork_manifest::{Arrival, DatePrefix, FileState, Manifest, ObjectUri, QuarantineReason, is_unfinished_name};
use millwork_queue::{EventKind, ObjectEvent};
use millwork_storage::{Location, Object, Objects, is_hidden};
use millwork_tracking::{FoundFile, Sequencer, Tracked, TrackingStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Limit of concurrent object lookups: a batch of messages has ten, and servers answer many in parallel.
pub(crate) const HEADS_AT_ONCE: usize = 16;

/// Source of the current time.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Callback that receives a manifest.
pub(crate) type Drafting = Arc<dyn Fn(&Manifest) + Send + Sync>;

/// Builder of manifests from files. Any number of builders can work on one store, in any number of processes.
#[derive(Clone)]
pub struct Builder {
    pub(crate) store: Arc<dyn TrackingStore>,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) settings: Arc<Settings>,
    /// Name of this process as a holder of locks, as shown to people.
    pub(crate) holder: String,
    pub(crate) clock: Clock,
    /// Callback for each manifest that is about to be made.
    pub(crate) drafting: Option<Drafting>,
    /// Stop signal, checked between chunks of a listing, between dates and between manifests.
    pub(crate) stop: CancellationToken,
    /// Batches in which files arrived, recorded only if traces are on.
    pub(crate) batches: Arc<Batches>,
}

/// Result of moving a refused file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PutAway {
    /// The file is at this address now.
    Moved(ObjectUri),
    /// The file stays in place and is only marked: there is no quarantine, the file is reached through a link, or it is
    /// gone.
    Marked,
    /// The file stays in place, since it cannot be moved for this reason.
    Unmoved(String),
}

/// Result for arriving files: counts, and dates for which a manifest is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Files that are pending now.
    pub pending: u64,
    /// Files that were known already, unchanged.
    pub known: u64,
    /// Files refused now, by reason.
    pub quarantined: BTreeMap<QuarantineReason, u64>,
    /// Converted files that have other content now.
    pub overwritten: u64,
    /// Pending files that are gone.
    pub removed: u64,
    /// Events that are older than the known state, or concern hidden objects.
    pub ignored: u64,
    /// Objects outside the input, which were not accessed.
    pub foreign: u64,
    /// Refused files that could not be moved, and stay in place.
    pub unmoved: u64,
    /// Files whose names mark unfinished content, left alone for a while.
    pub unfinished: u64,
    /// Dates whose pending files fill a manifest.
    pub due: Vec<DatePrefix>,
}

impl Arrived {
    /// Adds the counts of other files.
    pub fn merge(&mut self, other: Self) {
        self.pending += other.pending;
        self.known += other.known;
        self.overwritten += other.overwritten;
        self.removed += other.removed;
        self.ignored += other.ignored;
        self.foreign += other.foreign;
        self.unmoved += other.unmoved;
        self.unfinished += other.unfinished;
        for (reason, n) in other.quarantined {
            *self.quarantined.entry(reason).or_default() += n;
        }
        self.due.extend(other.due);
        self.due.sort();
        self.due.dedup();
    }
}

impl Builder {
    /// Creates a builder for a store and its objects.
    pub fn new(store: Arc<dyn TrackingStore>, objects: Arc<dyn Objects>, settings: Settings, holder: String) -> Self {
        Self {
            store,
            objects,
            settings: Arc::new(settings),
            holder,
            clock: Arc::new(Utc::now),
            drafting: None,
            batches: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Sets a stop token: when cancelled, the builder finishes its current step, such as one manifest, and starts
    /// nothing more.
    #[must_use]
    pub fn with_stop(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Fails if the process is about to stop. Unfinished work remains as pending files or a draft, as after a crash.
    pub(crate) fn check_stop(&self) -> Result<(), BuilderError> {
        if self.stop.is_cancelled() { Err(BuilderError::Stopped) } else { Ok(()) }
    }

    /// Sets a callback for each manifest about to be made. Its list of files is provisional: some may still be left
    /// out.
    #[must_use]
    pub fn with_drafting(self, drafting: impl Fn(&Manifest) + Send + Sync + 'static) -> Self {
        Self { drafting: Some(Arc::new(drafting)), ..self }
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Refuses an input that overlaps with a place written to.
    pub fn check_apart(&self, input: &Location) -> Result<(), BuilderError> {
        self.settings.check_apart(input)
    }

    /// Checks each input place as [`Self::check_apart`] does.
    pub fn check_input(&self) -> Result<(), BuilderError> {
        self.settings.input.locations().try_for_each(|place| self.check_apart(&place))
    }

    /// Processes events of objects. The result is durable on return, so that the messages can be deleted.
    ///
    /// Size, entity tag and version are not taken from the event but looked up. Objects outside the input are counted,
    /// and not accessed.
    pub async fn arrive(&self, events: &[ObjectEvent]) -> Result<Arrived, BuilderError> {
        let mut arrived = Arrived::default();
        let events = self.of_input(events, &mut arrived);
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for some in events.chunks(HEADS_AT_ONCE) {
            let heads = join_all(some.iter().map(|event| self.objects.head(&event.uri))).await;
            for (event, head) in some.iter().zip(heads) {
                match (head, event.kind) {
                    // Events of one object are ordered later, by their sequencers.
                    (Ok(object), EventKind::Created) if self.is_unfinished(&object) => arrived.unfinished += 1,
                    (Ok(object), EventKind::Created) => found.push(self.judge_event(event, &object)),
                    // The event may concern a version only, or the object may have been written again.
                    (Ok(_), EventKind::Removed) => arrived.ignored += 1,
                    (Err(error), _) if error.is_not_found() => gone.push(*event),
                    (Err(error), _) => return Err(error.into()),
                }
            }
        }
        arrived.merge(self.track_events(&found).await?);
        for event in gone {
            let is_removed = self.take_away(event).await? || self.take_away_again(event).await?;
            match is_removed {
                true => {
                    arrived.removed += 1;
                    tell_gone(&event.uri);
                }
                false => arrived.ignored += 1,
            }
        }
        Ok(arrived)
    }

    /// Events of objects in the input, without hidden ones. The others are counted.
    fn of_input<'a>(&self, events: &'a [ObjectEvent], arrived: &mut Arrived) -> Vec<&'a ObjectEvent> {
        let (events, foreign): (Vec<_>, Vec<_>) = events.iter().partition(|event| self.is_input(&event.uri));
        arrived.foreign = foreign.len() as u64;
        // Hidden names are other programs' private files, as in listings.
        let is_private = |uri: &ObjectUri| is_hidden(&self.settings.input.key_of(uri).unwrap_or_else(|| uri.key()));
        let (hidden, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| is_private(&event.uri));
        arrived.ignored = hidden.len() as u64;
        events
    }

    /// Tracks files found through events, in the order of the events' sequencers. A file that seems older than the
    /// known state is looked up again, and tracked as it is then, so that a wrong sequencer cannot hide later events.
    async fn track_events(&self, found: &[FoundFile]) -> Result<Arrived, BuilderError> {
        let (mut arrived, outdated) = self.track(found).await?;
        let mut again = Vec::new();
        for file in outdated {
            match self.objects.head(&file.uri).await {
                Ok(object) if self.is_unfinished(&object) => {}
                Ok(object) => {
                    let judged = self.judge(&file.uri, &file.uri.key(), object.size_bytes, object.etag);
                    again.push(FoundFile { version_id: object.version_id, ..judged });
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (mut more, _) = self.track(&again).await?;
        arrived.ignored -= again.len() as u64;
        // Unchanged files count as ignored here, since an old event brought no news.
        more.ignored += std::mem::take(&mut more.known);
        arrived.merge(more);
        Ok(arrived)
    }

    /// Marks an object as gone regardless of the event's sequencer, if a new lookup confirms that it does not exist.
    async fn take_away_again(&self, event: &ObjectEvent) -> Result<bool, BuilderError> {
        match self.objects.head(&event.uri).await {
            Err(error) if error.is_not_found() => {
                self.take_away(&ObjectEvent { sequencer: None, ..event.clone() }).await
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    }

    /// Marks the object of an event as gone. Returns whether that changed the store.
    async fn take_away(&self, event: &ObjectEvent) -> Result<bool, BuilderError> {
        let file = self.judge(&event.uri, &event.uri.key(), 0, String::new());
        let gone = FoundFile { sequencer: event.sequencer.as_deref().map(Sequencer::new), ..file };
        if self.store.mark_missing(&gone, self.now()).await? {
            return Ok(true);
        }
        // A process may have moved the file to the quarantine and died before it recorded that.
        let Some(known) = self.store.files(std::slice::from_ref(&event.uri)).await?.pop().flatten() else {
            return Ok(false);
        };
        let is_noted = known.state != FileState::Quarantined || known.quarantine_uri.is_some();
        let reason = QuarantineReason::ALL.into_iter().find(|reason| known.reason.as_deref() == Some(reason.as_str()));
        if let (false, Some(reason)) = (is_noted, reason.filter(|reason| *reason != QuarantineReason::MissingObject)) {
            let moved = FoundFile { date: known.date, size_bytes: known.size_bytes, etag: known.etag, ..gone };
            self.put_away(&moved, &event.uri.key(), reason).await?;
        }
        Ok(false)
    }

    /// Tells whether an object is in one of the input places.
    pub(crate) fn is_input(&self, uri: &ObjectUri) -> bool {
        self.settings.input.contains(uri)
    }

    /// Tells whether an object has a name that marks unfinished content, and was last written within
    /// [`Settings::unfinished_age`]. Older ones count as abandoned.
    pub(crate) fn is_unfinished(&self, object: &Object) -> bool {
        is_unfinished_name(&object.key) && self.now() - object.modified_at < self.settings.unfinished_age
    }

    /// The place written to that contains an object, if any: events for it should not have been sent.
    pub(crate) fn own_place_of(&self, uri: &ObjectUri) -> Option<&'static str> {
        self.settings.own_places().find(|(_, place)| place.key_of(uri).is_some()).map(|(what, _)| what)
    }

    fn judge_event(&self, event: &ObjectEvent, object: &Object) -> FoundFile {
        FoundFile {
            version_id: object.version_id.clone(),
            sequencer: event.sequencer.as_deref().map(Sequencer::new),
            ..self.judge(&event.uri, &event.uri.key(), object.size_bytes, object.etag.clone())
        }
    }

    /// Judges an object that was found in a place by the rules.
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

    /// Tracks files, and moves refused ones to the quarantine. Also returns the files whose events are older than the
    /// known state.
    async fn track<'a>(&self, found: &'a [FoundFile]) -> Result<(Arrived, Vec<&'a FoundFile>), BuilderError> {
        let (mut arrived, mut outdated) = (Arrived::default(), Vec::new());
        if found.is_empty() {
            return Ok((arrived, outdated));
        }
        // Recorded before the store knows the files, since another task may cut a manifest as soon as it does.
        self.note_batch(found);
        let tracked = self.store.track(found, self.settings.overwrites, self.now()).await?;
        for (file, outcome) in found.iter().zip(&tracked.outcomes) {
            match *outcome {
                Tracked::New | Tracked::Updated => arrived.pending += 1,
                Tracked::Known => arrived.known += 1,
                Tracked::Overwritten => {
                    arrived.overwritten += 1;
                    tell_overwritten(&file.uri);
                }
                Tracked::Outdated => {
                    arrived.ignored += 1;
                    outdated.push(file);
                }
                Tracked::Quarantined(reason) => {
                    *arrived.quarantined.entry(reason).or_default() += 1;
                    let detail = self.settings.rules.explain(reason, file.size_bytes);
                    tracing::info!(file = %file.uri, %reason, detail, "a file is refused");
                    arrived.unmoved += self.put_arrived_away(file, reason).await?;
                }
                // An earlier move of the file to the quarantine may have been interrupted.
                Tracked::StillQuarantined(reason) => {
                    arrived.known += 1;
                    self.put_arrived_away(file, reason).await?;
                }
            }
        }
        let is_due = |backlog: &millwork_tracking::Backlog| {
            self.settings.caps.are_reached(backlog.pending_files, backlog.pending_bytes)
        };
        arrived.due = tracked.backlogs.iter().filter(|(_, backlog)| is_due(backlog)).map(|(date, _)| *date).collect();
        Ok((arrived, outdated))
    }

    /// Remembers the batch in which these files arrived, if there is one and traces are on.
    fn note_batch(&self, found: &[FoundFile]) {
        let batch = millwork_process::traceparent(&tracing::Span::current());
        if let Some(batch) = batch.and_then(|batch| batch.parse().ok()) {
            self.batches.note(found.iter().map(|file| &file.uri), &batch);
        }
    }

    /// Moves a refused file to the quarantine. Returns the number of files that could not be moved.
    async fn put_arrived_away(&self, file: &FoundFile, reason: QuarantineReason) -> Result<u64, BuilderError> {
        match self.put_away(file, &file.uri.key(), reason).await? {
            PutAway::Unmoved(error) => {
                tracing::warn!(file = %file.uri, %reason, error, "a refused file cannot be moved: it is marked, and stays where it is");
                Ok(1)
            }
            PutAway::Moved(_) | PutAway::Marked => Ok(0),
        }
    }
}

/// Logs a converted file whose object has other content now.
pub(crate) fn tell_overwritten(uri: &ObjectUri) {
    tracing::info!(file = %uri, "a converted file has other content now (--overwrites says what becomes of it)");
}

/// Logs a pending file that is gone.
pub(crate) fn tell_gone(uri: &ObjectUri) {
    tracing::info!(file = %uri, "a file is gone before it was converted");
}

/// Key by which a file is judged and quarantined: the whole key in a bucket, the relative path in a directory.
pub(crate) fn key_in(place: &Location, uri: &ObjectUri) -> String {
    place.local_path().and_then(|_| place.key_of(uri)).unwrap_or_else(|| uri.key())
}
