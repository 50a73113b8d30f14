//! Interface of the tracking store: a trait per subject, and their combination.

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

/// The tracking store.
///
/// An operation that fails with [`TrackingError::Unavailable`](crate::TrackingError::Unavailable) may have had its
/// effect, wholly or, where documented, in part. Each can be repeated with the same arguments, with the effect of a
/// single call.
#[async_trait]
pub trait TrackingStore:
    FileStore + LockStore + DraftStore + RunStore + AttemptStore + CommitStore + AuditStore + PlanStore + NumberStore
{
    /// Reads for inspection by people.
    fn inspection(&self) -> &dyn Inspection;

    /// Database file, for a store that is a file.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Retention of converted files, in days; `None` if they are kept for ever.
    fn forgets_after_days(&self) -> Option<u64> {
        None
    }

    /// Checks that the store can be read, and that its writer is alive. Cheap enough to be called every second; does
    /// not wait for writes.
    async fn ping(&self) -> TrackingResult<()>;

    /// Finishes pending operations, then releases open files. After that, operations on a file-based store fail.
    async fn close(&self) {}
}
