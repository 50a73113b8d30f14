//! Tracking store of Millwork: the state of every file, the backlog of each date, the locks under which manifests are
//! made, the manifests and their runs, and the commit records that decide which attempt's output counts.
//!
//! [`TrackingStore`] is the whole interface, composed of a trait per subject. [`SqliteStore`] implements it in one
//! file, [`DynamoStore`] in DynamoDB; [`open`] selects by URL. Every change of a file's state is conditional on the
//! state and version that were read, and is recorded in the file's timeline. The store knows nothing of Parquet, plans
//! or directories: a commit record is opaque text to it.

mod audit;
mod decide;
mod dynamodb;
mod error;
mod inspection;
mod life;
pub mod numbers;
mod open;
mod requests;
mod sqlite;
mod store;
mod types;
mod wishes;

pub use audit::{AuditEntry, AuditFilter, MAX_RECORD_BYTES, PlanRecord, Via};
pub use dynamodb::{
    DynamoStore, IndexDefinition, TableDefinition, TableNames, create_table, create_tables, table_definitions,
};
pub use error::{TrackingError, TrackingResult};
pub use inspection::{
    BuilderAbout, BuilderNote, FoundContent, Inspection, KEEP_BUILDER_DAYS, LockState, MAX_BUILDERS, MAX_NOTE_BYTES,
    QueueAhead, RunSeen, StateChange, StateChanged, StoreFault,
};
pub use life::can_return;
pub use numbers::{AttemptStep, AttemptWork, Capacity, DateTotals, FileTotal, Note, RunSummary, Sample, Span};
pub use open::open;
pub use requests::describe_metrics;
pub use sqlite::{SqliteStore, open_lock};
pub use store::{
    AttemptStore, AuditStore, CommitStore, DraftStore, FileStore, LEADER_LOCK, Lead, Leader, LockStore, NumberStore,
    PlanStore, RunStore, StateUrl, TrackingStore,
};
pub use types::{
    Attempt, Backlog, Commit, Draft, FileFilter, FoundFile, Lock, Metric, Overwrites, Page, QueuedManifest, Replaced,
    Run, RunCount, RunFilter, Sequencer, TimelineEntry, Tracked, TrackedBatch, TrackedFile,
};
pub use wishes::{Round, TakenWish, Wish, open_wishes};
