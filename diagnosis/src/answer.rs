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
    /// Moment it came to this, where that is known.
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
    /// Takes in a file that was never seen.
    Backfill,
    /// Puts an event back that became a dead letter.
    RedriveDeadLetter,
    /// Makes a manifest of what waits, however little it is.
    CutNow,
    /// Finishes what a crash left, and makes manifests of what is due.
    SweepNow,
    /// Counts what waits anew.
    Recount,
    /// Puts back files of submissions that died.
    ReleaseNow,
    /// Lets a run start before others.
    RaisePriority,
    /// Lets a run start its next attempt now.
    StartNow,
    /// Ends a run and queues it once more.
    CancelAndRetry,
    /// Queues a run once more.
    Retry,
    /// Converts a completed run once more, in place of its output.
    Force,
    /// Puts a file back that no run has.
    Reset,
    /// Puts a refused file back that the rules accept.
    Redrive,
    /// Converts newer content of a file beside its old rows.
    Reprocess,
}
