//! The store as all of Millwork sees it: a trait for each subject, and their sum.

mod attempts;
mod audits;
mod commits;
mod drafts;
mod files;
mod locks;
mod numbers;
mod plans;
mod runs;
mod url;

pub use attempts::AttemptStore;
pub use audits::AuditStore;
pub use commits::CommitStore;
pub use drafts::DraftStore;
pub use files::FileStore;
pub use locks::{LEADER_LOCK, Lead, Leader, LockStore};
pub use numbers::NumberStore;
pub use plans::PlanStore;
pub use runs::RunStore;
pub use url::StateUrl;

use crate::{Inspection, TrackingResult};
use async_trait::async_trait;
use std::path::Path;

/// The memory of Millwork.
///
/// An operation that fails with [`TrackingError::Unavailable`](crate::TrackingError::Unavailable) may have happened, wholly or, where
/// its text says so, in part; each can be made again with the same arguments, and ends as if it had been made once.
#[async_trait]
pub trait TrackingStore:
    FileStore + LockStore + DraftStore + RunStore + AttemptStore + CommitStore + AuditStore + PlanStore + NumberStore
{
    /// Looks at the store that only people need.
    fn inspection(&self) -> &dyn Inspection;

    /// The database file, for a store that is one.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Time after which the store forgets converted files, in days; none if it forgets nothing.
    fn forgets_after_days(&self) -> Option<u64> {
        None
    }

    /// Asks for a sign of life: that what is stored can be read now, and that whatever writes is alive. Cheap enough to be
    /// asked every second; it waits for no write.
    async fn ping(&self) -> TrackingResult<()>;

    /// Does what it was asked before, then lets go of what it has open. If that is a file, whatever it is asked later fails.
    async fn close(&self) {}
}
