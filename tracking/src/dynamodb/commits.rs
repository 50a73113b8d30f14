//! Commit records, and runs with what they produced.
//!
//! One transaction decides who won: it writes the commit record, of which there can be one, and moves the run from
//! running to committing, on condition that no newer attempt has started. What is too long for the record was written
//! before it, under a name of its own. The files need not be looked at: as long as a run is running, they are its own.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{self, FAILING, Item, number, parsed, text, time};
use super::key;
use super::request::{Transacted, all, put_action, update_action};
use super::runs::conflict;
use crate::{Commit, Run, RunState, TrackingError, TrackingResult};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use millwork_manifest::ManifestId;

/// The states of a run that has a commit record.
const WITH_RECORD: [RunState; 2] = [RunState::Committing, RunState::Completed];

impl DynamoStore {
    pub(super) async fn put_commit(
        &self,
        commit: &Commit,
        result: &serde_json::Value,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        let id = &commit.manifest_id;
        let Some(run) = self.stored_run(id).await? else { return Ok(false) };
        // A newer attempt has started, or this one has won before.
        if run.attempts != commit.attempt || WITH_RECORD.contains(&run.state) {
            return Ok(false);
        }
        let mut record = key::commit(id);
        record.extend([
            ("attempt".to_owned(), number(commit.attempt)),
            ("record".to_owned(), self.store_text(id, &commit.record).await?),
            ("result".to_owned(), self.store_text(id, &result.to_string()).await?),
            ("created_at".to_owned(), time(now)),
        ]);
        let committing = Expression::new()
            .set("status", text(RunState::Committing.as_str()))
            .set("updated_at", time(now))
            .when("status", "=", text(RunState::Running.as_str()))
            .when("attempts", "=", number(commit.attempt));
        let actions = [
            put_action(&self.names.runs, record, &Expression::new().when_absent("manifest_id"))?,
            update_action(&self.names.runs, key::run(id), &committing)?,
        ];
        match self.transact(&actions).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(failed) if failed.first() == Some(&true) => Ok(false),
            Transacted::Refused(_) => {
                let run = self.stored_run(id).await?;
                match run.filter(|run| run.attempts == commit.attempt) {
                    Some(run) => Err(conflict(id, Some(run.state), "only a running run can be committed")),
                    None => Ok(false),
                }
            }
        }
    }

    pub(super) async fn open_commit(&self, id: &ManifestId) -> TrackingResult<Option<Commit>> {
        let state = self.stored_run(id).await?.map(|run| run.state);
        if state != Some(RunState::Committing) {
            return Ok(None);
        }
        let item = self.get(&self.names.runs, key::commit(id)).await?;
        let item = item.ok_or_else(|| TrackingError::Corrupt { what: "commit record", value: id.to_string() })?;
        let attempt = parsed(&item, "attempt", "attempt")?;
        let record = self.text_of(id, &item, "record").await?;
        Ok(Some(Commit { manifest_id: id.clone(), attempt, record }))
    }

    async fn text_of(&self, id: &ManifestId, item: &Item, name: &'static str) -> TrackingResult<String> {
        let missing = AttributeValue::Null(true);
        self.load_text(id, item.get(name).unwrap_or(&missing)).await
    }

    /// A run, with what it produced.
    pub(super) async fn whole_run(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        match self.stored_run(id).await? {
            Some(run) => self.with_result(run).await.map(Some),
            None => Ok(None),
        }
    }

    async fn with_result(&self, run: Run) -> TrackingResult<Run> {
        if !WITH_RECORD.contains(&run.state) {
            return Ok(run);
        }
        let id = &run.manifest_id;
        let Some(item) = self.get(&self.names.runs, key::commit(id)).await? else { return Ok(run) };
        let result = self.text_of(id, &item, "result").await?;
        let invalid = |e: serde_json::Error| TrackingError::Corrupt { what: "result", value: e.to_string() };
        Ok(Run { result: Some(serde_json::from_str(&result).map_err(invalid)?), ..run })
    }

    /// The newest runs of all states, newest first.
    pub(super) async fn newest_runs(&self, limit: usize) -> TrackingResult<Vec<Run>> {
        let statuses = RunState::ALL.into_iter().map(RunState::as_str).chain([FAILING]);
        let found = all(statuses.map(|status| self.runs_in(status, Some(limit))).collect()).await?;
        let mut runs: Vec<Run> = found.iter().flatten().map(item::run).collect::<TrackingResult<_>>()?;
        runs.sort_by(|a, b| {
            (b.created_at, &b.manifest_id, b.updated_at).cmp(&(a.created_at, &a.manifest_id, a.updated_at))
        });
        // The index lags behind: a run can be in it under two states.
        runs.dedup_by(|a, b| a.manifest_id == b.manifest_id);
        runs.truncate(limit);
        all(runs.into_iter().map(|run| self.with_result(run)).collect()).await
    }
}
