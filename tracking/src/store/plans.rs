//! Store of planned changes.

use crate::{PlanRecord, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Planned changes.
#[async_trait]
pub trait PlanStore: Send + Sync {
    /// Keeps a plan, and forgets some whose time is over; false, and no change, if there is another of that id. One that is kept already as it is given is no error.
    async fn put_plan(&self, plan: &PlanRecord, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// A plan, as it is now.
    async fn plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>>;

    /// Writes a plan anew, if the one that is kept has the revision before; else false, and no change.
    async fn update_plan(&self, plan: &PlanRecord) -> TrackingResult<bool>;
}
