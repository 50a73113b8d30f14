//! Facts about files.

use super::Inspector;
use super::result::read_result;
use chrono::{DateTime, Utc};
use millwork_diagnosis::{
    DateFacts, EventFacts, Facts, FileFacts, LedgerRow, ObjectFacts, RunFacts, SentBack, Settings,
};
use millwork_manifest::{Arrival, DatePrefix, FileState, ManifestId, ObjectUri, RunState};
use millwork_queue::{Letter, Letters};
use millwork_tracking::{BuilderAbout, Run, Span, TrackedFile, TrackingResult, open_wishes};

/// Time over which the arrival rate is measured, in minutes: 10.
const RATE_TIME: chrono::Duration = chrono::Duration::minutes(10);
/// Time limit for the search for a dead letter: 5 s. Without it the answer has less detail.
const LETTER_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Limit of the dead letters that are searched for one about a file: 100.
const MAX_LETTERS: usize = 100;

impl Inspector {
    /// All facts about a file, and the settings that apply to it.
    pub(super) async fn facts_of_file(&self, uri: &ObjectUri, now: DateTime<Utc>) -> TrackingResult<(Facts, Settings)> {
        let (cluster, builder) = self.cluster(now).await?;
        let settings = self.settings(builder.as_ref());
        let known = self.store.files(std::slice::from_ref(uri)).await?.pop().flatten();
        let object = self.look(uri).await;
        let mut facts = Facts { cluster, object, ..Facts::default() };
        match known {
            Some(file) => self.add_known(&mut facts, &file, builder.as_ref(), now).await?,
            None => self.add_unknown(&mut facts, uri, builder.as_ref(), now).await?,
        }
        Ok((facts, settings))
    }

    async fn add_unknown(
        &self,
        facts: &mut Facts,
        uri: &ObjectUri,
        builder: Option<&BuilderAbout>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let place = self.about.written.iter().find(|(_, place)| place.key_of(uri).is_some());
        facts.own_place = place.map(|(what, _)| (*what).to_owned());
        if facts.own_place.is_none() && matches!(facts.object, ObjectFacts::There { .. }) {
            facts.events = events(builder, uri).await;
            if let Some(events) = facts.events.as_mut().filter(|events| events.waiting > 0) {
                events.per_second = self.arrivals_a_second(now).await;
            }
        }
        // Nothing is revealed about places outside the input, not even similar names.
        if facts.own_place.is_none() && !matches!(facts.object, ObjectFacts::Foreign) {
            facts.near = self.near_files(uri).await?;
        }
        Ok(())
    }

    async fn add_known(
        &self,
        facts: &mut Facts,
        file: &TrackedFile,
        builder: Option<&BuilderAbout>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let run = self.run_of(file).await?;
        let mut known = file_facts(file);
        match file.state {
            FileState::Pending => known.sent_back = sent_back(file, run.as_ref()),
            FileState::Completed => known.ledger = run.as_ref().and_then(|run| ledger_row(run, file)),
            FileState::Quarantined => known.verdict = builder.map(|builder| verdict(file, builder, now)),
            _ => {}
        }
        let is_draft = run.as_ref().is_some_and(|run| run.state == RunState::Draft);
        if file.state == FileState::Pending || is_draft {
            facts.date = match file.date {
                Some(date) => Some(self.waiting_of(date).await?),
                None => None,
            };
        }
        // A pending file is not in a run, although an earlier run may have released it.
        if file.state != FileState::Pending {
            facts.run = match &run {
                Some(run) => Some(self.run_facts(run, now).await?),
                None => None,
            };
        }
        facts.file = Some(known);
        Ok(())
    }

    /// The run of a file, present or last; with its result only if that is relevant.
    async fn run_of(&self, file: &TrackedFile) -> TrackingResult<Option<Run>> {
        let id: Option<ManifestId> = file.manifest_id.as_ref().and_then(|id| id.parse().ok());
        match id {
            Some(id) if file.state == FileState::Completed => self.store.run(&id).await,
            Some(id) => self.store.run_head(&id).await,
            None => Ok(None),
        }
    }

    /// Files that arrived per second in the last minutes; `None` if none arrived, or nothing was recorded.
    async fn arrivals_a_second(&self, now: DateTime<Utc>) -> Option<f64> {
        let samples = self.store.samples(Span::Minute, now - RATE_TIME, now).await.ok()?;
        let files: u64 = samples.iter().map(|sample| sample.arrived_files).sum();
        let seconds: f64 = samples.iter().map(|sample| sample.watched_seconds).sum();
        (files > 0 && seconds > 0.0).then(|| files as f64 / seconds)
    }

    /// Reads the pending files of a date, and its lock.
    async fn waiting_of(&self, date: DatePrefix) -> TrackingResult<DateFacts> {
        let backlog = self.store.backlog(date).await?;
        Ok(DateFacts {
            pending_files: backlog.pending_files,
            pending_bytes: backlog.pending_bytes,
            oldest_pending: backlog.oldest_pending,
            has_pending: true,
            wishes: Self::wishes_of(date, &open_wishes(&*self.store, Utc::now()).await?),
            ..self.lock_of(date).await?
        })
    }
}

/// Dead letter about a file, among the first hundred of a queue.
async fn letter_about(queue: &str, dead_letters: Option<&str>, uri: &ObjectUri) -> anyhow::Result<Option<Letter>> {
    let letters = Letters::open(queue, dead_letters).await?;
    let found = letters.look(MAX_LETTERS, |letter| letter.is_about(uri)).await?;
    letters.release(&found).await;
    Ok(found.into_iter().find(|letter| letter.is_about(uri)))
}

/// Event queue of the builder with the latest heartbeat; `None` if it has none, or the queue does not answer in time.
async fn events(builder: Option<&BuilderAbout>, uri: &ObjectUri) -> Option<EventFacts> {
    let builder = builder?;
    let queue = builder.queue_url.as_ref()?;
    let dead_letters = builder.dead_letter_queue_url.as_deref();
    let (depth, letter) = tokio::join!(
        millwork_queue::depth(queue),
        tokio::time::timeout(LETTER_PATIENCE, letter_about(queue, dead_letters, uri)),
    );
    // Without permission, or in case of a timeout, the answer has less detail.
    let waiting = depth.ok().map(|depth| depth.waiting + depth.in_work);
    let letter = letter.ok().and_then(Result::ok).flatten();
    let told = |letter: Letter| {
        let detail = if letter.detail.is_empty() { String::new() } else { format!(": {}", letter.detail) };
        Some((DateTime::from_timestamp_millis(letter.at_millis)?, format!("{}{detail}", letter.reason)))
    };
    let letter = letter.and_then(told);
    (waiting.is_some() || letter.is_some()).then(|| EventFacts {
        waiting: waiting.unwrap_or(0),
        dead_letter: letter,
        ..EventFacts::default()
    })
}

pub(super) fn file_facts(file: &TrackedFile) -> FileFacts {
    FileFacts {
        state: file.state,
        version: file.version,
        size_bytes: file.size_bytes,
        etag: file.etag.clone(),
        arrived_at: file.arrived_at,
        updated_at: file.updated_at,
        manifest_id: file.manifest_id.clone(),
        reason: file.reason.clone(),
        quarantine_uri: file.quarantine_uri.clone(),
        overwritten_etag: file.overwritten_etag.clone(),
        sent_back: None,
        ledger: None,
        verdict: None,
    }
}

/// A pending file keeps the name of the manifest that released it.
fn sent_back(file: &TrackedFile, run: Option<&Run>) -> Option<SentBack> {
    let manifest_id = file.manifest_id.clone()?;
    let at_fault = run.and_then(|run| run.failure.as_ref()?.file.clone());
    Some(SentBack { manifest_id, at: file.updated_at, at_fault })
}

fn ledger_row(run: &Run, file: &TrackedFile) -> Option<LedgerRow> {
    let result = read_result(run)?;
    let row = result.ledger.iter().find(|row| row.uri == file.uri.as_str())?;
    let without_rows = row.without_rows();
    Some(LedgerRow { lines: row.lines, rows: row.rows, rejected: row.rejected, blank: row.blank, without_rows })
}

/// Checks a file by the current rules of the builder with the latest heartbeat; the error is the reason for a refusal.
fn verdict(file: &TrackedFile, builder: &BuilderAbout, now: DateTime<Utc>) -> Result<(), String> {
    match builder.rules().judge(&file.uri.key(), file.size_bytes, DatePrefix::from(now.date_naive())) {
        Arrival::Accepted(_) => Ok(()),
        Arrival::Quarantined(reason, _) => Err(reason.to_string()),
    }
}

/// Facts about a run of which only the end matters.
pub(super) fn head_facts(run: &Run) -> RunFacts {
    RunFacts {
        id: run.manifest_id.to_string(),
        date: run.date.to_string(),
        state: run.state,
        attempts: run.attempts,
        failures: run.failures,
        priority: run.priority,
        files: run.files,
        bytes: run.bytes,
        not_before: run.not_before,
        cancel_requested: run.cancel_requested,
        failure: run.failure.clone(),
        created_at: run.created_at,
        updated_at: run.updated_at,
        started_at: run.started_at,
        committed_at: run.committed_at,
        ended_at: run.ended_at,
        place: None,
        progress: None,
        usual: None,
        output: None,
    }
}
