//! Results of examining and changing the subject of a plan.

use millwork_api::{Change, ChangeResult, Refusal};

/// Result of examining a subject.
pub(super) enum Looked {
    Change(Change),
    Refused(Refusal),
}

/// Result of a change, with an optional explanation.
pub(super) type Made = (ChangeResult, Option<String>);

pub(super) fn refused(subject: &str, reason: String) -> Looked {
    Looked::Refused(Refusal { subject: subject.to_owned(), reason })
}

/// Planned change from one state to another; `bytes` is the size of its input, if known.
pub(super) fn planned(subject: &str, version: String, (before, after): (String, String), bytes: Option<u64>) -> Looked {
    Looked::Change(Change { subject: subject.to_owned(), version, before, after, bytes, result: None, message: None })
}
