//! The codes of diagnoses. They are stable: programs, alerts and the chapters of the runbook are named by them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Need for a person to act before a subject gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nobody: it is done, or is no matter for Millwork.
    Settled,
    /// Nobody: it gets on by itself.
    Moves,
    /// A person: nothing gets on before somebody has looked.
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
            /// Every code, in the order of a file's life.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name under which the code is stored, shown and found in the runbook.
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
    /// An object that no event and no listing has told of.
    NeverSeen "never-seen" NeedsYou;
    /// A name that neither the store nor the storage knows.
    NoObject "no-object" NeedsYou;
    /// An unknown file whose object could not be looked at.
    NotLooked "not-looked" NeedsYou;
    /// A name outside the places of input: nothing there is looked at.
    Foreign "foreign" Settled;
    /// A name below a place that Millwork writes to.
    OwnPlace "own-place" Settled;
    /// An unknown file while events wait in the queue.
    EventsBehind "events-behind" Moves;
    /// A file whose event is among the dead letters.
    DeadLetter "dead-letter" NeedsYou;
    /// A file that the store has forgotten after its time.
    Forgotten "forgotten" Settled;
    /// A file that was refused on arrival.
    Refused "refused" NeedsYou;
    /// A pending file whose date waits for more files.
    Filling "filling" Moves;
    /// A pending file that an earlier manifest gave back.
    SentBack "sent-back" Moves;
    /// A pending file that the counters of its date have lost.
    Uncounted "uncounted" Moves;
    /// A pending file whose batch is due and is cut by the next builder that looks.
    Due "due" Moves;
    /// A pending file whose batch is due while somebody holds the lock of its date.
    DueLocked "due-locked" Moves;
    /// A pending file whose batch is due and that no builder looks after.
    DueNoBuilder "due-no-builder" NeedsYou;
    /// A file or manifest in a draft that is not finished.
    Draft "draft" Moves;
    /// A file in a manifest whose submission was not finished.
    HalfSubmitted "half-submitted" Moves;
    /// A run that waits for its turn.
    Queued "queued" Moves;
    /// A run that is tried again later.
    RetryWaits "retry-waits" Moves;
    /// A run that waits for a free slot.
    NoSlots "no-slots" Moves;
    /// A run while no executor is connected.
    NoExecutors "no-executors" NeedsYou;
    /// A run while no scheduler runs manifests.
    NoLeader "no-leader" NeedsYou;
    /// A run whose input is looked at and whose plan is made.
    Planning "planning" Moves;
    /// A run that executors convert.
    Converting "converting" Moves;
    /// A run that takes longer than runs of its size do.
    Slow "slow" NeedsYou;
    /// A run that has lost tasks with an executor.
    LostTask "lost-task" Moves;
    /// A run that ends by request as soon as its attempt has stopped.
    Cancelling "cancelling" Moves;
    /// A run whose output is decided on and gets its names.
    Publishing "publishing" Moves;
    /// A run whose output is decided on and cannot be shown.
    Unpublishable "unpublishable" NeedsYou;
    /// A file that is in a run which has ended, or is not there.
    Orphan "orphan" NeedsYou;
    /// A file, or a run because of one, that cannot be converted as it is.
    AtFault "at-fault" NeedsYou;
    /// A run that failed for good.
    RunFailed "run-failed" NeedsYou;
    /// A run that was ended by request.
    Cancelled "cancelled" NeedsYou;
    /// A file whose object has other content than its manifest says.
    Changed "changed" NeedsYou;
    /// A file whose object is gone before it was converted.
    Gone "gone" NeedsYou;
    /// A subject whose rows are in a committed output.
    Done "done" Settled;
    /// A file that was read to its end, and of which no line became a row.
    NoRows "no-rows" NeedsYou;
    /// A converted file whose object has newer content.
    DoneOverwritten "done-overwritten" NeedsYou;
    /// A converted subject whose output is not where its commit says.
    DoneOutputMissing "done-output-missing" NeedsYou;
    /// A name of a run that the store does not know.
    UnknownRun "unknown-run" NeedsYou;
    /// A date of which the store knows nothing.
    EmptyDate "empty-date" Settled;
    /// An executor that has tasks.
    ExecutorWorks "executor-works" Moves;
    /// An executor that has nothing to do.
    ExecutorIdle "executor-idle" Settled;
    /// An executor that finishes what it has and then leaves.
    ExecutorDrains "executor-drains" Moves;
    /// A name of an executor that is not connected.
    ExecutorAway "executor-away" NeedsYou;
}

impl Code {
    /// The chapter of the runbook that is about this code.
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
