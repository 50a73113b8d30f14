//! Events, as the scheduler tells them by itself.

use crate::{Failure, words};
use chrono::{DateTime, Utc};
use millwork_manifest::{ManifestId, RunState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the data of an event is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Event)]
pub enum EventData {
    /// Whether this process runs the manifests.
    Role(Role),
    /// A run has changed.
    Run(RunChange),
    /// The listener was too slow.
    Lagged(Lagged),
}

/// Event `role`: comes first, and when a standby begins to run the manifests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Role {
    /// Whether this process runs the manifests. While it does not, no run changes here.
    pub leads: bool,
}

/// Event `run`: a run has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunChange {
    /// The run.
    #[schema(value_type = String)]
    pub manifest_id: ManifestId,
    #[schema(schema_with = words::run_state)]
    pub state: RunState,
    /// Its attempt; 0 if that does not matter any more.
    pub attempt: u32,
    /// Why it failed, or its attempt did.
    #[schema(required)]
    pub failure: Option<Failure>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Event `lagged`: the listener was too slow, and has to fetch anew what it shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lagged {
    /// How many events it missed.
    pub missed: u64,
}

impl EventData {
    /// Name of the event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Role(_) => "role",
            Self::Run(_) => "run",
            Self::Lagged(_) => "lagged",
        }
    }
}
