//! Commit records, and runs with what they produced.
//!
//! A single transaction decides which attempt commits: it writes the commit record, of which there is at most one per
//! generation, and moves the run to committing, on the condition that the run is unchanged: in progress with this
//! attempt, and without a requested cancellation. Text that is too long for the record is written before it, in items
//! of its own. The files need not be checked, since they belong to the run while it is in progress. Only those of a
//! forced run can have become pending, and are checked just before.
//!
//! A single transaction also gives up a record: it marks the record, and queues the run as its next generation, on the
//! condition that the run is unchanged: committing, with this attempt.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{Item, get, number, parsed, text, time};
use super::key;
use super::request::{Transacted, pause, put_action, update_action};
use super::run_item::{StoredRun, bounded};
use super::runs::TRIES;
use crate::{Commit, CommitStore, Replaced, Run, TrackingError, TrackingResult, life};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, ManifestId, RunState};

/// Attribute of a record that was given up.
const SUPERSEDED: &str = "superseded";

impl DynamoStore {
    pub(super) async fn put_commit(
        &self,
        commit: &Commit,
        result: &serde_json::Value,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        let id = &commit.manifest_id;
        // The SDK repeats a request whose answer was lost: the mark shows whether an earlier one succeeded.
        let mark = uuid::Uuid::new_v4().to_string();
        let mut record: Option<Item> = None;
        for retry in 0..TRIES {
            let Some(before) = self.stored_run(id).await? else { return Ok(false) };
            let Some(mut after) = life::commit(&before.run, commit.attempt, now)? else {
                let winner = self.commit_item(id, before.run.generation).await?;
                return Ok(winner.is_some_and(|winner| get(&winner, "mark") == Some(mark.as_str())));
            };
            life::summarise(&mut after, result);
            let (replaced, committed) = (before.run.summary, after.clone());
            if life::has_output(&before.run) {
                self.take_files(&before.run, now).await?;
            }
            let item = match record.take() {
                Some(item) => item,
                None => self.record_item(commit, after.generation, result, &mark, now).await?,
            };
            record = Some(item.clone());
            let actions = [
                put_action(&self.names.runs, item, &Expression::new().when_absent("manifest_id"))?,
                update_action(&self.names.runs, key::run(id), &before.committed_as(after).expression(&before)?)?,
            ];
            match self.transact(&actions).await? {
                Transacted::Done => {
                    if let Some(replaced) = replaced {
                        self.replace_totals(&replaced, &committed).await;
                    }
                    return Ok(true);
                }
                // Decided again by the present state of the run.
                Transacted::Refused(_) => pause(retry).await,
            }
        }
        Err(self.restless_run(id))
    }

    async fn record_item(
        &self,
        commit: &Commit,
        generation: u32,
        result: &serde_json::Value,
        mark: &str,
        now: DateTime<Utc>,
    ) -> TrackingResult<Item> {
        let id = &commit.manifest_id;
        let mut item = key::commit(id, generation);
        item.extend([
            ("attempt".to_owned(), number(commit.attempt)),
            ("record".to_owned(), self.store_text(id, &commit.record).await?),
            ("result".to_owned(), self.store_text(id, &result.to_string()).await?),
            ("created_at".to_owned(), time(now)),
            ("mark".to_owned(), text(mark)),
        ]);
        Ok(item)
    }

    pub(super) async fn open_commit(&self, id: &ManifestId) -> TrackingResult<Option<Commit>> {
        match self.stored_run(id).await?.filter(|stored| stored.run.state == RunState::Committing) {
            Some(stored) => self.newest_commit(&stored).await,
            None => Ok(None),
        }
    }

    pub(super) async fn supersede_commit(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let failure = bounded(failure);
        for retry in 0..TRIES {
            let before = self.known_run(id).await?;
            let other = self.shown_before(&before.run).await?;
            let after = life::supersede(&before.run, attempt, other.is_some(), &failure, not_before, now)?;
            let Some(after) = after else { return Ok(()) };
            let given_up =
                Expression::new().set(SUPERSEDED, AttributeValue::Bool(true)).when("attempt", "=", number(attempt));
            let actions = [
                update_action(&self.names.runs, key::commit(id, before.run.generation), &given_up)?,
                update_action(&self.names.runs, key::run(id), &before.shown(other, after).expression(&before)?)?,
            ];
            match self.transact(&actions).await? {
                Transacted::Done => return Ok(()),
                Transacted::Refused(_) => pause(retry).await,
            }
        }
        Err(self.restless_run(id))
    }

    /// Newest generation before the run's own whose output was not given up.
    async fn shown_before(&self, run: &Run) -> TrackingResult<Option<u32>> {
        for generation in (1..run.generation).rev() {
            let item = self.commit_item(&run.manifest_id, generation).await?;
            if item.is_some_and(|item| !item.contains_key(SUPERSEDED)) {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    pub(super) async fn commits_to_replace(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>> {
        let stored = self.stored_run(id).await?.filter(|stored| life::replaces(&stored.run));
        let Some(stored) = stored else { return Ok(Vec::new()) };
        let mut replaced = Vec::new();
        // Ends at the newest published generation: older ones are removed. A generation that failed has no record.
        for generation in (1..stored.run.generation).rev() {
            let Some(item) = self.commit_item(id, generation).await? else { continue };
            let is_superseded = item.contains_key(SUPERSEDED);
            replaced.push(Replaced { commit: self.commit_of(id, &item).await?, is_superseded });
            if !is_superseded {
                break;
            }
        }
        Ok(replaced)
    }

    async fn newest_commit(&self, stored: &StoredRun) -> TrackingResult<Option<Commit>> {
        let id = &stored.run.manifest_id;
        let Some(generation) = stored.committed else { return Ok(None) };
        let item = self.commit_item(id, generation).await?;
        let item = item.ok_or_else(|| TrackingError::Corrupt { what: "commit record", value: id.to_string() })?;
        self.commit_of(id, &item).await.map(Some)
    }

    async fn commit_of(&self, id: &ManifestId, item: &Item) -> TrackingResult<Commit> {
        let attempt = parsed(item, "attempt", "attempt")?;
        Ok(Commit { manifest_id: id.clone(), attempt, record: self.text_of(id, item, "record").await? })
    }

    async fn commit_item(&self, id: &ManifestId, generation: u32) -> TrackingResult<Option<Item>> {
        self.get(&self.names.runs, key::commit(id, generation)).await
    }

    async fn text_of(&self, id: &ManifestId, item: &Item, name: &'static str) -> TrackingResult<String> {
        let missing = AttributeValue::Null(true);
        self.load_text(id, item.get(name).unwrap_or(&missing)).await
    }

    /// A run with its result.
    pub(super) async fn whole_run(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        let Some(stored) = self.stored_run(id).await? else { return Ok(None) };
        let Some(generation) = stored.committed else { return Ok(Some(stored.run)) };
        let Some(item) = self.commit_item(id, generation).await? else { return Ok(Some(stored.run)) };
        let result = self.text_of(id, &item, "result").await?;
        let invalid = |e: serde_json::Error| TrackingError::Corrupt { what: "result", value: e.to_string() };
        Ok(Some(Run { result: Some(serde_json::from_str(&result).map_err(invalid)?), ..stored.run }))
    }
}

#[async_trait]
impl CommitStore for DynamoStore {
    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool> {
        self.put_commit(commit, result, now).await
    }

    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>> {
        self.open_commit(id).await
    }

    async fn supersede(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        self.supersede_commit(id, attempt, failure, not_before, now).await
    }

    async fn replaced(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>> {
        self.commits_to_replace(id).await
    }

    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        self.complete_run(id, now).await
    }
}
