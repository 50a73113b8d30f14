//! Schedulers that share a state, settings in force, and versions of a program.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The schedulers of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Schedulers {
    /// The schedulers, the one that runs the manifests first.
    pub items: Vec<SchedulerInfo>,
}

/// A scheduler, by its own word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SchedulerInfo {
    /// Name of the scheduler: machine and process.
    pub name: String,
    /// True while the scheduler runs the manifests.
    pub leads: bool,
    /// Address of its HTTP API.
    pub http: String,
    /// Version of the scheduler.
    pub version: String,
    /// Moment it started.
    pub started_at: DateTime<Utc>,
    /// Since when it runs the manifests; null if it stands by.
    #[schema(required)]
    pub leads_since: Option<DateTime<Utc>>,
    /// Until when it holds the lock of the runs if it is not renewed; null if it stands by, or holds a file.
    #[schema(required)]
    pub lease_until: Option<DateTime<Utc>>,
    /// Moment it last left word.
    pub last_seen: DateTime<Utc>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Config {
    /// The settings, in the order of the command's help.
    pub items: Vec<Setting>,
    /// Versions of the program and of its engine.
    pub build: Build,
    /// Moment the process started.
    pub started_at: DateTime<Utc>,
}

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// Option of the setting, such as `--target-file-mb`.
    pub name: String,
    /// Environment variable of the setting, if it has one.
    #[schema(required)]
    pub variable: Option<String>,
    /// Value of the setting; null if it has none.
    #[schema(required)]
    pub value: Option<String>,
    /// Origin of the value.
    pub origin: Origin,
}

/// Origin of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Default: set neither by an option nor by the environment.
    Default,
    /// Preset of the selected profile.
    Profile,
    /// Environment variable.
    Env,
    /// Command-line option.
    Flag,
}

/// Versions of a program and of its engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    /// Millwork's version.
    pub version: String,
    /// The commit it was built from, if that is known.
    #[schema(required)]
    pub commit: Option<String>,
    /// DataFusion's version.
    pub datafusion: String,
    /// Ballista's version.
    pub ballista: String,
}
