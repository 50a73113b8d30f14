//! Reads for inspection by people, and the one change of state that only operators make.

use super::change::Change;
use super::deltas::Deltas;
use super::expression::Expression;
use super::item::{Item, StoredFile, get, optional, owned, parsed, text, time, tracked_file};
use super::request::{Query, Transacted, Written, incomplete, update_action};
use super::run_item::{QUEUED, queue_key};
use super::tables::{QUEUE_INDEX, TableDefinition, check_indexes, table_definitions};
use super::{DynamoStore, key};
use crate::{
    BuilderNote, Inspection, KEEP_BUILDER_DAYS, LockState, MAX_BUILDERS, QueueAhead, RunSeen, StateChange,
    StateChanged, StoreFault, TrackingResult,
};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::{ConditionCheck, TableStatus, TransactWriteItem};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{ManifestId, ObjectUri, RunState};

/// Partition of builders' heartbeats in the metrics table.
const BUILDERS: &str = "BUILDERS";

#[async_trait]
impl Inspection for DynamoStore {
    async fn locks(&self, names: &[String]) -> TrackingResult<Vec<LockState>> {
        let mut wanted = names.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let items = self.get_many(&self.names.lock, wanted.iter().map(|name| key::lock(name)).collect()).await?;
        let mut locks = items.iter().map(lock_state).collect::<TrackingResult<Vec<_>>>()?;
        locks.sort_by_key(|lock| names.iter().position(|name| *name == lock.name));
        Ok(locks)
    }

    async fn ahead(&self, id: &ManifestId, limit: usize) -> TrackingResult<Option<QueueAhead>> {
        let Some(run) = self.stored_run(id).await?.map(|stored| stored.run) else { return Ok(None) };
        if run.state != RunState::Queued {
            return Ok(None);
        }
        let expression =
            Expression::new().when("queue", "=", text(QUEUED)).when("queue_key", "<", text(queue_key(&run)));
        let query =
            Query { index: Some(QUEUE_INDEX), expression, limit: Some(limit.saturating_add(1)), ..Query::default() };
        let items = self.query(&self.names.runs, &query).await?;
        let is_capped = items.len() > limit;
        let (mut bytes, mut unsized_files) = (0_u64, 0_u64);
        for item in items.iter().take(limit) {
            match parsed(item, "bytes", "number of bytes")? {
                0 => unsized_files = unsized_files.saturating_add(parsed(item, "files", "number of files")?),
                known => bytes = bytes.saturating_add(known),
            }
        }
        Ok(Some(QueueAhead { runs: items.len().min(limit) as u64, bytes, unsized_files, is_capped }))
    }

    async fn note_builder(&self, note: &BuilderNote) -> TrackingResult<()> {
        let mut item = key::metric(BUILDERS, note.id.as_str());
        let over = note.seen_at + Duration::days(KEEP_BUILDER_DAYS);
        item.extend([
            ("seen_at".to_owned(), time(note.seen_at)),
            ("note".to_owned(), text(&note.note)),
            ("ttl".to_owned(), super::item::epoch(over)),
        ]);
        self.put(&self.names.metrics, item, &Expression::new()).await.map(drop)
    }

    async fn builders(&self) -> TrackingResult<Vec<BuilderNote>> {
        let expression = Expression::new().when("metric_date", "=", text(BUILDERS));
        // Reads more than are shown, since they are sorted by name, not by time.
        let query = Query { expression, limit: Some(10 * MAX_BUILDERS), ..Query::default() };
        let items = self.query(&self.names.metrics, &query).await?;
        let note = |item: &Item| {
            let (id, note) = (parsed(item, "metric_type", "builder")?, owned(item, "note").unwrap_or_default());
            Ok(BuilderNote { id, note, seen_at: parsed(item, "seen_at", "time")? })
        };
        let mut notes = items.iter().map(note).collect::<TrackingResult<Vec<_>>>()?;
        notes.sort_by_key(|note| std::cmp::Reverse(note.seen_at));
        notes.truncate(MAX_BUILDERS);
        Ok(notes)
    }

    async fn neighbours(&self, uri: &ObjectUri, limit: usize) -> TrackingResult<Vec<ObjectUri>> {
        let place = key::file(uri);
        let (partition, sort) = (get(&place, "date_prefix"), get(&place, "file_key"));
        let (Some(partition), Some(sort)) = (partition, sort) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (operator, newest_first) in [("<", true), (">", false)] {
            let expression = Expression::new()
                .when("date_prefix", "=", text(partition))
                .when("file_key", operator, text(sort))
                .only_with("file_path");
            let query = Query { expression, newest_first, limit: Some(limit), ..Query::default() };
            for item in self.query(&self.names.tracking, &query).await? {
                found.push(tracked_file(&item)?.uri);
            }
        }
        Ok(found)
    }

    async fn change_state(&self, change: &StateChange, now: DateTime<Utc>) -> TrackingResult<StateChanged> {
        let Some(item) = self.get(&self.names.tracking, key::file(&change.uri)).await? else {
            return Ok(StateChanged::Moved(None));
        };
        let stored = StoredFile::of_item(&item)?;
        if (stored.file.state, stored.file.version) != change.seen {
            return Ok(StateChanged::Moved(Some(Box::new(stored.file))));
        }
        let taken_over = |after: &mut crate::TrackedFile| {
            let (version, updated_at) = (after.version, after.updated_at);
            *after = crate::TrackedFile { version, updated_at, ..change.applied_to(after) };
        };
        let made = Change::of(&stored.file, now).with(taken_over).to(change.to, Some(change.detail.clone()));
        let is_done = match self.run_check(&change.run)? {
            None => matches!(self.write_change(&stored, &made).await?, Written::Done(_)),
            Some(check) => {
                let expression = made.expression_on(&stored);
                let update = update_action(&self.names.tracking, key::file(&change.uri), &expression)?;
                matches!(self.transact(&[check, update]).await?, Transacted::Done)
            }
        };
        if !is_done {
            let now = self.tracked_files(std::slice::from_ref(&change.uri)).await?.into_iter().next().flatten();
            return Ok(StateChanged::Moved(now.map(Box::new)));
        }
        let mut deltas = Deltas::default();
        deltas.change(Some(&stored.file), &made.after);
        // A crash here leaves the counters wrong until a recount.
        self.apply(deltas).await?;
        Ok(StateChanged::Done(Box::new(made.after)))
    }

    async fn faults(&self) -> TrackingResult<Vec<StoreFault>> {
        let mut faults = Vec::new();
        for definition in table_definitions(&self.names) {
            faults.extend(self.faults_of(&definition).await?);
        }
        Ok(faults)
    }
}

impl DynamoStore {
    /// Builds the check that refuses a change unless its run is unchanged.
    fn run_check(&self, seen: &RunSeen) -> TrackingResult<Option<TransactWriteItem>> {
        let (id, condition) = match seen {
            RunSeen::NoManifest => return Ok(None),
            RunSeen::Absent(id) => (id, Expression::new().when_absent("manifest_id")),
            RunSeen::InState(id, state) => (id, Expression::new().when("status", "=", text(state.as_str()))),
        };
        let check = ConditionCheck::builder()
            .table_name(&self.names.runs)
            .set_key(Some(key::run(id)))
            .set_condition_expression(condition.condition_text())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values());
        let check = check.build().map_err(incomplete)?;
        Ok(Some(TransactWriteItem::builder().condition_check(check).build()))
    }

    /// Faults of a table: missing, not usable, without an index, or without expiry of items.
    async fn faults_of(&self, definition: &TableDefinition) -> TrackingResult<Vec<StoreFault>> {
        const BOOTSTRAP: &str = "run `millwork bootstrap aws`, which makes what is missing";
        let name = definition.name.as_str();
        let fault = |found: String, remedy: &str| StoreFault {
            what: format!("table {name}"),
            found,
            remedy: remedy.to_owned(),
        };
        let described = match self.client.describe_table().table_name(name).send().await {
            Ok(output) => output.table,
            Err(error) => return Ok(vec![fault(super::request::describe(&error), BOOTSTRAP)]),
        };
        let Some(table) = described else { return Ok(vec![fault("it is not described".to_owned(), BOOTSTRAP)]) };
        let mut faults = Vec::new();
        if !matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating)) {
            faults.push(fault(format!("its status is {:?}", table.table_status()), "wait until it is active"));
        }
        if let Err(error) = check_indexes(definition, table.global_secondary_indexes()) {
            faults.push(fault(error.to_string(), BOOTSTRAP));
        }
        if definition.ttl_attribute.is_some() {
            match self.client.describe_time_to_live().table_name(name).send().await {
                Ok(output) => {
                    let described = output.time_to_live_description;
                    let status = described.and_then(|described| described.time_to_live_status);
                    use aws_sdk_dynamodb::types::TimeToLiveStatus::{Enabled, Enabling};
                    if !matches!(status, Some(Enabled | Enabling)) {
                        let found = "its items do not expire: it grows for ever".to_owned();
                        faults.push(fault(found, BOOTSTRAP));
                    }
                }
                Err(error) => faults.push(fault(super::request::describe(&error), "allow dynamodb:DescribeTimeToLive")),
            }
        }
        Ok(faults)
    }
}

fn lock_state(item: &Item) -> TrackingResult<LockState> {
    let moment = |name| {
        let millis: Option<i64> = optional(item, name, "time")?;
        TrackingResult::Ok(millis.filter(|millis| *millis > 0).and_then(DateTime::from_timestamp_millis))
    };
    let (acquired_at, expires_at) = (moment("acquired_at")?, moment("expires_at")?);
    Ok(LockState {
        name: parsed(item, "date_prefix", "lock")?,
        holder: owned(item, "holder").unwrap_or_default(),
        token: parsed(item, "token", "lock token")?,
        acquired_at,
        expires_at,
    })
}
