//! Audit records of operators' actions: written before the effect, and completed after it.
//!
//! | crash | what remains | meaning |
//! |---|---|---|
//! | before the record | nothing | nothing was done |
//! | after it, before or during the effect | a record without an outcome | the action was about to be done; the state of the subject tells the rest |
//! | after the effect, before the record is completed | the same | the same |
//!
//! An action that cannot be recorded is refused, so that every effect has a record.

use crate::service::Service;
use chrono::{DateTime, Utc};
use millwork_tracking::{AuditEntry, AuditStore, TrackingError, Via};
use std::fmt::Display;

/// Limit of the outcome in a record, in bytes: the same as for messages of failures.
const MAX_OUTCOME_BYTES: usize = millwork_manifest::MAX_MESSAGE_BYTES;

/// Limit of a reason, in characters: a paragraph.
pub(crate) const MAX_REASON_CHARS: usize = 1000;

/// Tells whether a text is more than blanks and invisible characters.
pub(crate) fn is_reason(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Caller of a change, and the interface used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Id of a token, or user and host.
    pub actor: String,
    /// Interface through which the change was requested.
    pub via: Via,
}

/// A change that is about to be made to one subject.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) action: &'static str,
    pub(crate) subject: String,
    pub(crate) before: Option<String>,
    pub(crate) after: String,
    /// Reason given by the operator.
    pub(crate) reason: Option<String>,
}

impl Service {
    /// Carries out a change between writing and completing its audit record. Continues even if the caller stops
    /// waiting.
    pub(crate) async fn audited<T, E>(
        &self,
        who: &Operator,
        deed: Deed,
        effect: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<TrackingError> + Display + Send + 'static,
    {
        let mut entry = AuditEntry {
            id: uuid::Uuid::new_v4().simple().to_string(),
            at: Utc::now(),
            actor: who.actor.clone(),
            via: who.via,
            action: deed.action.to_owned(),
            reason: deed.reason,
            plan: None,
            subjects: vec![deed.subject],
            before: deed.before,
            after: Some(deed.after),
            outcome: None,
        };
        let store = self.store().clone();
        let work = tokio::spawn(async move {
            store.audit(&entry).await?;
            let done = effect.await;
            entry.outcome = Some(match &done {
                Ok(_) => "done".to_owned(),
                Err(error) => cut(format!("refused: {error}")),
            });
            complete(&*store, &entry).await;
            done
        });
        work.await
            .map_err(|error| TrackingError::Corrupt { what: "a task that ended early", value: error.to_string() })?
    }
}

/// Record of a change that is about to be made, with its caller and reason only.
pub fn note(action: String, who: &Operator, reason: &str, at: DateTime<Utc>) -> AuditEntry {
    AuditEntry {
        id: uuid::Uuid::new_v4().simple().to_string(),
        at,
        actor: who.actor.clone(),
        via: who.via,
        action,
        reason: Some(reason.to_owned()),
        plan: None,
        subjects: Vec::new(),
        before: None,
        after: None,
        outcome: None,
    }
}

/// Completes a record. On failure the record stays without an outcome, since the effect has happened.
pub(crate) async fn complete(store: &dyn AuditStore, entry: &AuditEntry) {
    if let Err(error) = store.audit(entry).await {
        tracing::warn!(action = entry.action, id = entry.id, %error, "the outcome of a change cannot be noted");
    }
}

/// Interface of a change, as the API's type.
pub(crate) fn via(via: Via) -> millwork_api::Via {
    match via {
        Via::Ui => millwork_api::Via::Ui,
        Via::Api => millwork_api::Via::Api,
        Via::Cli => millwork_api::Via::Cli,
        Via::Service => millwork_api::Via::Service,
    }
}

fn cut(mut text: String) -> String {
    while text.len() > MAX_OUTCOME_BYTES {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_words_that_can_be_seen() {
        assert!(is_reason("x") && is_reason(" übernommen ") && is_reason("停電"));
        for none in ["", " \n", "\u{200b}", "\u{feff}\u{2060}", "---", "\u{1b}"] {
            assert!(!is_reason(none), "{none:?}");
        }
    }
}
