//! Notes of what was done, and changes that are planned.
//!
//! A note is written before its effect, without an outcome, and once more after it, with one: a note that has none after a
//! while is of something that broke off. A planned change is text to the store.

use chrono::{DateTime, SecondsFormat, Utc};
use millwork_manifest::DatePrefix;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Limit of a note or of a planned change as it is stored in DynamoDB, compressed, in bytes: an item has at most 400 KB, of
/// which keys and other attributes need some.
pub const MAX_RECORD_BYTES: usize = 350_000;

/// Notes that one page of a listing looks at when it shows only those of one subject: what it costs at most.
pub(crate) const MAX_LOOK: usize = 1000;

/// The way by which somebody asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A page of the web UI.
    Ui,
    /// The HTTP API.
    Api,
    /// A command, with a scheduler or directly on a state.
    Cli,
    /// A service, by itself.
    Service,
}

impl Via {
    /// Name of the way, as it is stored and shown.
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

/// Note of what an operator, or a service on nobody's behalf, did. It is known by its time and id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Id, which no other note of its time has.
    pub id: String,
    /// Time at which it was about to be done.
    pub at: DateTime<Utc>,
    /// Actor: the id of a token, a user and host, or a process.
    pub actor: String,
    /// Way by which it was asked for.
    pub via: Via,
    /// Word for what was done.
    pub action: String,
    /// Reason, as the operator says it.
    #[serde(default)]
    pub reason: Option<String>,
    /// Plan that it is the application of.
    #[serde(default)]
    pub plan: Option<String>,
    /// Runs, files and the like that it was about.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// State before, in words.
    #[serde(default)]
    pub before: Option<String>,
    /// State that was wanted, in words.
    #[serde(default)]
    pub after: Option<String>,
    /// Result, in words; none until it is known.
    #[serde(default)]
    pub outcome: Option<String>,
}

impl AuditEntry {
    /// Note of what a service has done by itself. The same note, left again, is one note.
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

    /// The place of the note among those of its day.
    pub(crate) fn place(&self) -> String {
        format!("{}#{}", self.at.to_rfc3339_opts(SecondsFormat::Micros, true), self.id)
    }

    /// Tells whether the note is about a subject.
    pub(crate) fn is_about(&self, subject: &str) -> bool {
        self.subjects.iter().any(|of| of == subject)
    }
}

/// Notes that a listing shows, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFilter {
    /// Day of the notes, in UTC.
    pub day: DatePrefix,
    /// Subject that they are about. A page then looks at a bounded number of notes, and may be empty though there are more.
    pub subject: Option<String>,
    /// Number of notes of a page at most, above 0.
    pub limit: usize,
    /// Place after which the page begins: `next_cursor` of the page before; none for the first page.
    pub cursor: Option<String>,
}

/// Planned change, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRecord {
    /// Id of the plan.
    pub id: String,
    /// Number of writes so far: each write is on condition of the revision that was read, and adds one.
    pub revision: u64,
    /// Time after which the store may forget it.
    pub forget_after: DateTime<Utc>,
    /// Document of the plan.
    pub document: String,
}
