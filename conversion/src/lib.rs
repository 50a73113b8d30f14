//! The conversion of a manifest, as DataFusion sees it: a table function over the manifest's files, a source that scans
//! NDJSON into text columns (`millwork-ndjson`), a sink that writes Parquet (`millwork-parquet-text`) under private names, and the codec by which such a plan
//! reaches the executors.
//!
//! The order of things for one attempt: [`survey`] the files, [`plan_attempt`], run the plan on whatever runs
//! DataFusion plans, judge the reports of its tasks. Committing is not this crate's business, nor does it know the
//! scheduler or the tracking store.

mod check;
mod codec;
mod evaluation;
mod failure;
mod host;
mod judge;
mod part_error;
mod plan;
mod query;
mod rates;
mod report;
mod sink;
mod source;
mod survey;
mod table;
mod turns;
mod verify;

pub use codec::{MillworkCodec, plan_format};
pub use host::TaskHost;
pub use judge::{AttemptOutcome, Verdict};
pub use millwork_ndjson::{
    ColumnNames, FileLedger, Limits, MIN_CONTENT_BYTES, OtherFormat, Preview, PreviewLine, RangeLedger, TaskCounters,
    TaskCounts, TaskStep, defect_of, input_bytes_read, preview,
};
/// Says what the metrics mean that reading and writing make.
pub use millwork_storage::describe_metrics;
pub use plan::{Capacity, ConversionOptions, Explained, PlannedAttempt, TaskInput, plan_attempt};
pub use query::Query;
pub use rates::KnownRates;
pub use report::{MAX_REPORT_BYTES, ReportError, StagedPart, TaskReport};
pub use sink::{OutputCompression, TaskSubject};
pub use survey::{Columns, EarlySurvey, Survey, survey};
