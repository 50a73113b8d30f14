//! Changes of files' states: planned exactly, then applied on the condition that nothing has changed since.

use super::Operations;
use crate::audit::{self, Operator, is_reason};
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::{ObjectFacts, RunStanding, check_transition, shown};
use millwork_manifest::{BY_OPERATOR, FileState, ManifestId, ObjectUri, RunState};
use millwork_tracking::{AuditEntry, FoundContent, RunSeen, StateChange, StateChanged, TrackedFile, TrackingResult};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::ToSchema;

/// Age from which a submission without a run counts as abandoned.
const ABANDONED: Duration = Duration::minutes(15);
/// Limit of a reason given by an operator, in bytes: 500.
const MAX_REASON_BYTES: usize = 500;

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Requested {
    /// The file.
    #[schema(value_type = String)]
    pub uri: ObjectUri,
    /// The state it is to get: `pending` or `quarantined`.
    #[schema(value_type = String)]
    pub to: FileState,
    /// The state it must be in, if that matters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expect_state: Option<FileState>,
    /// The version it must have, if that matters.
    #[serde(default)]
    pub expect_version: Option<u64>,
    /// True if a converted file is to be converted again, though its old rows stay.
    #[serde(default)]
    pub reprocess: bool,
}

/// A file before or after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateMark {
    /// State of the file.
    #[schema(value_type = String)]
    pub state: FileState,
    /// Version of the file.
    pub version: u64,
    /// Manifest that contains it.
    #[schema(required)]
    pub manifest_id: Option<String>,
    /// Time since which the file is in this state; null for a planned state.
    #[schema(required)]
    pub since: Option<DateTime<Utc>>,
}

/// A change of one file, as it would be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// URI of the file.
    pub uri: String,
    /// The file now; none if it is not known.
    #[schema(required)]
    pub before: Option<StateMark>,
    /// The file after the change; none if it is refused.
    #[schema(required)]
    pub after: Option<StateMark>,
    /// Reason of the change, or of its refusal.
    pub why: String,
    /// Change to be made; `None` if it is refused.
    #[serde(skip)]
    pub(crate) change: Option<StateChange>,
}

/// Outcome of a planned change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Planned change that would be made; nothing was changed.
    Planned,
    /// Change that is made.
    Done,
    /// Change that was skipped: the file or its run has changed since it was read.
    Skipped,
    /// Change that is not allowed.
    Refused,
    /// Change that the store refused or did not answer.
    Failed,
}

/// Change of one file, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeMade {
    /// Change.
    #[serde(flatten)]
    pub planned: PlannedChange,
    /// Outcome of it.
    pub outcome: Outcome,
}

/// Changes, and what became of each.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// True if nothing was changed, since only a plan was asked for.
    pub is_dry_run: bool,
    /// Each change, with what became of it, in the order asked for.
    pub changes: Vec<ChangeMade>,
}

impl Applied {
    /// Result of a dry run: changes that would be made, and those that are refused.
    pub fn dry(plan: Vec<PlannedChange>) -> Self {
        let change = |planned: PlannedChange| {
            let outcome = if planned.change.is_some() { Outcome::Planned } else { Outcome::Refused };
            ChangeMade { planned, outcome }
        };
        Self { is_dry_run: true, changes: plan.into_iter().map(change).collect() }
    }

    /// Number of changes with this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.changes.iter().filter(|change| change.outcome == outcome).count()
    }
}

impl Operations {
    /// Plans the changes of these files, without making them.
    pub async fn plan(&self, requests: &[Requested], now: DateTime<Utc>) -> TrackingResult<Vec<PlannedChange>> {
        let uris: Vec<ObjectUri> = requests.iter().map(|request| request.uri.clone()).collect();
        let files = self.store().files(&uris).await?;
        let mut runs = HashMap::new();
        let mut plan = Vec::with_capacity(requests.len());
        for (request, file) in requests.iter().zip(files) {
            let Some(file) = file else {
                let why = "no such file is known".to_owned();
                plan.push(PlannedChange { uri: request.uri.to_string(), before: None, after: None, why, change: None });
                continue;
            };
            let planned = match self.plan_one(request, &file, &mut runs, now).await? {
                Ok((change, why)) => planned(&file, change, why),
                Err(why) => refused(&file, why),
            };
            plan.push(planned);
        }
        Ok(plan)
    }

    async fn plan_one(
        &self,
        request: &Requested,
        file: &TrackedFile,
        runs: &mut HashMap<String, Option<RunState>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<Result<(StateChange, String), String>> {
        if let Some(why) = unexpected(request, file) {
            return Ok(Err(why));
        }
        let (seen, standing) = self.run_seen(file, runs).await?;
        if let Err(why) = check_transition(file.state, request.to, standing, request.reprocess) {
            return Ok(Err(why.to_owned()));
        }
        let is_young = standing == RunStanding::Absent && now - file.updated_at < ABANDONED;
        if file.state == FileState::Manifested && is_young {
            return Ok(Err("its submission may be going on: a quarter of an hour has not passed".to_owned()));
        }
        if file.state == FileState::Quarantined && file.quarantine_uri.is_some() {
            return Ok(Err(
                "its object was moved to the quarantine: `millwork-manifest-builder redrive` puts it back".to_owned()
            ));
        }
        let content = match self.content(request, file).await {
            Ok(content) => content,
            Err(why) => return Ok(Err(why)),
        };
        let reason = (request.to == FileState::Quarantined).then(|| BY_OPERATOR.to_owned());
        let (uri, seen_file, to) = (file.uri.clone(), (file.state, file.version), request.to);
        let change =
            StateChange { uri, seen: seen_file, run: seen, to, manifest: None, reason, content, detail: String::new() };
        Ok(Ok((change, why_changed(file.state).to_owned())))
    }

    /// Checks the object of a file that is to be converted again; `None` for other changes. The error is the reason for
    /// a refusal.
    async fn content(&self, request: &Requested, file: &TrackedFile) -> Result<Option<FoundContent>, String> {
        if request.to != FileState::Pending || !matches!(file.state, FileState::Failed | FileState::Completed) {
            return Ok(None);
        }
        match self.inspector.look(&file.uri).await {
            ObjectFacts::There { size_bytes, etag, .. } => {
                Ok(Some(FoundContent { size_bytes, etag, version_id: None }))
            }
            ObjectFacts::Gone => Err("its object is gone: a run that reads it would fail".to_owned()),
            ObjectFacts::Unreachable(why) if request.reprocess => {
                Err(format!("its object cannot be looked at: {}", shown(&why)))
            }
            ObjectFacts::Foreign if request.reprocess => Err("its object is outside the places of input".to_owned()),
            ObjectFacts::NotAsked if request.reprocess => {
                Err("its object has to be looked at: say --input-places, or ask the scheduler".to_owned())
            }
            _ => Ok(None),
        }
    }

    /// State of the run that a change of a file depends on.
    pub(super) async fn run_seen(
        &self,
        file: &TrackedFile,
        runs: &mut HashMap<String, Option<RunState>>,
    ) -> TrackingResult<(RunSeen, RunStanding)> {
        let Some(id) = file.manifest_id.as_ref().and_then(|id| id.parse::<ManifestId>().ok()) else {
            return Ok((RunSeen::NoManifest, RunStanding::NoManifest));
        };
        let state = match runs.get(id.as_str()) {
            Some(state) => *state,
            None => {
                let state = self.store().run_head(&id).await?.map(|run| run.state);
                runs.insert(id.to_string(), state);
                state
            }
        };
        Ok(match state {
            Some(state) => (RunSeen::InState(id, state), RunStanding::InState(state)),
            None => (RunSeen::Absent(id), RunStanding::Absent),
        })
    }

    /// Makes a planned change, and says why if it is not made.
    async fn apply_one(&self, planned: &mut PlannedChange, detail: String, now: DateTime<Utc>) -> Outcome {
        let Some(mut change) = planned.change.take() else { return Outcome::Refused };
        change.detail = detail;
        match self.store().inspection().change_state(&change, now).await {
            Ok(StateChanged::Done(_)) => Outcome::Done,
            Ok(StateChanged::Moved(file)) => {
                planned.why = file.map_or_else(|| "it is no longer known".to_owned(), |file| moved(&change, &file));
                Outcome::Skipped
            }
            Err(error) => {
                planned.why = error.to_string();
                Outcome::Failed
            }
        }
    }

    /// Makes planned changes between writing and completing an audit record. Files are changed independently, so that a
    /// failure does not stop the others.
    pub async fn apply(
        &self,
        plan: Vec<PlannedChange>,
        action: &str,
        who: &Operator,
        reason: &str,
        now: DateTime<Utc>,
    ) -> TrackingResult<Applied> {
        let wanted: Vec<&PlannedChange> = plan.iter().filter(|planned| planned.change.is_some()).collect();
        if wanted.is_empty() {
            let changes = plan.into_iter().map(|planned| ChangeMade { planned, outcome: Outcome::Refused }).collect();
            return Ok(Applied { is_dry_run: false, changes });
        }
        let subjects = bounded(wanted.iter().map(|planned| planned.uri.clone()));
        let mut note = note_of(action, who, reason, now);
        note.before = Some(bounded(wanted.iter().map(|planned| in_words(&planned.before))).join("; "));
        note.after = Some(bounded(wanted.iter().map(|planned| in_words(&planned.after))).join("; "));
        note.subjects = subjects;
        self.store().audit(&note).await?;
        let mut changes = Vec::with_capacity(plan.len());
        for mut planned in plan {
            let detail = format!("{action} by {}: {reason}", who.actor);
            let outcome = self.apply_one(&mut planned, detail, now).await;
            changes.push(ChangeMade { planned, outcome });
        }
        let applied = Applied { is_dry_run: false, changes };
        let count = |outcome| applied.count(outcome);
        note.outcome = Some(format!(
            "{} done, {} skipped, {} failed",
            count(Outcome::Done),
            count(Outcome::Skipped),
            count(Outcome::Failed)
        ));
        audit::complete(self.store(), &note).await;
        Ok(applied)
    }
}

/// Reason for a refusal, if a file is not as it is expected to be.
fn unexpected(request: &Requested, file: &TrackedFile) -> Option<String> {
    if request.expect_state.is_some_and(|state| state != file.state) {
        return Some(format!("it is {}, not in the state that was expected", file.state));
    }
    let is_other = request.expect_version.is_some_and(|version| version != file.version);
    is_other.then(|| format!("it has version {}, not the one that was expected", file.version))
}

/// Reason for the change of a file in this state.
fn why_changed(state: FileState) -> &'static str {
    match state {
        FileState::Completed => "converted once more, beside its old rows",
        FileState::Failed => "to go into a new manifest",
        FileState::Quarantined => "taken back",
        FileState::Pending => "refused by an operator",
        FileState::Manifested | FileState::Processing => "its run is over",
    }
}

/// Audit record of an operation that is about to be made.
pub(super) fn note_of(action: &str, who: &Operator, reason: &str, at: DateTime<Utc>) -> AuditEntry {
    audit::note(format!("state {action}"), who, reason, at)
}

/// Refuses a reason that is empty or too long.
pub fn check_reason(reason: &str) -> Result<(), String> {
    if !is_reason(reason) {
        return Err("say why: a reason is noted with each change".to_owned());
    }
    match reason.len() > MAX_REASON_BYTES {
        true => Err(format!("a reason has at most {MAX_REASON_BYTES} bytes, this one {}", reason.len())),
        false => Ok(()),
    }
}

/// Limit of a list in an audit record, in bytes: 8 KiB, which fits into DynamoDB and is readable. The rest is given as
/// a number.
const MAX_NOTED_BYTES: usize = 8 << 10;

fn in_words(mark: &Option<StateMark>) -> String {
    mark.as_ref().map_or_else(String::new, |mark| format!("{} v{}", mark.state, mark.version))
}

/// Shortens a list of texts to the limit of an audit record.
fn bounded(texts: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let (count, mut bytes, mut kept) = (texts.len(), 0, Vec::new());
    for text in texts {
        bytes += text.len() + 2;
        if bytes > MAX_NOTED_BYTES {
            let left = count - kept.len();
            kept.push(format!("and {left} more"));
            break;
        }
        kept.push(text);
    }
    kept
}

fn moved(change: &StateChange, file: &TrackedFile) -> String {
    let (state, version) = change.seen;
    if (file.state, file.version) == (state, version) {
        return "its run has changed since it was looked at".to_owned();
    }
    format!("it is {} with version {} by now; it was {state} with version {version}", file.state, file.version)
}

pub(super) fn mark(file: &TrackedFile) -> StateMark {
    StateMark {
        state: file.state,
        version: file.version,
        manifest_id: file.manifest_id.clone(),
        since: Some(file.updated_at),
    }
}

pub(super) fn refused(file: &TrackedFile, why: String) -> PlannedChange {
    PlannedChange { uri: file.uri.to_string(), before: Some(mark(file)), after: None, why, change: None }
}

pub(super) fn planned(file: &TrackedFile, change: StateChange, why: String) -> PlannedChange {
    let keeps = !matches!(change.to, FileState::Pending | FileState::Quarantined);
    let noted = change.manifest.as_ref().map(ManifestId::to_string);
    let after = StateMark {
        state: change.to,
        version: file.version + 1,
        manifest_id: noted.or_else(|| file.manifest_id.clone().filter(|_| keeps)),
        since: None,
    };
    PlannedChange { uri: file.uri.to_string(), before: Some(mark(file)), after: Some(after), why, change: Some(change) }
}
