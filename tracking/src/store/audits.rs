//! Store of notes on what operators did.

use crate::{AuditEntry, AuditFilter, Page, TrackingResult};
use async_trait::async_trait;

/// Notes on what operators did.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Leaves a note, or writes one anew that has the same time and id.
    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()>;

    /// A listing of the notes of a day, newest first.
    async fn audits(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>>;
}
