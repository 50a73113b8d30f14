//! Diagnoses of files, runs, dates and executors: the cause of the present state, the next event and its time, and a
//! safe action.
//!
//! [`diagnose`] is a pure function from facts, settings and the time to a [`Diagnosis`]. It never panics, and every
//! combination of facts has exactly one [`Code`]. Codes are stable; each has a chapter in `docs/runbook.md`.
//! [`check_transition`] is the table of state changes allowed to operators. [`fold`] groups diagnoses by cause, for the
//! list of causes that need a person.
//!
//! The crate never reads a store, a file or a clock. Unknown facts are absent from [`Facts`], and not guessed.

mod answer;
mod ask;
mod attention;
mod code;
mod date;
mod executor;
mod facts;
mod file;
mod run;
#[cfg(test)]
mod tests;
mod transition;
mod waiting;
mod words;

pub use answer::{ActionKind, Diagnosis, Evidence, Next, SafeAction};
pub use attention::{AttentionItem, fold};
pub use code::{Code, Standing};
pub use facts::{
    BuilderFacts, ClusterFacts, DateFacts, EventFacts, ExecutorFacts, Facts, FileFacts, GoneFacts, Leader, LedgerRow,
    LockFacts, ObjectFacts, Obstacle, OutputFacts, Progress, QueuePlace, RunFacts, SentBack, Settings, SlotFacts,
    Subject, Usual, WishFacts,
};
pub use transition::{RunStanding, check_transition};
pub use words::{bytes, many, moment, number, shell_word, shown, span};

use ask::Ask;
use chrono::{DateTime, Utc};

/// Diagnoses a subject.
pub fn diagnose(subject: &Subject, facts: &Facts, settings: &Settings, now: DateTime<Utc>) -> Diagnosis {
    let ask = Ask { facts, settings, now };
    let answer = match subject {
        Subject::File(uri) => file::diagnose(&ask, uri),
        Subject::Run(id) => run::diagnose(&ask, id),
        Subject::Date(date) => date::diagnose(&ask, date),
        Subject::Executor(id) => executor::diagnose(&ask, id),
    };
    answer.finish(subject)
}
