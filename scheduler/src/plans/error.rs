//! Reasons why a plan is not made or applied.

use chrono::{DateTime, Utc};
use millwork_tracking::TrackingError;

/// Reason why a plan is not made or applied.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The request cannot be planned.
    #[error("{0}")]
    Bad(String),
    /// There is no such plan.
    #[error("no plan `{0}` is known: those that were applied are kept for 90 days, others for an hour; make a new one")]
    Unknown(String),
    /// The plan belongs to another operator.
    #[error("plan `{id}` was made by `{actor}`: nobody else applies it; make one of your own")]
    OfAnother {
        /// Id of the plan.
        id: String,
        /// Creator of the plan.
        actor: String,
    },
    /// The plan has expired.
    #[error("plan `{id}` could be applied until {}: nothing of it was done; make a new one", .until.format("%Y-%m-%dT%H:%M:%SZ"))]
    Expired {
        /// Id of the plan.
        id: String,
        /// Expiry time.
        until: DateTime<Utc>,
    },
    /// The plan has been applied.
    #[error("plan `{id}` was applied already; what came of it stays to be seen: make a new one for what is left")]
    Used {
        /// Id of the plan.
        id: String,
    },
    /// The plan is being applied.
    #[error("plan `{id}` is being applied just now: look at it to see how far it is")]
    Busy {
        /// Id of the plan.
        id: String,
    },
    /// All subjects of the plan have changed since its creation.
    #[error("all {count} of plan `{id}` had changed since it was made: nothing was done, {first}; make a new one")]
    AllChanged {
        /// Id of the plan.
        id: String,
        /// Number of subjects.
        count: String,
        /// First subject, with what happened to it.
        first: String,
    },
    /// There are too many open plans.
    #[error(
        "there are {limit} plans{whose} that can still be applied, the limit: apply one, or wait until {}, when the oldest expires",
        .until.format("%Y-%m-%dT%H:%M:%SZ")
    )]
    TooMany {
        /// Creator whose plans are counted, as ` by …`; empty if all are counted.
        whose: String,
        /// Limit of the number of open plans.
        limit: usize,
        /// Expiry time of the oldest open plan.
        until: DateTime<Utc>,
    },
    /// Concurrent changes prevented an update of the register of open plans.
    #[error("too many plans are being made at once: ask again")]
    Crowded,
    /// The store failed. An application that was begun can be resumed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
}
