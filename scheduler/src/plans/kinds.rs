//! Actions of plans: for each, a function that examines a subject and one that changes it.

use super::found::{Looked, Made, refused};
use super::{files, letters, rounds, runs, states};
use crate::service::Service;
use millwork_api::{Action, Change, Plan};
use millwork_tracking::TrackingResult;
use std::ops::Range;

/// Determines how an action would change a subject, without changing it.
pub(super) async fn look(service: &Service, action: Action, subject: &str) -> TrackingResult<Looked> {
    match action {
        Action::Retry | Action::Cancel | Action::Force | Action::Priority(_) => {
            runs::look(service, action, subject).await
        }
        Action::Redrive => files::look(service, subject).await,
        Action::Reset | Action::SetState(_) => states::look_at_file(service, action, subject).await,
        Action::Recount => states::look_at_date(service, subject).await,
        Action::Cut | Action::Sweep => rounds::look(service, action, subject).await,
        // Dead letters are examined all together.
        Action::RedriveDeadLetters => Ok(refused(subject, "a dead letter is not looked at alone".to_owned())),
    }
}

/// State that the changes of a step share.
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

    /// Releases what was prepared.
    pub(super) async fn end(mut self) {
        self.letters.release().await;
    }
}

/// Makes a change of a plan, if its subject is unchanged. `is_repeated` tells that the change may have been made before
/// a crash.
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
