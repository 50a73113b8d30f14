//! Audit log: entries about actions of operators and services.

use crate::Limit;
use chrono::{DateTime, Utc};
use millwork_manifest::DatePrefix;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::{IntoParams, ToSchema};

/// Way by which something was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Page of the web UI.
    Ui,
    /// HTTP API.
    Api,
    /// Command line.
    Cli,
    /// Service, without a request.
    Service,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ui => "ui",
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Service => "service",
        })
    }
}

/// Note of what was done: written before the effect, and completed after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Id of the note; that of the plan, if it is the application of one.
    pub id: String,
    /// Time at which it was about to be done.
    pub at: DateTime<Utc>,
    /// Person or program that did it: the id of a token, a user and host, or a process.
    pub actor: String,
    /// Interface of the request.
    pub via: Via,
    /// Action, as one word such as `retry`.
    pub action: String,
    /// Reason, in the operator's words.
    #[schema(required)]
    pub reason: Option<String>,
    /// Plan that was applied.
    #[schema(required)]
    pub plan: Option<String>,
    /// Runs, files and the like that it was about.
    pub subjects: Vec<String>,
    /// State before, in words.
    #[schema(required)]
    pub before: Option<String>,
    /// State that was wanted, in words.
    #[schema(required)]
    pub after: Option<String>,
    /// Result, in words; null while it goes on, and for ever if it broke off.
    #[schema(required)]
    pub outcome: Option<String>,
}

/// Query of the audit log. Entries are listed newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Day, in UTC; today unless told.
    #[param(value_type = String, format = Date, required = false)]
    pub day: Option<DatePrefix>,
    /// Only notes about this run, file or the like. A page then looks at 1,000 notes, and can be empty though there are more.
    #[param(value_type = String, required = false)]
    pub subject: Option<String>,
    /// Number of notes at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    pub cursor: Option<String>,
}
