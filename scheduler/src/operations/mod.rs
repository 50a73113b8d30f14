//! Operations on the state for people: what files are in, what is stuck, what does not fit together; and changes of it.
//!
//! They work on any store, with or without a scheduler. Readers change nothing but what `record` says, are bounded, and tell
//! when they were. Writers make a list of exact changes first, each with the state and version it was seen with; each is
//! applied on condition of these and of its run, so that nothing which has changed since is touched. What is about to be done
//! is noted before it is, and what came of it after: a process that dies in between leaves the first note, and each file
//! either changed or not.

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

/// The operations on one state.
#[derive(Clone)]
pub struct Operations {
    pub(crate) inspector: Inspector,
}

impl Operations {
    /// Operations on the store and the places of an inspector.
    pub fn new(inspector: Inspector) -> Self {
        Self { inspector }
    }

    fn store(&self) -> &dyn TrackingStore {
        &*self.inspector.store
    }
}

/// Files that are read at once from a listing.
const PAGE: usize = 1000;
/// Limit of the files that an operation reads: 1,000,000, which takes some seconds in SQLite and some minutes in DynamoDB.
pub const MAX_FILES_READ: usize = 1_000_000;
/// Limit of the findings that an operation tells: 1000. Somebody is to read them; the first are mended first.
pub const MAX_FINDINGS: usize = 1000;
/// Limit of the files that one writer changes: 1000 unless told.
pub const MAX_CHANGES: usize = 1000;
