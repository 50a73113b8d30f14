//! Codes of diagnoses. Stable names, used by programs, alerts and the runbook.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Need for a person to act before a subject gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// No action: the subject is finished, or does not concern Millwork.
    Settled,
    /// No action: the subject advances by itself.
    Moves,
    /// Action by a person: the subject does not advance before that.
    NeedsYou,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $standing:ident;)+) => {
        /// Causes that a diagnosis can have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// All codes, in the order of a file's life.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name under which the code is stored, shown and found in the runbook.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Need for a person to act before the subject gets on.
            pub fn standing(self) -> Standing {
                match self {
                    $(Self::$variant => Standing::$standing,)+
                }
            }
        }
    };
}

codes! {
    /// An object that no event and no listing has announced.
    NeverSeen "never-seen" NeedsYou;
    /// A name that exists neither in the store nor in the storage.
    NoObject "no-object" NeedsYou;
    /// An unknown file whose object could not be looked up.
    NotLooked "not-looked" NeedsYou;
    /// A name outside the input places, where nothing is looked up.
    Foreign "foreign" Settled;
    /// A name below a place that Millwork writes to.
    OwnPlace "own-place" Settled;
    /// An unknown file, while events are waiting in the queue.
    EventsBehind "events-behind" Moves;
    /// A file whose event is among the dead letters.
    DeadLetter "dead-letter" NeedsYou;
    /// A file whose record has expired.
    Forgotten "forgotten" Settled;
    /// A file that was refused on arrival.
    Refused "refused" NeedsYou;
    /// A pending file, for whose date more files are awaited.
    Filling "filling" Moves;
    /// A pending file that an earlier manifest released.
    SentBack "sent-back" Moves;
    /// A pending file that is missing from the counters of its date.
    Uncounted "uncounted" Moves;
    /// A pending file whose batch is due, and will be cut by the next builder that checks.
    Due "due" Moves;
    /// A pending file whose batch is due, while another process holds the lock of its date.
    DueLocked "due-locked" Moves;
    /// A pending file whose batch is due, without any builder.
    DueNoBuilder "due-no-builder" NeedsYou;
    /// A file or manifest in an unfinished draft.
    Draft "draft" Moves;
    /// A file in a manifest whose submission was interrupted.
    HalfSubmitted "half-submitted" Moves;
    /// A queued run.
    Queued "queued" Moves;
    /// A run that will be retried later.
    RetryWaits "retry-waits" Moves;
    /// A run that waits for a free slot.
    NoSlots "no-slots" Moves;
    /// A run, while no executor is connected.
    NoExecutors "no-executors" NeedsYou;
    /// A run, while there is no leader.
    NoLeader "no-leader" NeedsYou;
    /// A run whose input is being surveyed and planned.
    Planning "planning" Moves;
    /// A run that executors are converting.
    Converting "converting" Moves;
    /// A run that takes longer than runs of its size usually do.
    Slow "slow" NeedsYou;
    /// A run that lost tasks with an executor.
    LostTask "lost-task" Moves;
    /// A run whose cancellation was requested, and whose attempt is stopping.
    Cancelling "cancelling" Moves;
    /// A committed run whose output is being published.
    Publishing "publishing" Moves;
    /// A committed run whose output cannot be published.
    Unpublishable "unpublishable" NeedsYou;
    /// A file in a run that has ended, or does not exist.
    Orphan "orphan" NeedsYou;
    /// A file that cannot be converted as it is, or a run with such a file.
    AtFault "at-fault" NeedsYou;
    /// A run that failed finally.
    RunFailed "run-failed" NeedsYou;
    /// A run that was cancelled by request.
    Cancelled "cancelled" NeedsYou;
    /// A file whose object has other content than stated in its manifest.
    Changed "changed" NeedsYou;
    /// A file whose object was removed before its conversion.
    Gone "gone" NeedsYou;
    /// A subject whose rows are in a committed output.
    Done "done" Settled;
    /// A file that was read completely, without any row.
    NoRows "no-rows" NeedsYou;
    /// A converted file whose object has newer content.
    DoneOverwritten "done-overwritten" NeedsYou;
    /// A converted subject whose output is missing.
    DoneOutputMissing "done-output-missing" NeedsYou;
    /// An unknown name of a run.
    UnknownRun "unknown-run" NeedsYou;
    /// A date without any data.
    EmptyDate "empty-date" Settled;
    /// An executor that has tasks.
    ExecutorWorks "executor-works" Moves;
    /// An executor without tasks.
    ExecutorIdle "executor-idle" Settled;
    /// An executor that finishes its tasks and then leaves.
    ExecutorDrains "executor-drains" Moves;
    /// An unknown name of an executor, or one that is not connected.
    ExecutorAway "executor-away" NeedsYou;
}

impl Code {
    /// Chapter of the runbook about this code.
    pub fn runbook(self) -> String {
        format!("docs/runbook.md#{}", self.as_str())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is no code of a diagnosis"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_stable_and_different() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn every_code_has_a_chapter_and_every_chapter_a_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut chapters: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        chapters.sort_unstable();
        let mut codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        codes.sort_unstable();
        assert_eq!(chapters, codes);
    }
}
