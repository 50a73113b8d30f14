//! Actions, each with what looks at a subject and what changes it.

use super::{files, runs, states};
use crate::service::Service;
use millwork_api::{Action, Change, ChangeResult, Refusal};
use millwork_tracking::TrackingResult;

/// Subject as it was looked at.
pub(super) enum Looked {
    Change(Change),
    Refused(Refusal),
}

/// Result of a change, with a message that tells more about it.
pub(super) type Made = (ChangeResult, Option<String>);

/// Says what an action would change of a subject. Nothing is changed.
pub(super) async fn look(service: &Service, action: Action, subject: &str) -> TrackingResult<Looked> {
    match action {
        Action::Retry | Action::Cancel | Action::Force | Action::Priority(_) => {
            runs::look(service, action, subject).await
        }
        Action::Redrive => files::look(service, subject).await,
        Action::Reset | Action::SetState(_) => states::look_at_file(service, action, subject).await,
        Action::Recount => states::look_at_date(service, subject).await,
    }
}

/// Changes a subject, if it is as it was seen. `is_repeated` if that may have been done before the process died; `note` says who wants
/// it and why, for the subject's own record.
pub(super) async fn make(
    service: &Service,
    action: Action,
    change: &Change,
    is_repeated: bool,
    note: &str,
) -> TrackingResult<Made> {
    match action {
        Action::Retry | Action::Cancel | Action::Force | Action::Priority(_) => {
            runs::make(service, action, change, is_repeated).await
        }
        Action::Redrive => files::make(service, change, is_repeated).await,
        Action::Reset | Action::SetState(_) => states::make_file(service, action, change, is_repeated, note).await,
        Action::Recount => states::make_date(service, change).await,
    }
}

pub(super) fn refused(subject: &str, reason: String) -> Looked {
    Looked::Refused(Refusal { subject: subject.to_owned(), reason })
}

/// A change from one state to another, of so many bytes of input, if that is known.
pub(super) fn planned(subject: &str, version: String, (before, after): (String, String), bytes: Option<u64>) -> Looked {
    Looked::Change(Change { subject: subject.to_owned(), version, before, after, bytes, result: None, message: None })
}
