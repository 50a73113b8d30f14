//! Actions, each with what looks at a subject and what changes it.

use super::{files, letters, rounds, runs, states};
use crate::service::Service;
use millwork_api::{Action, Change, ChangeResult, Plan, Refusal};
use millwork_tracking::TrackingResult;
use std::ops::Range;

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
        Action::Cut | Action::Sweep => rounds::look(service, action, subject).await,
        // All that are meant are looked at together.
        Action::RedriveDeadLetters => Ok(refused(subject, "a dead letter is not looked at alone".to_owned())),
    }
}

/// Something that the changes of a step have in common.
pub(super) struct Step {
    letters: letters::Prepared,
    note: String,
}

impl Step {
    /// Prepares the changes of a step.
    pub(super) async fn prepare(service: &Service, plan: &Plan, step: Range<usize>) -> TrackingResult<Self> {
        let reason = plan.reason.as_deref().unwrap_or("no reason is given");
        let note = format!("plan {} of {}: {reason}", plan.id, plan.actor);
        let open = plan.changes[step].iter().filter(|change| change.result.is_none());
        let letters = match plan.action {
            Action::RedriveDeadLetters => {
                letters::Prepared::new(service, open.map(|change| change.subject.as_str())).await?
            }
            _ => letters::Prepared::default(),
        };
        Ok(Self { letters, note })
    }

    /// Lets go of what was prepared.
    pub(super) async fn end(mut self) {
        self.letters.release().await;
    }
}

/// Changes a subject of a plan, if it is as it was seen. `is_repeated` if that may have been done before the process died.
pub(super) async fn make(
    service: &Service,
    plan: &Plan,
    step: &mut Step,
    change: &Change,
    is_repeated: bool,
) -> TrackingResult<Made> {
    let action = plan.action;
    match action {
        Action::Retry | Action::Cancel | Action::Force | Action::Priority(_) => {
            runs::make(service, action, change, is_repeated).await
        }
        Action::Redrive => files::make(service, change, is_repeated).await,
        Action::Reset | Action::SetState(_) => {
            states::make_file(service, action, change, is_repeated, &step.note).await
        }
        Action::Recount => states::make_date(service, change).await,
        Action::Cut | Action::Sweep => rounds::make(service, plan, change, is_repeated).await,
        Action::RedriveDeadLetters => Ok(step.letters.make(change, is_repeated).await),
    }
}

pub(super) fn refused(subject: &str, reason: String) -> Looked {
    Looked::Refused(Refusal { subject: subject.to_owned(), reason })
}

/// A change from one state to another, of so many bytes of input, if that is known.
pub(super) fn planned(subject: &str, version: String, (before, after): (String, String), bytes: Option<u64>) -> Looked {
    Looked::Change(Change { subject: subject.to_owned(), version, before, after, bytes, result: None, message: None })
}
