//! Reasons why a plan is not made or applied.

use chrono::{DateTime, Utc};
use millwork_tracking::TrackingError;

/// Reason why a plan is not made or applied.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A request of which no plan can be made.
    #[error("{0}")]
    Bad(String),
    /// A plan that is not known.
    #[error("no plan `{0}` is known: those that were applied are kept for 90 days, others for an hour; make a new one")]
    Unknown(String),
    /// Somebody else's plan.
    #[error("plan `{id}` was made by `{actor}`: nobody else applies it; make one of your own")]
    OfAnother {
        /// The plan.
        id: String,
        /// Maker of the plan.
        actor: String,
    },
    /// A plan whose time is over.
    #[error("plan `{id}` could be applied until {}: nothing of it was done; make a new one", .until.format("%Y-%m-%dT%H:%M:%SZ"))]
    Expired {
        /// The plan.
        id: String,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// A plan that was applied.
    #[error("plan `{id}` was applied already; what came of it stays to be seen: make a new one for what is left")]
    Used {
        /// The plan.
        id: String,
    },
    /// A plan that is being applied.
    #[error("plan `{id}` is being applied just now: look at it to see how far it is")]
    Busy {
        /// The plan.
        id: String,
    },
    /// A plan whose subjects have all changed since.
    #[error("all {count} of plan `{id}` had changed since it was made: nothing was done, {first}; make a new one")]
    AllChanged {
        /// The plan.
        id: String,
        /// The subjects.
        count: String,
        /// First subject, with what happened to it.
        first: String,
    },
    /// More plans that can still be applied than there may be.
    #[error(
        "there are {limit} plans{whose} that can still be applied, the limit: apply one, or wait until {}, when the oldest expires",
        .until.format("%Y-%m-%dT%H:%M:%SZ")
    )]
    TooMany {
        /// Maker of those that count, as ` by …`; empty if all count.
        whose: String,
        /// Limit of their number.
        limit: usize,
        /// Time until which the oldest can be applied.
        until: DateTime<Utc>,
    },
    /// A register of plans that others changed each time.
    #[error("too many plans are being made at once: ask again")]
    Crowded,
    /// The store failed. What was begun can be gone on with.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
}
