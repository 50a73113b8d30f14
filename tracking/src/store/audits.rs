//! Interface for audit records.

use crate::{AuditEntry, AuditFilter, Page, TrackingResult};
use async_trait::async_trait;

/// Audit records of operators' actions.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Writes a record, replacing one with the same time and id.
    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()>;

    /// Lists the records of a day, newest first.
    async fn audits(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>>;
}
