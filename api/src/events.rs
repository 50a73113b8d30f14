//! Events that the scheduler streams to clients.

use crate::{AnyOf, Failure, Run, RunProgress, Stats, Word, words};
use chrono::{DateTime, Utc};
use millwork_manifest::{ManifestId, RunState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Data of an event; the name of the event tells its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Event)]
pub enum EventData {
    /// Role of this process: whether it runs the manifests.
    Role(Role),
    /// A run has changed.
    Run(Box<RunChange>),
    /// A run is further.
    Progress(Box<RunProgress>),
    /// Numbers have changed.
    Stats(Box<Stats>),
    /// The listener was too slow.
    Lagged(Lagged),
}

/// Event `role`: comes first, and when a standby begins to run the manifests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Role {
    /// True while this process runs the manifests. While it does not, no run changes here.
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
    /// Number of the attempt; 0 if that does not matter any more.
    pub attempt: u32,
    /// Failure of the run, or of its attempt.
    #[schema(required)]
    pub failure: Option<Failure>,
    /// Moment of the change.
    pub at: DateTime<Utc>,
    /// The run as it was just after that; null where nobody listened then.
    #[serde(default)]
    #[schema(required)]
    pub run: Option<Run>,
}

/// Topic of events that a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Changes of runs.
    Run,
    /// Progress of runs, once per second.
    Progress,
    /// Statistics, every three seconds if changed.
    Stats,
}

impl Word for Topic {
    const WORDS: &'static [Self] = &[Self::Run, Self::Progress, Self::Stats];

    fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Progress => "progress",
            Self::Stats => "stats",
        }
    }
}

/// Subscription to events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Topics of the events, with commas between: run, progress, stats. Only `run` unless told.
    #[serde(default, skip_serializing_if = "AnyOf::is_empty")]
    #[param(value_type = String, required = false)]
    pub topics: AnyOf<Topic>,
}

/// Event `lagged`: the listener was too slow, or away for too long, and has to fetch anew what it shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lagged {
    /// Number of events that the listener missed; 0 if that is not known.
    pub missed: u64,
}

impl EventData {
    /// Name of the event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Role(_) => "role",
            Self::Run(_) => "run",
            Self::Progress(_) => "progress",
            Self::Stats(_) => "stats",
            Self::Lagged(_) => "lagged",
        }
    }
}
