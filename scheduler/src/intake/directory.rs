//! Manifests in a directory or bucket folder that is listed at intervals.
//!
//! A file is read when it is new or has changed, and not again while it is unchanged. A complete document is submitted
//! at once. An incomplete one may still be being written, and is refused only if it has not changed between two
//! listings.

use super::{Intake, Source};
use futures::StreamExt;
use millwork_queue::{BadReason, Verdict};
use millwork_storage::{Location, Object, StorageResult};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Intervals between listings of a directory, and of a bucket, where each takes a request per thousand objects.
const LOCAL_PAUSE: Duration = Duration::from_secs(1);
const BUCKET_PAUSE: Duration = Duration::from_secs(10);
/// Longest interval, used after failures and where listings take long.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// Least pause after a listing, as a multiple of its duration, so that listings take at most a tenth of a core.
const PAUSE_PER_LOOK: u32 = 9;
/// Limit of the files that are remembered: 100,000, in about 30 MB. Others are read again at each listing.
const MAX_REMEMBERED: usize = 100_000;

/// A directory that is watched.
pub(super) struct Watch {
    intake: Intake,
    place: Location,
    seen: HashMap<String, Seen>,
    /// Entries that the last listing refused.
    refused: HashSet<String>,
    /// Limit of the files that are remembered.
    pub(super) capacity: usize,
    is_full: bool,
}

/// A file as of the last listing.
#[derive(Clone, Debug)]
struct Seen {
    etag: String,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The file was submitted or refused: no further action.
    Settled,
    /// The file may be incomplete, or could not be read or submitted.
    Open,
}

impl Watch {
    pub(super) fn new(intake: Intake, place: Location) -> Self {
        Self { intake, place, seen: HashMap::new(), refused: HashSet::new(), capacity: MAX_REMEMBERED, is_full: false }
    }

    /// Lists the directory at intervals, until `stop`.
    pub(super) async fn work(mut self, stop: CancellationToken) {
        let first = if self.place.local_path().is_some() { LOCAL_PAUSE } else { BUCKET_PAUSE };
        let mut pause = first;
        while !stop.is_cancelled() {
            let started = Instant::now();
            match self.look(&stop).await {
                Ok(true) => pause = first,
                Ok(false) => pause = (pause * 2).min(LAST_PAUSE),
                Err(error) => {
                    tracing::warn!(directory = %self.place, %error, "cannot look for manifests; trying again");
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
            let pause = pause.max((started.elapsed() * PAUSE_PER_LOOK).min(LAST_PAUSE));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Submits new and changed files. Returns false if some of them failed and none succeeded.
    pub(super) async fn look(&mut self, stop: &CancellationToken) -> StorageResult<bool> {
        let listed = self.list().await?;
        let mut before = std::mem::take(&mut self.seen);
        let (mut done, mut failed) = (0, 0);
        let was_full = self.is_full;
        // Files that are gone are forgotten.
        for object in listed.into_iter().filter(|object| object.key.ends_with(".json")) {
            if stop.is_cancelled() {
                break;
            }
            let known = before.remove(&object.key).filter(|seen| seen.etag == object.etag);
            let fate = match &known {
                Some(Seen { fate: Fate::Settled, .. }) => Fate::Settled,
                known => match self.take(&object, known.is_some()).await {
                    Some(fate) => {
                        done += 1;
                        fate
                    }
                    None => {
                        failed += 1;
                        Fate::Open
                    }
                },
            };
            if self.seen.len() < self.capacity {
                self.seen.insert(object.key, Seen { etag: object.etag, fate });
            }
        }
        self.is_full = self.seen.len() >= self.capacity;
        if self.is_full && !was_full {
            let advice = "manifests beyond that are read again at each look: move away those that have run";
            tracing::warn!(directory = %self.place, manifests = self.capacity, "{advice}");
        }
        Ok(failed == 0 || done > 0)
    }

    /// Lists the directory. A refused entry is logged the first time it is found.
    async fn list(&mut self) -> StorageResult<Vec<Object>> {
        let mut found = self.intake.objects.list(&self.place).await?;
        let (mut objects, mut refused) = (Vec::new(), HashSet::new());
        while let Some(entry) = found.next().await {
            match entry {
                Ok(object) => objects.push(object),
                Err(error) if error.is_foreign() => {
                    if !self.refused.contains(&error.object) && error.object.ends_with(".json") {
                        let reason = BadReason::ForeignObject;
                        tracing::error!(file = error.object, reason = reason.as_str(), detail = %error, "a manifest is refused");
                        Source::Directory.count_refused(reason);
                    }
                    if refused.len() < self.capacity {
                        refused.insert(error.object);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.refused = refused;
        Ok(objects)
    }

    /// Reads and submits a file; `None` if that is not possible now. `is_known` tells whether the file is unchanged
    /// since the last listing.
    async fn take(&self, object: &Object, is_known: bool) -> Option<Fate> {
        let is_whole = is_known || self.is_full || self.place.local_path().is_none();
        let uri = &object.uri;
        match self.intake.take(uri).await {
            Verdict::Done => Source::Directory.count_received(),
            Verdict::Bad(bad) if bad.reason == BadReason::MissingObject => return Some(Fate::Open),
            Verdict::Bad(bad) if bad.reason == BadReason::NotAManifest && !is_whole => return Some(Fate::Open),
            Verdict::Bad(bad) => {
                let reason = bad.reason.as_str();
                tracing::error!(file = %uri, reason, detail = bad.detail, "a manifest is refused until its file changes");
                Source::Directory.count_received();
                Source::Directory.count_refused(bad.reason);
            }
            Verdict::Retry(error) => {
                // Logged only once.
                if !is_known {
                    tracing::warn!(file = %uri, error, "a manifest was not taken in; it is tried again");
                }
                return None;
            }
        }
        Some(Fate::Settled)
    }
}
