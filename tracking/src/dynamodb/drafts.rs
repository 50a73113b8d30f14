//! Drafts: manifests that are being made, under the lock of their date.
//!
//! Each write checks the lock's token in the same transaction, so that a holder whose lock has expired changes nothing
//! more. State after a crash:
//!
//! | crash | what remains |
//! |---|---|
//! | before the effect of `begin_draft` | only an unused batch index |
//! | while files are claimed | a draft that holds some of its files: `drafts` shows it, and its document names them |
//! | before the effect of `finish_draft` | a draft that holds its files |
//! | after it | a queued run, with its document |

use super::DynamoStore;
use super::change::{is_in, manifested};
use super::deltas::Deltas;
use super::expression::Expression;
use super::item::{Item, text, time};
use super::key;
use super::locks::lost;
use super::request::{Query, Transacted, incomplete, put_action, update_action};
use super::run_item::{StoredRun, new_item};
use super::runs::readable;
use super::tables::STATUS_INDEX;
use crate::{Draft, DraftStore, Lock, QueuedManifest, Run, TrackedFile, TrackingResult};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, ManifestId, ObjectUri, RunState};
use std::collections::HashSet;

/// Limit of the files that are claimed at once: a transaction has 100 actions, one of which checks the lock.
const CLAIM_CHUNK: usize = 99;

impl DynamoStore {
    pub(super) async fn put_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()> {
        let queued = QueuedManifest { manifest: draft.manifest.clone(), uri: draft.uri.clone() };
        let item = new_item(&queued, RunState::Draft, 0, draft.begun_at)?;
        let actions = [
            self.lock_check(lock)?,
            put_action(&self.names.runs, item, &Expression::new().when_absent("manifest_id"))?,
            self.document_action(&draft.manifest).await?,
        ];
        match self.transact(&actions).await? {
            Transacted::Refused(failed) if failed.first() == Some(&true) => Err(lost(lock)),
            // The draft exists already.
            Transacted::Refused(_) | Transacted::Done => Ok(()),
        }
    }

    pub(super) async fn claim_files(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>> {
        let mut known = HashSet::new();
        let waits = |file: &&TrackedFile| matches!(file.state, FileState::Pending | FileState::Failed);
        let wanted: Vec<&TrackedFile> = seen.iter().filter(waits).filter(|file| known.insert(&file.uri)).collect();
        if wanted.is_empty() {
            self.check_lock(lock).await?;
        }
        let mut held = self.claim_counted(id, &wanted, lock, now).await?;
        // Files that changed meanwhile, perhaps by an earlier request whose answer was lost.
        let others: Vec<ObjectUri> =
            seen.iter().filter(|file| !held.contains(&file.uri)).map(|file| file.uri.clone()).collect();
        let others = self.tracked_files(&others).await?;
        held.extend(
            others.into_iter().flatten().filter(|file| is_in(file, id, &[FileState::Manifested])).map(|file| file.uri),
        );
        let mut listed = HashSet::new();
        let uris = seen.iter().map(|file| &file.uri);
        Ok(uris.filter(|uri| held.contains(*uri) && listed.insert(*uri)).cloned().collect())
    }

    /// Claims files in chunks, and counts those of the chunks before an error, too. Returns the claimed files.
    async fn claim_counted(
        &self,
        id: &ManifestId,
        wanted: &[&TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<HashSet<ObjectUri>> {
        let mut held: HashSet<ObjectUri> = HashSet::new();
        let mut deltas = Deltas::default();
        let mut end = Ok(());
        for chunk in wanted.chunks(CLAIM_CHUNK) {
            let (claimed, chunk_end) = self.claim_chunk(id, chunk, lock, now).await;
            claimed.iter().for_each(|file| deltas.change(Some(file), &manifested(file, id, now).after));
            held.extend(claimed.into_iter().map(|file| file.uri.clone()));
            end = chunk_end;
            if end.is_err() {
                break;
            }
        }
        let applied = self.apply(deltas).await;
        end?;
        applied?;
        Ok(held)
    }

    /// Claims files in one transaction, which is atomic. If it is refused, the changed files are left out, and it is
    /// repeated with the rest.
    async fn claim_chunk<'a>(
        &self,
        id: &ManifestId,
        chunk: &[&'a TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> (Vec<&'a TrackedFile>, TrackingResult<()>) {
        let mut wanted = chunk.to_vec();
        while !wanted.is_empty() {
            let transacted = match self.claim_actions(id, &wanted, lock, now) {
                Ok(actions) => self.transact(&actions).await,
                Err(error) => Err(error),
            };
            let failed = match transacted {
                Ok(Transacted::Done) => return (wanted, Ok(())),
                Ok(Transacted::Refused(failed)) => failed,
                Err(error) => return (Vec::new(), Err(error)),
            };
            if failed.first() == Some(&true) {
                return (Vec::new(), Err(lost(lock)));
            }
            let has_changed = |position: usize| failed.get(position + 1) == Some(&true);
            wanted = wanted.into_iter().enumerate().filter(|(i, _)| !has_changed(*i)).map(|(_, file)| file).collect();
        }
        (Vec::new(), Ok(()))
    }

    fn claim_actions(
        &self,
        id: &ManifestId,
        wanted: &[&TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<TransactWriteItem>> {
        let claim = |file: &&TrackedFile| {
            update_action(&self.names.tracking, key::file(&file.uri), &manifested(file, id, now).expression(file))
        };
        std::iter::once(self.lock_check(lock)).chain(wanted.iter().map(claim)).collect()
    }

    pub(super) async fn queue_draft(
        &self,
        queued: &QueuedManifest,
        priority: i32,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let manifest = &queued.manifest;
        let is_draft = |stored: &StoredRun| stored.run.state == RunState::Draft;
        let Some(before) = self.stored_run(&manifest.id).await?.filter(is_draft) else { return Ok(()) };
        let run = Run {
            state: RunState::Queued,
            priority,
            files: manifest.files.len() as u64,
            bytes: manifest.total_bytes(),
            created_at: now,
            updated_at: now,
            ..before.run.clone()
        };
        let actions = [
            self.document_action(manifest).await?,
            update_action(&self.names.runs, key::run(&manifest.id), &before.with(run).expression(&before)?)?,
        ];
        // A refusal means that another process has finished the draft.
        self.transact(&actions).await.map(drop)
    }

    pub(super) async fn forget_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()> {
        if self.get(&self.names.runs, key::run(id)).await?.is_none() {
            return self.check_lock(lock).await;
        }
        let uris: Vec<ObjectUri> = self.known_manifest(id).await?.files.into_iter().map(|file| file.uri).collect();
        let files = self.tracked_files(&uris).await?;
        if files.iter().flatten().any(|file| file.manifest_id.as_deref() == Some(id.as_str())) {
            return self.check_lock(lock).await;
        }
        let still_draft = Expression::new().when("status", "=", text(RunState::Draft.as_str()));
        let actions = [
            self.lock_check(lock)?,
            self.delete_action(key::run(id), &still_draft)?,
            self.delete_action(key::document(id), &Expression::new())?,
        ];
        match self.transact(&actions).await? {
            Transacted::Refused(failed) if failed.first() == Some(&true) => Err(lost(lock)),
            Transacted::Refused(_) | Transacted::Done => Ok(()),
        }
    }

    fn delete_action(&self, key: Item, condition: &Expression) -> TrackingResult<TransactWriteItem> {
        let delete = Delete::builder()
            .table_name(&self.names.runs)
            .set_key(Some(key))
            .set_condition_expression(condition.condition_text())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values());
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(incomplete)?).build())
    }

    pub(super) async fn drafts_before(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>> {
        let expression = Expression::new().when("status", "=", text(RunState::Draft.as_str())).when(
            "created_at",
            "<",
            time(begun_before),
        );
        let query = Query { index: Some(STATUS_INDEX), expression, ..Query::default() };
        // The index is eventually consistent: some runs may be queued by now.
        let runs = self.reread(self.query(&self.names.runs, &query).await?).await?;
        let runs: Vec<_> = runs.into_iter().filter(|run| run.state == RunState::Draft).collect();
        let ids: Vec<ManifestId> = runs.iter().map(|run| run.manifest_id.clone()).collect();
        let mut drafts = Vec::with_capacity(runs.len());
        for (run, manifest) in runs.into_iter().zip(self.manifests(&ids).await?) {
            let draft = |manifest| Draft { manifest, uri: run.manifest_uri, begun_at: run.created_at };
            drafts.extend(readable(manifest)?.map(draft));
        }
        Ok(drafts)
    }
}

#[async_trait]
impl DraftStore for DynamoStore {
    async fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64> {
        self.new_batch_index(date).await
    }

    async fn begin_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()> {
        self.put_draft(draft, lock).await
    }

    async fn claim(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>> {
        self.claim_files(id, seen, lock, now).await
    }

    async fn finish_draft(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<()> {
        self.queue_draft(queued, 0, now).await
    }

    async fn drop_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()> {
        self.forget_draft(id, lock).await
    }

    async fn drafts(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>> {
        self.drafts_before(begun_before).await
    }
}
