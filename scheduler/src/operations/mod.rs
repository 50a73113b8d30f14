//! Operations on the state for operators: states of files, stuck files, inconsistencies, and changes of state.
//!
//! Operations work on any store, with or without a scheduler. Reading operations write nothing except through `record`, are
//! bounded, and report when a bound was reached. Writing operations first make a list of exact changes, each with the
//! state and version that was read; each is applied on the condition that these and its run are unchanged. An audit
//! record is written before, and completed after: a crash in between leaves the first one, and each file either changed
//! or unchanged.

mod change;
mod consistency;
mod mend;
mod orphans;
mod read;
mod reset;

pub use change::{Applied, ChangeMade, Outcome, PlannedChange, Requested, StateMark, check_reason};
pub use consistency::{Consistency, Finding, INVARIANTS, Scope};
pub use mend::{Mended, Mending};
pub use orphans::{Orphan, OrphanKind, Orphans};
pub use read::{DateStats, FileQuery, FileReport, FileStats, Story, StoryStep};
pub use reset::ResetQuery;

use crate::why::Inspector;
use millwork_tracking::TrackingStore;

/// Operations on one state.
#[derive(Clone)]
pub struct Operations {
    pub(crate) inspector: Inspector,
}

impl Operations {
    /// Operations on the store and places of an inspector.
    pub fn new(inspector: Inspector) -> Self {
        Self { inspector }
    }

    fn store(&self) -> &dyn TrackingStore {
        &*self.inspector.store
    }
}

/// Page size for reading files from a listing.
const PAGE: usize = 1000;
/// Limit of the files that an operation reads: 1,000,000, which takes some seconds in SQLite and some minutes in
/// DynamoDB.
pub const MAX_FILES_READ: usize = 1_000_000;
/// Limit of the findings that an operation reports: 1000. More would not be read; fixing the first ones leads to the
/// rest.
pub const MAX_FINDINGS: usize = 1000;
/// Default limit of the files that one operation changes: 1000.
pub const MAX_CHANGES: usize = 1000;
