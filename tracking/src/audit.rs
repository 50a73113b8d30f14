//! Audit records of changes, and stored change plans.
//!
//! A record is written before the effect, without an outcome, and again after it, with one: a record that still has
//! none after a while belongs to an interrupted change. The content of a plan is opaque text to the store.

use chrono::{DateTime, SecondsFormat, Utc};
use millwork_manifest::DatePrefix;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Limit of a compressed record or plan in DynamoDB, in bytes: an item has at most 400 KB, including keys and other
/// attributes.
pub const MAX_RECORD_BYTES: usize = 350_000;

/// Limit of the records that a page reads when it filters by subject.
pub(crate) const MAX_LOOK: usize = 1000;

/// Interface through which a change was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A page of the web UI.
    Ui,
    /// The HTTP API.
    Api,
    /// A command, through a scheduler or directly on a state.
    Cli,
    /// A service on its own initiative.
    Service,
}

impl Via {
    /// Name of the interface, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ui => "ui",
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Record of what an operator did, or a service on its own initiative. Identified by time and id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Id, unique among the records of the same time.
    pub id: String,
    /// Time just before the change was made.
    pub at: DateTime<Utc>,
    /// Actor: the id of a token, a user and host, or a process.
    pub actor: String,
    /// Interface through which it was requested.
    pub via: Via,
    /// Name of the action.
    pub action: String,
    /// Reason given by the operator.
    #[serde(default)]
    pub reason: Option<String>,
    /// Plan that was applied.
    #[serde(default)]
    pub plan: Option<String>,
    /// Subjects of the change, such as runs and files.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// State before, as text.
    #[serde(default)]
    pub before: Option<String>,
    /// Intended state, as text.
    #[serde(default)]
    pub after: Option<String>,
    /// Result, as text; `None` until it is known.
    #[serde(default)]
    pub outcome: Option<String>,
}

impl AuditEntry {
    /// Record of a completed action of a service. Writing the same record again has no effect.
    pub fn done(at: DateTime<Utc>, actor: String, action: &str, outcome: String) -> Self {
        let content = [actor.as_str(), action, &outcome].join("\0");
        let id = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self {
            id,
            at,
            actor,
            via: Via::Service,
            action: action.to_owned(),
            reason: None,
            plan: None,
            subjects: Vec::new(),
            before: None,
            after: None,
            outcome: Some(outcome),
        }
    }

    /// Sort position of the record among those of its day.
    pub(crate) fn place(&self) -> String {
        format!("{}#{}", self.at.to_rfc3339_opts(SecondsFormat::Micros, true), self.id)
    }

    /// Tells whether the record concerns a subject.
    pub(crate) fn is_about(&self, subject: &str) -> bool {
        self.subjects.iter().any(|of| of == subject)
    }
}

/// Filter for a listing of records, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFilter {
    /// Day of the records, in UTC.
    pub day: DatePrefix,
    /// Subject of the records. A page then reads a bounded number of records, and may be empty although there are more.
    pub subject: Option<String>,
    /// Limit of the records on a page, above 0.
    pub limit: usize,
    /// Position after which the page begins: `next_cursor` of the previous page; `None` for the first page.
    pub cursor: Option<String>,
}

/// A change plan, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRecord {
    /// Id of the plan.
    pub id: String,
    /// Number of writes so far: each write is conditional on the revision that was read, and increments it.
    pub revision: u64,
    /// Time after which the store may delete it.
    pub forget_after: DateTime<Utc>,
    /// Document of the plan.
    pub document: String,
}
