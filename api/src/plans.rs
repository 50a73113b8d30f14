//! Change plans: a preview of exact changes, and their application without further ones.

use crate::{DateQuery, FileQuery, Priority, RunQuery, Via};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Change that can be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Runs that failed or were cancelled are queued once more.
    Retry,
    /// Runs are ended: at once if they wait, else as soon as their attempt has stopped.
    Cancel,
    /// Completed runs are converted once more, for an output that takes the place of the one they have.
    Force,
    /// Queued runs get this priority.
    Priority(Priority),
    /// Quarantined and failed files are taken back, if the rules of today accept them.
    Redrive,
    /// Stuck files are put back as their runs prescribe: pending, failed or completed.
    Reset,
    /// Files get this state, if that can neither lose nor double rows.
    SetState(WantedState),
    /// Dates are counted anew.
    Recount,
    /// Manifests are made of all files of dates that wait, however few, by the next builder that looks.
    Cut,
    /// Dates are swept by the next builder that looks: it finishes what a crash left, and cuts what is due.
    Sweep,
    /// Messages that nobody could process are put back into the queue that they came from.
    RedriveDeadLetters,
}

/// State that an operator can give a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WantedState {
    /// File queued for a new manifest.
    Pending,
    /// File refused by an operator.
    Quarantined,
}

impl fmt::Display for WantedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Quarantined => "quarantined",
        })
    }
}

impl Action {
    /// Word for the action in commands, paths and the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Force => "force",
            Self::Priority(_) => "priority",
            Self::Redrive => "redrive",
            Self::Reset => "reset",
            Self::SetState(_) => "set-state",
            Self::Recount => "recount",
            Self::Cut => "cut",
            Self::Sweep => "sweep",
            Self::RedriveDeadLetters => "redrive-dead-letters",
        }
    }

    /// Kind of its subjects.
    pub fn subjects(self) -> SubjectKind {
        match self {
            Self::Retry | Self::Cancel | Self::Force | Self::Priority(_) => SubjectKind::Run,
            Self::Redrive | Self::Reset | Self::SetState(_) => SubjectKind::File,
            Self::Recount | Self::Cut | Self::Sweep => SubjectKind::Date,
            Self::RedriveDeadLetters => SubjectKind::Message,
        }
    }

    /// True if the action causes conversion of input that would otherwise not be converted.
    pub fn converts(self) -> bool {
        matches!(self, Self::Retry | Self::Force | Self::Redrive | Self::SetState(WantedState::Pending))
    }

    /// True if the action requires the role admin, and a reason.
    pub fn needs_admin(self) -> bool {
        matches!(self, Self::Reset | Self::SetState(_))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Priority(Priority(priority)) => write!(f, "priority {priority}"),
            Self::SetState(state) => write!(f, "set-state {state}"),
            other => f.write_str(other.word()),
        }
    }
}

/// Kind of what is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectKind {
    /// A run, by the id of its manifest.
    Run,
    /// A file, by its URI.
    File,
    /// A date, as YYYY-MM-DD.
    Date,
    /// Dead letter, as the name of its queue, a slash, and the id of the message: `files/4a1c9d0e-…`.
    Message,
}

impl SubjectKind {
    /// Noun for one subject of this kind.
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::File => "file",
            Self::Date => "date",
            Self::Message => "message",
        }
    }

    /// Number of subjects with the noun: `1 run`, `2 runs`.
    pub fn counted(self, number: usize) -> String {
        let word = self.word();
        format!("{number} {word}{}", if number == 1 { "" } else { "s" })
    }
}

/// Subjects of a change: by name, or all that match the query of a listing now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Ids of runs, URIs of files, dates, or dead letters: 1 to 1,000.
    Ids(Vec<String>),
    /// Runs that match.
    Runs(RunQuery),
    /// Files that match.
    Files(FileQuery),
    /// Dates in a range of which there is something to do.
    Dates(DateQuery),
    /// Dead letters that match.
    DeadLetters(DeadLetterQuery),
}

/// Queue of events: of new files, which builders read, or of new manifests, which schedulers do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventQueue {
    /// Queue of events for new files.
    #[default]
    Files,
    /// Queue of events for new manifests.
    Manifests,
}

impl EventQueue {
    /// Name of the queue.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Manifests => "manifests",
        }
    }
}

/// Dead letters that are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterQuery {
    /// Queue that they came from.
    #[serde(default)]
    pub queue: EventQueue,
    /// Reason for which they were put away, such as `received-too-often`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub reason: Option<String>,
}

/// Wish for a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// Change.
    pub action: Action,
    /// Subjects.
    pub select: Select,
    /// Reason, for the notes: at most 1,000 characters.
    #[serde(default)]
    pub reason: Option<String>,
}

/// State of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanState {
    /// Plan that can be applied until it expires.
    Open,
    /// Expired plan, of which nothing was applied.
    Expired,
    /// Plan being applied, or interrupted while it was. A second request to apply it resumes it.
    Applying,
    /// Plan that was applied.
    Applied,
}

impl fmt::Display for PlanState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Expired => "expired",
            Self::Applying => "applying",
            Self::Applied => "applied",
        })
    }
}

/// Plan of changes, and how far its application is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Id of the plan.
    pub id: String,
    /// State of the plan.
    pub state: PlanState,
    /// Change.
    pub action: Action,
    /// Kind of its subjects.
    pub subjects: SubjectKind,
    /// Selection that it was made from.
    pub select: Select,
    /// Reason, in the operator's words.
    #[schema(required)]
    pub reason: Option<String>,
    /// Person or program that made the plan: nobody else can apply it.
    pub actor: String,
    /// Way by which it was made.
    pub via: Via,
    /// Time at which it was made.
    pub created_at: DateTime<Utc>,
    /// Time until which it can be applied.
    pub valid_until: DateTime<Utc>,
    /// Exactly what changes, in order.
    pub changes: Vec<Change>,
    /// Subjects that were selected and cannot change, each with the reason.
    pub refused: Vec<Refusal>,
    /// True if more match than one plan takes: make another plan after this.
    pub has_more: bool,
    /// Cost of what is converted because of it; null if nothing is.
    #[serde(default)]
    #[schema(required)]
    pub cost: Option<PlanCost>,
    /// Time at which its application began.
    #[schema(required)]
    pub applied_at: Option<DateTime<Utc>>,
}

/// Cost of what is converted because of a plan, as it was when the plan was made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanCost {
    /// Bytes of input, of the subjects whose size is known.
    pub bytes: u64,
    /// Subjects whose size is not known.
    pub unsized_subjects: u64,
    /// Dollars for these bytes, at the cost of a byte of the newest 30 dates with output; null if there are none.
    #[schema(required)]
    pub usd: Option<f64>,
}

impl Plan {
    /// Number of changes with this result.
    pub fn count(&self, result: ChangeResult) -> usize {
        self.changes.iter().filter(|change| change.result == Some(result)).count()
    }
}

/// Change of one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The run, file, date or dead letter.
    pub subject: String,
    /// Mark of what was seen: another one means that it has changed since.
    pub version: String,
    /// State that was seen, in words.
    pub before: String,
    /// State after the change, in words.
    pub after: String,
    /// Bytes of input that are converted because of the change; null if none are, or their number is not known.
    #[serde(default)]
    #[schema(required)]
    pub bytes: Option<u64>,
    /// Result of the change; null until it was tried.
    #[schema(required)]
    pub result: Option<ChangeResult>,
    /// More about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub message: Option<String>,
}

/// Result of a planned change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeResult {
    /// Completed change.
    Done,
    /// Omitted change: its subject had changed since the creation of the plan.
    Skipped,
    /// Change that failed.
    Failed,
}

impl fmt::Display for ChangeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        })
    }
}

/// Subject that cannot change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The run, file, date or dead letter.
    pub subject: String,
    /// Reason why not, and what can be done instead.
    pub reason: String,
}
