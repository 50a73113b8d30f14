//! Objects and what can be done with them: list, identify, move, write once, and publish many files so that a
//! reader sees all of them or none.
//!
//! This crate knows nothing of manifests' contents, of DataFusion or of the tracking store. So far it speaks to
//! local directories.

mod error;
mod local;
mod staging;

pub use error::{StorageError, StorageResult};
pub use local::{Object, absolute, head, identity, list, move_object, path_of, read, write_once};
pub use staging::{StagedFile, Staging, StagingWriter};
