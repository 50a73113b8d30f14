//! Cutting of manifests: under the lock of their date, from a draft and claims to a document and a queued run.

use crate::builder::Builder;
use crate::error::BuilderError;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, Flush, Manifest, ManifestFile, ManifestId, ObjectUri, PendingFile, cut};
use millwork_tracking::{Draft, Lock, QueuedManifest, TrackedFile};
use std::collections::{HashMap, HashSet};

/// Result of cutting a date.
#[derive(Clone, Debug)]
pub enum Cut {
    /// Another process has the lock of the date.
    Busy,
    /// Manifests that were made.
    Made(Vec<QueuedManifest>),
}

/// Name of the lock of a date.
pub(crate) fn lock_name(date: DatePrefix) -> String {
    format!("LOCK#{date}")
}

impl Builder {
    /// Makes manifests of the pending files of a date: all full ones, and one of the rest if `flush` says so.
    ///
    /// Reads at most one manifest's worth of pending files beyond those that go into manifests.
    pub async fn cut(&self, date: DatePrefix, flush: Flush) -> Result<Cut, BuilderError> {
        let Some(lock) = self.lock(date).await? else { return Ok(Cut::Busy) };
        let made = self.cut_pending(date, flush, None, lock.clone()).await;
        self.unlock(&lock).await;
        made.map(Cut::Made)
    }

    /// Makes a manifest of each of these failed files of a date, so that a faulty file cannot fail others again.
    pub async fn cut_alone(&self, date: DatePrefix, files: &[TrackedFile]) -> Result<Cut, BuilderError> {
        let Some(mut lock) = self.lock(date).await? else { return Ok(Cut::Busy) };
        let mut made = Vec::new();
        let mut failed = None;
        for file in files {
            if self.stop.is_cancelled() {
                break;
            }
            match self.make(date, vec![file.clone()], &mut lock).await {
                Ok(manifest) => made.extend(manifest),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        self.unlock(&lock).await;
        failed.map_or(Ok(Cut::Made(made)), Err)
    }

    pub(crate) async fn lock(&self, date: DatePrefix) -> Result<Option<Lock>, BuilderError> {
        Ok(self.store.lock(&lock_name(date), &self.holder, self.settings.lock_ttl, self.now()).await?)
    }

    pub(crate) async fn unlock(&self, lock: &Lock) {
        if let Err(error) = self.store.unlock(lock).await {
            tracing::warn!(lock = lock.name, %error, "cannot let go of a lock: it ends by itself");
        }
    }

    /// Cuts manifests under the lock of the date; with `until`, only of files that arrived up to then.
    pub(crate) async fn cut_pending(
        &self,
        date: DatePrefix,
        flush: Flush,
        until: Option<DateTime<Utc>>,
        mut lock: Lock,
    ) -> Result<Vec<QueuedManifest>, BuilderError> {
        let window = self.settings.caps.window();
        let mut made = Vec::new();
        loop {
            let mut listed = self.store.pending(date, window).await?;
            let mut is_all = listed.len() < window;
            if let Some(until) = until {
                // Pending files are listed in order of arrival, so that all files after the first late one are late,
                // too.
                let before = listed.len();
                listed.retain(|file| file.arrived_at <= until);
                is_all |= listed.len() < before;
            }
            let pending = self.as_they_are(&listed).await?;
            let flush = if is_all { flush } else { Flush::Never };
            let sizes: Vec<PendingFile> = pending.iter().map(pending_file).collect();
            let batches = cut(&sizes, &self.settings.caps, flush);
            let mut by_uri: HashMap<&ObjectUri, &TrackedFile> = pending.iter().map(|file| (&file.uri, file)).collect();
            let made_before = made.len();
            for batch in &batches {
                // At least one manifest is made before stopping, since a batch of messages waits for that.
                if !made.is_empty() && self.stop.is_cancelled() {
                    return Ok(made);
                }
                let files = batch.iter().filter_map(|file| by_uri.remove(&file.uri)).cloned().collect();
                made.extend(self.make(date, files, &mut lock).await?);
            }
            // Without progress, the listing lags behind the store, and another round would show the same.
            if is_all || made.len() == made_before {
                return Ok(made);
            }
        }
    }

    /// Current records of those listed files that are still pending.
    async fn as_they_are(&self, listed: &[TrackedFile]) -> Result<Vec<TrackedFile>, BuilderError> {
        let uris: Vec<ObjectUri> = listed.iter().map(|file| file.uri.clone()).collect();
        let files = self.store.files(&uris).await?;
        let is_pending = |file: &TrackedFile| file.state == millwork_manifest::FileState::Pending;
        Ok(files.into_iter().flatten().filter(is_pending).collect())
    }

    /// Makes one manifest; `None` if all its files changed meanwhile.
    async fn make(
        &self,
        date: DatePrefix,
        seen: Vec<TrackedFile>,
        lock: &mut Lock,
    ) -> Result<Option<QueuedManifest>, BuilderError> {
        let ttl = self.settings.lock_ttl;
        if lock.expires_at - self.now() < ttl / 2 {
            *lock = self.store.renew(lock, ttl, self.now()).await?;
        }
        let index = self.store.next_batch_index(date).await?;
        let now = self.now();
        let path = Manifest::path(date, index, now);
        let stem = path.rsplit('/').next().unwrap_or(&path).trim_end_matches(".json").to_owned();
        let id: ManifestId = format!("{date}-{stem}").parse()?;
        let files = seen.iter().map(manifest_file).collect();
        let uri = self.settings.manifests.object(&path)?.to_string();
        let traceparents = self.batches.of(seen.iter().map(|file| &file.uri));
        let manifest = Manifest { id: id.clone(), date, created_at: now, files, traceparents };
        if let Some(drafting) = &self.drafting {
            drafting(&manifest);
        }
        let draft = Draft { manifest, uri, begun_at: now };
        self.store.begin_draft(&draft, lock).await?;
        let held: HashSet<ObjectUri> = self.store.claim(&id, &seen, lock, self.now()).await?.into_iter().collect();
        for file in seen.iter().filter(|file| !held.contains(&file.uri)) {
            tracing::info!(file = %file.uri, manifest = %id, "a file changed while a manifest was made, and is left out of it");
        }
        self.finish(draft, &held, lock).await
    }

    /// Writes the document of a draft with the files it holds, and queues its run. Idempotent: a repetition writes the
    /// same.
    pub(crate) async fn finish(
        &self,
        mut draft: Draft,
        held: &HashSet<ObjectUri>,
        lock: &Lock,
    ) -> Result<Option<QueuedManifest>, BuilderError> {
        draft.manifest.files.retain(|file| held.contains(&file.uri));
        if draft.manifest.files.is_empty() {
            self.store.drop_draft(&draft.manifest.id, lock).await?;
            return Ok(None);
        }
        let uri: ObjectUri = draft.uri.parse()?;
        let document = draft.manifest.to_json();
        if !self.objects.write_once(&uri, document.as_bytes()).await?
            && self.objects.read(&uri).await? != document.as_bytes()
        {
            return Err(BuilderError::Foreign(draft.uri));
        }
        let queued = QueuedManifest { manifest: draft.manifest, uri: draft.uri };
        self.store.finish_draft(&queued, self.now()).await?;
        let (id, files) = (&queued.manifest.id, queued.manifest.files.len());
        let bytes: u64 = queued.manifest.files.iter().filter_map(|file| file.size_bytes).sum();
        tracing::info!(manifest = %id, files, bytes, uri = queued.uri, "manifest made");
        Ok(Some(queued))
    }
}

pub(crate) fn pending_file(file: &TrackedFile) -> PendingFile {
    PendingFile {
        uri: file.uri.clone(),
        size_bytes: file.size_bytes,
        entry_bytes: manifest_file(file).entry_bytes(),
        arrived_at: file.arrived_at,
    }
}

fn manifest_file(file: &TrackedFile) -> ManifestFile {
    // A file named by an external manifest may be known by its name only.
    let is_known = !file.etag.is_empty();
    ManifestFile {
        uri: file.uri.clone(),
        size_bytes: is_known.then_some(file.size_bytes),
        etag: is_known.then(|| file.etag.clone()),
        version_id: file.version_id.clone(),
    }
}
