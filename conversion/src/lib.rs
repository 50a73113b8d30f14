//! Conversion of a manifest with DataFusion: a table function over the manifest's files, a source that scans NDJSON
//! into text columns (`millwork-ndjson`), a sink that writes Parquet (`millwork-parquet-text`) under private names, and
//! the codec that encodes such a plan for the executors.
//!
//! An attempt goes through these steps: [`survey`] the files, [`plan_attempt`], run the plan on any engine that runs
//! DataFusion plans, judge the reports of its tasks. The commit is left to the caller; this crate does not know the
//! scheduler or the tracking store.

mod check;
mod codec;
mod early;
mod evaluation;
mod failure;
mod host;
mod judge;
mod options;
mod part_error;
mod plan;
mod query;
mod rates;
mod report;
mod sink;
mod sizing;
mod source;
mod survey;
mod table;
mod turns;
mod verify;

pub use codec::{MillworkCodec, plan_format};
pub use early::EarlySurvey;
pub use host::TaskHost;
pub use judge::{AttemptOutcome, Verdict};
pub use millwork_ndjson::{
    ColumnNames, FileLedger, Limits, MIN_CONTENT_BYTES, OtherFormat, Preview, PreviewLine, RangeLedger, TaskCounters,
    TaskCounts, TaskStep, defect_of, preview,
};
/// Describes the metrics of reading and writing for Prometheus.
pub use options::ConversionOptions;
pub use plan::{Explained, PlannedAttempt, TaskInput, plan_attempt};
pub use query::Query;
pub use rates::KnownRates;
pub use report::{MAX_REPORT_BYTES, ReportError, StagedPart, TaskReport};
pub use sink::{OutputCompression, TaskSubject};
pub use sizing::Capacity;
pub use survey::{Columns, Survey, survey};
