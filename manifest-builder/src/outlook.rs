//! Dry runs: previews of a round's effects, without any writes.

use crate::backfill::CHUNK;
use crate::builder::Builder;
use crate::cut::pending_file;
use crate::error::BuilderError;
use crate::redrive::RefusedFile;
use chrono::Duration;
use futures::StreamExt;
use millwork_manifest::{DatePrefix, Flush, PendingFile, cut};
use millwork_storage::{Location, Object};
use serde::Serialize;
use std::collections::BTreeSet;

/// Limit of the pending files of a date that a preview reads: 100,000, about 50 MB.
const MAX_LOOKED_AT: usize = 100_000;

/// Changes that listing a place would make.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BackfillOutlook {
    /// Files listed.
    pub listed: u64,
    /// Unknown files, which would become pending.
    pub pending: u64,
    /// Known files whose objects have other content now.
    pub changed: u64,
    /// Files that are known already, unchanged.
    pub known: u64,
    /// Unknown files that would be refused.
    pub quarantined: Vec<RefusedFile>,
    /// Unknown files that are older than the store's memory: they would be left alone.
    pub too_old: u64,
    /// Files of any place that are pending already: those that are due go into manifests, and all of them with
    /// `--flush`.
    pub waiting: u64,
}

/// Changes that a sweep would make.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SweepOutlook {
    /// Unfinished manifests that it would finish or drop, by id.
    pub unfinished: Vec<String>,
    /// Dates for which it would make manifests.
    pub due: Vec<DatePrefix>,
}

/// Changes that cutting dates would make.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CutOutlook {
    /// Dates with pending files, and the manifests that would be made of them.
    pub dates: Vec<DateToCut>,
}

/// Pending files of a date.
#[derive(Clone, Debug, Serialize)]
pub struct DateToCut {
    /// Date of the files.
    pub date: DatePrefix,
    /// Number of pending files, of which at most 100,000 are read.
    pub files: usize,
    /// Total size, in bytes.
    pub bytes: u64,
    /// Manifests that would be made of them.
    pub manifests: usize,
}

impl CutOutlook {
    /// Tells whether the cut would change anything.
    pub fn has_changes(&self) -> bool {
        !self.dates.is_empty()
    }
}

impl BackfillOutlook {
    /// Tells whether the round would change anything. Pending files count as a change, since the round may find them
    /// due.
    pub fn has_changes(&self) -> bool {
        self.pending + self.changed + self.waiting > 0 || !self.quarantined.is_empty()
    }
}

impl SweepOutlook {
    /// Tells whether the round would change anything.
    pub fn has_changes(&self) -> bool {
        !self.unfinished.is_empty() || !self.due.is_empty()
    }
}

impl Builder {
    /// Lists a place, and reports what [`Self::backfill`] would do with it.
    pub async fn look_at(&self, place: &Location) -> Result<BackfillOutlook, BuilderError> {
        self.check_place(place)?;
        let mut found = BackfillOutlook::default();
        let mut chunks = self.objects.list(place).await?.chunks(CHUNK);
        while let Some(chunk) = chunks.next().await {
            // Refused entries are left out; a listing does not change them.
            let objects: Vec<Object> =
                chunk.into_iter().filter_map(Result::ok).filter(|object| !self.is_unfinished(object)).collect();
            found.listed += objects.len() as u64;
            let uris: Vec<_> = objects.iter().map(|object| object.uri.clone()).collect();
            for (object, known) in objects.iter().zip(self.store.files(&uris).await?) {
                let judged = self.judge_object(object, place);
                match (known, judged.quarantine) {
                    (Some(file), _) if file.etag == judged.etag => found.known += 1,
                    (Some(_), _) => found.changed += 1,
                    (None, _) if self.settings.max_age.is_some_and(|age| object.modified_at < self.now() - age) => {
                        found.too_old += 1;
                    }
                    (None, Some(reason)) => {
                        let detail = self.settings.rules.explain(reason, judged.size_bytes);
                        found.quarantined.push(RefusedFile { uri: judged.uri, reason, detail });
                    }
                    (None, None) => found.pending += 1,
                }
            }
        }
        found.waiting = self.store.backlogs().await?.iter().map(|(_, backlog)| backlog.pending_files).sum();
        Ok(found)
    }

    /// Reports what [`Self::cut`] would make of all pending files.
    pub async fn look_at_dates(&self, dates: &BTreeSet<DatePrefix>) -> Result<CutOutlook, BuilderError> {
        let mut found = CutOutlook::default();
        for date in dates.iter().copied() {
            let pending = self.store.pending(date, MAX_LOOKED_AT).await?;
            if pending.is_empty() {
                continue;
            }
            let waiting: Vec<PendingFile> = pending.iter().map(pending_file).collect();
            let bytes = waiting.iter().map(|file| file.size_bytes).sum();
            let manifests = cut(&waiting, &self.settings.caps, Flush::Now).len();
            found.dates.push(DateToCut { date, files: waiting.len(), bytes, manifests });
        }
        Ok(found)
    }

    /// Reports what [`Self::sweep`] would do.
    pub async fn look_around(&self) -> Result<SweepOutlook, BuilderError> {
        let drafts = self.store.drafts(self.now() + Duration::seconds(1)).await?;
        let unfinished = drafts.into_iter().map(|draft| draft.manifest.id.to_string()).collect();
        Ok(SweepOutlook { unfinished, due: self.due().await?.into_iter().collect() })
    }
}
