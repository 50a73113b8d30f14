//! The items of runs.
//!
//! An item has a version, which grows with each change, and changes are conditional on the version that was read.
//! Queued runs, and failing runs whose files are still to be released, have the attributes of the queue index, which
//! contains no others.

use super::expression::Expression;
use super::item::{Item, cut, get, number, optional, owned, parsed, text, time};
use super::key;
use crate::{Attempt, QueuedManifest, Run, TrackingError, TrackingResult};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, SecondsFormat, Utc};
use millwork_manifest::{Failure, RunState};

/// Partition of the queue index with queued runs.
pub(super) const QUEUED: &str = "queued";
/// Partition of the queue index with ended runs whose files are still to be released.
pub(super) const FAILING: &str = "failing";
/// Partition of the index of all runs, which contains every run.
pub(super) const RUN: &str = "run";
/// Limit of a stored failure message, in bytes.
const MAX_MESSAGE: usize = 16_384;
/// Limit of a failure message that is stored with an attempt, in bytes.
const MAX_ATTEMPT_MESSAGE: usize = 1024;

/// A run, with the additional data of this store.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredRun {
    pub(super) run: Run,
    /// Version, incremented by each change.
    version: u64,
    /// True if the run has ended and its files are still to be released.
    pub(super) is_failing: bool,
    /// Generation of the newest commit record that was not given up.
    pub(super) committed: Option<u32>,
}

impl StoredRun {
    pub(super) fn of_item(item: &Item) -> TrackingResult<Self> {
        Ok(Self {
            run: run(item)?,
            version: parsed(item, "version", "version")?,
            is_failing: get(item, "queue") == Some(FAILING),
            committed: optional(item, "committed", "generation")?,
        })
    }

    /// Stored run after a change of the run.
    pub(super) fn with(&self, run: Run) -> Self {
        Self { run, version: self.version + 1, is_failing: false, committed: self.committed }
    }

    /// Stored run with an addition to its data; its place in the queue stays.
    pub(super) fn noted(&self, run: Run) -> Self {
        Self { is_failing: self.is_failing, ..self.with(run) }
    }

    /// Stored run after its end without output: its files are to be released, unless it is a forced run.
    pub(super) fn ended(&self, run: Run) -> Self {
        Self { is_failing: run.state != RunState::Completed, ..self.with(run) }
    }

    /// Stored run after the commit of its generation's output.
    pub(super) fn committed_as(&self, run: Run) -> Self {
        Self { committed: Some(run.generation), ..self.with(run) }
    }

    /// Stored run after its newest commit record was given up; the valid one is then that of `generation`, if any.
    pub(super) fn shown(&self, generation: Option<u32>, run: Run) -> Self {
        Self { committed: generation, ..self.with(run) }
    }

    /// Sets the changed attributes, on the condition that the run is unchanged.
    pub(super) fn expression(&self, before: &Self) -> TrackingResult<Expression> {
        let condition = Expression::new().when("version", "=", number(before.version));
        let pairs = before.attributes()?.into_iter().zip(self.attributes()?);
        let changed = pairs.filter(|((_, old), (_, new))| old != new);
        Ok(changed.fold(condition, |expression, (_, (name, new))| expression.put(name, new)))
    }

    /// Partition of the queue index, and sort key there.
    fn queue_place(&self) -> Option<(&'static str, String)> {
        match self.run.state {
            RunState::Queued => Some((QUEUED, queue_key(&self.run))),
            _ => self.is_failing.then(|| (FAILING, self.run.manifest_id.to_string())),
        }
    }

    /// Attributes that can change, in a fixed order; `None` for missing ones.
    fn attributes(&self) -> TrackingResult<[(&'static str, Option<AttributeValue>); 22]> {
        let run = &self.run;
        let (queue, queue_key) = self.queue_place().unzip();
        let history = run.history.iter().map(attempt);
        Ok([
            ("status", Some(text(run.state.as_str()))),
            ("priority", Some(number(run.priority))),
            ("files", Some(number(run.files))),
            ("bytes", Some(number(run.bytes))),
            ("attempts", Some(number(run.attempts))),
            ("failures", Some(number(run.failures))),
            ("generation", Some(number(run.generation))),
            ("not_before", run.not_before.map(time)),
            ("cancel_requested", run.cancel_requested.then_some(AttributeValue::Bool(true))),
            ("failure", run.failure.as_ref().map(json).transpose()?),
            ("failure_class", run.failure.as_ref().map(|failure| text(failure.class.as_str()))),
            ("created_at", Some(time(run.created_at))),
            ("updated_at", Some(time(run.updated_at))),
            ("started_at", run.started_at.map(time)),
            ("committed_at", run.committed_at.map(time)),
            ("ended_at", run.ended_at.map(time)),
            ("history", Some(AttributeValue::L(history.collect::<TrackingResult<_>>()?))),
            ("queue", queue.map(text)),
            ("queue_key", queue_key.map(text)),
            ("committed", self.committed.map(number)),
            ("summary", run.summary.as_ref().map(json).transpose()?),
            ("version", Some(number(self.version))),
        ])
    }
}

/// Item of a new run.
pub(super) fn new_item(
    queued: &QueuedManifest,
    state: RunState,
    priority: i32,
    now: DateTime<Utc>,
) -> TrackingResult<Item> {
    let manifest = &queued.manifest;
    let run = Run {
        manifest_id: manifest.id.clone(),
        date: manifest.date,
        manifest_uri: queued.uri.clone(),
        state,
        priority,
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
        attempts: 0,
        failures: 0,
        generation: 1,
        not_before: None,
        cancel_requested: false,
        failure: None,
        created_at: now,
        updated_at: now,
        started_at: None,
        committed_at: None,
        ended_at: None,
        summary: None,
        history: Vec::new(),
        result: None,
    };
    let fixed =
        [("kind", text(RUN)), ("date_prefix", text(manifest.date.to_string())), ("manifest_uri", text(&queued.uri))];
    let stored = StoredRun { run, version: 1, is_failing: false, committed: None };
    let attributes = stored.attributes()?.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let named = fixed.into_iter().chain(attributes).map(|(name, value)| (name.to_owned(), value));
    Ok(key::run(&manifest.id).into_iter().chain(named).collect())
}

/// Decodes a run from its item. Its result is in another item.
pub(super) fn run(item: &Item) -> TrackingResult<Run> {
    let invalid = |e: serde_json::Error| TrackingError::Corrupt { what: "run", value: e.to_string() };
    let attempts = item.get("history").and_then(|history| history.as_l().ok()).into_iter().flatten();
    let attempts = attempts.filter_map(|attempt| Some(serde_json::from_str(attempt.as_s().ok()?)));
    Ok(Run {
        manifest_id: parsed(item, "manifest_id", "manifest id")?,
        date: parsed(item, "date_prefix", "date")?,
        manifest_uri: owned(item, "manifest_uri").unwrap_or_default(),
        state: parsed(item, "status", "run state")?,
        priority: parsed(item, "priority", "priority")?,
        files: parsed(item, "files", "number of files")?,
        bytes: parsed(item, "bytes", "number of bytes")?,
        attempts: parsed(item, "attempts", "number of attempts")?,
        failures: parsed(item, "failures", "number of failures")?,
        generation: parsed(item, "generation", "generation")?,
        not_before: optional(item, "not_before", "time")?,
        cancel_requested: item.contains_key("cancel_requested"),
        failure: get(item, "failure").map(serde_json::from_str).transpose().map_err(invalid)?,
        created_at: parsed(item, "created_at", "time")?,
        updated_at: parsed(item, "updated_at", "time")?,
        started_at: optional(item, "started_at", "time")?,
        committed_at: optional(item, "committed_at", "time")?,
        ended_at: optional(item, "ended_at", "time")?,
        summary: get(item, "summary").map(serde_json::from_str).transpose().map_err(invalid)?,
        history: attempts.collect::<Result<_, _>>().map_err(invalid)?,
        result: None,
    })
}

/// Decodes a run for a listing.
pub(super) fn listed_run(item: &Item) -> TrackingResult<Run> {
    Ok(Run { history: Vec::new(), ..run(item)? })
}

/// A failure with its texts cut to the limits.
pub(super) fn bounded(failure: &Failure) -> Failure {
    with_message_of(failure, MAX_MESSAGE)
}

fn with_message_of(failure: &Failure, max_bytes: usize) -> Failure {
    Failure { message: cut(&failure.message, max_bytes).to_owned(), ..failure.clone() }
}

fn attempt(attempt: &Attempt) -> TrackingResult<AttributeValue> {
    let failure = attempt.failure.as_ref().map(|failure| with_message_of(failure, MAX_ATTEMPT_MESSAGE));
    json(&Attempt { failure, ..attempt.clone() })
}

fn json(value: &impl serde::Serialize) -> TrackingResult<AttributeValue> {
    let json = serde_json::to_string(value);
    json.map(text).map_err(|e| TrackingError::Corrupt { what: "run", value: e.to_string() })
}

/// Sort key in the queue: highest priority first, then oldest.
pub(super) fn queue_key(run: &Run) -> String {
    let rank = i64::from(i32::MAX) - i64::from(run.priority);
    format!("{rank:010}#{}#{}", run.created_at.to_rfc3339_opts(SecondsFormat::Micros, true), run.manifest_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::life;
    use millwork_manifest::{FailureClass, Manifest};

    fn stored(priority: i32, seconds: i64) -> StoredRun {
        let manifest = Manifest {
            id: "m".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: DateTime::UNIX_EPOCH,
            files: Vec::new(),
            traceparents: Vec::new(),
        };
        let queued = QueuedManifest { manifest, uri: "s3://m/m.json".to_owned() };
        let at = DateTime::from_timestamp(seconds, 0).unwrap();
        StoredRun::of_item(&new_item(&queued, RunState::Queued, priority, at).unwrap()).unwrap()
    }

    #[test]
    fn the_queue_is_in_the_order_in_which_runs_are_to_start() {
        let keys = [(i32::MAX, 2), (1, 1), (0, 1), (0, 2), (-1, 1), (i32::MIN, 1)];
        let keys = keys.map(|(priority, seconds)| queue_key(&stored(priority, seconds).run));
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn only_a_run_that_waits_or_is_to_be_settled_is_in_the_queue() {
        let now = DateTime::UNIX_EPOCH;
        let queued = stored(0, 0);
        let started = queued.with(life::start(&queued.run, now).unwrap());
        let update = started.expression(&queued).unwrap();
        assert!(update.update_text().unwrap().ends_with("REMOVE #queue, #queue_key"));
        assert_eq!(update.condition_text().unwrap(), "#version = :v0");
        let failure = Failure::new(FailureClass::Bug, "é".repeat(MAX_MESSAGE));
        let failed = life::fail(&started.run, 1, &bounded(&failure), now).unwrap().unwrap();
        let failed = started.ended(failed);
        let update = failed.expression(&started).unwrap();
        assert!(update.update_text().unwrap().contains("#queue = "));
        let size: usize = update.values().unwrap().values().map(|value| format!("{value:?}").len()).sum();
        assert!(size < MAX_MESSAGE + 2 * MAX_ATTEMPT_MESSAGE, "{size}");
    }
}
