//! Types and rules of manifests: dates, object URIs, ids, the manifest document, rules for accepting and batching
//! files, and the states of files and runs.
//!
//! Consists of pure functions and plain types. This crate never reads a file, a clock or the environment, and does not
//! depend on DataFusion, AWS or tokio.

mod batch;
mod date;
mod document;
mod failure;
mod id;
mod limits;
mod refusal;
mod shown;
mod state;
mod system;
mod tag;
mod trace;
mod uri;
mod validate;

pub use batch::{BatchCaps, Flush, PendingFile, cut};
pub use date::DatePrefix;
pub use document::{Manifest, ManifestError, ManifestFile};
pub use failure::{Failure, FailureClass, FileFault, MAX_MESSAGE_BYTES, MAX_OTHER_FAULTS};
pub use id::{InvalidManifestId, ManifestId};
pub use limits::{MAX_MANIFEST_BYTES, MAX_MANIFEST_FILES, MAX_OBJECT_BYTES, MAX_URI_BYTES};
pub use refusal::{Refusal, Service, credentials_advice, region_advice};
pub use shown::printable;
pub use state::{FileState, RunState};
pub use system::{effective_user, words_of_system};
pub use tag::{bare_tag, is_restored, local_tag};
pub use trace::{InvalidTraceParent, MAX_TRACEPARENTS, TraceParent};
pub use uri::{InvalidUri, ObjectUri};
pub use validate::{Arrival, BY_OPERATOR, Compression, FileRules, MissingDate, QuarantineReason, is_unfinished_name};
