//! Stored form of plans.

use super::{KEEP, KEEP_UNUSED, PlanError, open};
use chrono::{DateTime, Utc};
use millwork_api::{Plan, PlanState};
use millwork_tracking::{PlanRecord, PlanStore, TrackingError};
use serde::{Deserialize, Serialize};

/// A plan, and the progress of its application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) plan: Plan,
    /// Number of changes, from the first, that have a result or may have been made.
    pub(super) begun: usize,
    /// Lock token of the present or last application.
    pub(super) token: u64,
}

/// A plan that was read, with the revision on which the next write is conditional.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) kept: Kept,
    revision: u64,
}

/// State of a plan at a time: an open plan expires at its expiry time.
pub(super) fn state_at(plan: &Plan, now: DateTime<Utc>) -> PlanState {
    match plan.state {
        PlanState::Open if plan.valid_until <= now => PlanState::Expired,
        state => state,
    }
}

/// Time from which a plan may be deleted.
fn forget_after(plan: &Plan) -> DateTime<Utc> {
    match plan.state {
        PlanState::Open | PlanState::Expired => plan.valid_until + KEEP_UNUSED,
        PlanState::Applying | PlanState::Applied => plan.created_at + KEEP,
    }
}

fn document(kept: &Kept) -> Result<String, TrackingError> {
    serde_json::to_string(kept).map_err(|e| TrackingError::Corrupt { what: "plan", value: e.to_string() })
}

/// Stores a new plan.
pub(super) async fn create(store: &dyn PlanStore, kept: &Kept, now: DateTime<Utc>) -> Result<(), PlanError> {
    let record = PlanRecord {
        id: kept.plan.id.clone(),
        revision: 1,
        forget_after: forget_after(&kept.plan),
        document: document(kept)?,
    };
    match store.put_plan(&record, now).await? {
        true => Ok(()),
        false => Err(TrackingError::Corrupt { what: "two plans of one id", value: record.id }.into()),
    }
}

pub(super) async fn read(store: &dyn PlanStore, id: &str) -> Result<Read, PlanError> {
    let record = if open::is_register(id) { None } else { store.plan(id).await? };
    let record = record.ok_or_else(|| PlanError::Unknown(id.chars().take(100).collect()))?;
    let kept = serde_json::from_str(&record.document)
        .map_err(|e| TrackingError::Corrupt { what: "plan", value: format!("{id}: {e}") })?;
    Ok(Read { kept, revision: record.revision })
}

impl Read {
    /// Writes the current plan. Fails with [`PlanError::Busy`] if another process has written it since it was read.
    pub(super) async fn save(&mut self, store: &dyn PlanStore) -> Result<(), PlanError> {
        let plan = &self.kept.plan;
        let record = PlanRecord {
            id: plan.id.clone(),
            revision: self.revision + 1,
            forget_after: forget_after(plan),
            document: document(&self.kept)?,
        };
        if !store.update_plan(&record).await? {
            return Err(PlanError::Busy { id: record.id });
        }
        self.revision += 1;
        Ok(())
    }
}
