//! Embedded tracking store: one SQLite file in WAL mode, safe for several processes.
//!
//! A single thread writes. Operations that are waiting for it share a transaction, each in its own savepoint, and so
//! share one fsync (group commit). An operation is answered after that, and is atomic even in a crash. Other threads
//! read, each on its own connection, so that no read waits for a write.

mod attempts;
mod audits;
mod commits;
mod connection;
mod files;
mod inspection;
mod job;
mod lead;
mod listing;
#[cfg(test)]
mod listing_tests;
mod locks;
mod manifest_files;
mod manifests;
mod numbers;
mod open;
mod private;
mod readers;
mod rows;
mod run_rows;
mod runs;
#[cfg(test)]
mod scale;
mod schema;
mod series;
mod totals;
mod words;
mod worker;

use crate::{Inspection, TrackingError, TrackingResult, TrackingStore};
use async_trait::async_trait;
use chrono::DateTime;
use millwork_manifest::Manifest;
use std::path::{Path, PathBuf};
use worker::Worker;

pub use private::open_lock;

/// Embedded tracking store.
pub struct SqliteStore {
    worker: Worker,
    /// Path of the database file as given; `None` in memory.
    path: Option<PathBuf>,
}

#[async_trait]
impl TrackingStore for SqliteStore {
    fn inspection(&self) -> &dyn Inspection {
        self
    }

    fn file(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    async fn ping(&self) -> TrackingResult<()> {
        self.worker.check_writer()?;
        self.worker.read(runs::ping).await
    }

    async fn close(&self) {
        self.worker.close().await;
    }
}

/// Decodes the document of a manifest.
fn parse_document(id: &str, document: &str) -> TrackingResult<Manifest> {
    Manifest::parse_own(id, document.as_bytes(), DateTime::default())
        .map_err(|e| TrackingError::Corrupt { what: "a manifest", value: e.to_string() })
}

#[cfg(test)]
mod tests;
