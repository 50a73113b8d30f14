//! Diagnosis of a subject: cause, evidence, next event, and a safe action.

use crate::{Code, Standing, Subject};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Cause for which a subject is as it is, what happens next, and what may be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Diagnosis {
    /// Subject that was asked about.
    pub subject: Subject,
    /// The cause, by its stable name.
    pub code: Code,
    /// Need for a person to act before the subject gets on.
    pub standing: Standing,
    /// Time since which the subject is as it is, if that is known.
    #[schema(required)]
    pub since: Option<DateTime<Utc>>,
    /// The cause in words, with the numbers of this case. Control characters are escaped.
    pub sentence: String,
    /// Facts that the diagnosis rests on.
    pub evidence: Vec<Evidence>,
    /// Event that comes next.
    pub next: Next,
    /// The one thing that can be done safely, if there is one.
    #[schema(required)]
    pub action: Option<SafeAction>,
    /// The chapter of the runbook.
    pub runbook: String,
}

/// Something that a diagnosis rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Subject of the fact, such as `lock` or `object`.
    pub what: String,
    /// Finding. Control characters are escaped.
    pub found: String,
}

/// Event that comes next for a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Next {
    /// Event that happens, or that is waited for.
    pub what: String,
    /// Moment, about, where that is known.
    #[schema(required)]
    pub at: Option<DateTime<Utc>>,
    /// True if it happens without anybody's doing.
    pub by_itself: bool,
}

/// Something that can be done without losing or doubling a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SafeAction {
    /// Name of the action.
    pub kind: ActionKind,
    /// The effect, in words, as a button has it.
    pub label: String,
    /// The command that does it. It shows what would change first, unless its help says otherwise.
    pub command: String,
}

/// Names of safe actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Tracks a file that is unknown to the store.
    Backfill,
    /// Returns an event from the dead-letter queue to its queue.
    RedriveDeadLetter,
    /// Makes a manifest of the pending files of a date, regardless of their size.
    CutNow,
    /// Finishes drafts left by a crash, and makes the manifests that are due.
    SweepNow,
    /// Recounts the pending files of a date.
    Recount,
    /// Makes files of abandoned submissions pending again.
    ReleaseNow,
    /// Raises the priority of a queued run.
    RaisePriority,
    /// Starts the next attempt of a run without the remaining pause.
    StartNow,
    /// Cancels a run and queues it again.
    CancelAndRetry,
    /// Queues a failed or cancelled run again.
    Retry,
    /// Converts a completed run again; the new output replaces the previous one.
    Force,
    /// Makes a stuck file without a run pending again.
    Reset,
    /// Takes back a refused file that the rules accept now.
    Redrive,
    /// Converts newer content of a file; the rows of the old content remain.
    Reprocess,
}
