//! Interface for change plans.

use crate::{PlanRecord, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Change plans.
#[async_trait]
pub trait PlanStore: Send + Sync {
    /// Stores a new plan, and deletes some expired ones. Returns false, without a change, if there is a different plan
    /// with that id. Storing the same plan again succeeds.
    async fn put_plan(&self, plan: &PlanRecord, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Current document of a plan.
    async fn plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>>;

    /// Replaces a plan if the stored revision is the previous one; returns false, without a change, otherwise.
    async fn update_plan(&self, plan: &PlanRecord) -> TrackingResult<bool>;
}
