//! The conversion of a manifest, as DataFusion sees it: a table function over the manifest's files, a source that scans
//! NDJSON into text columns, a sink that writes Parquet under private names, and the codec by which such a plan
//! reaches the executors.
//!
//! The order of things for one attempt: [`survey`] the files, [`plan_attempt`], run the plan on whatever runs
//! DataFusion plans, judge the reports of its tasks. Committing is not this crate's business, nor does it know the
//! scheduler or the tracking store.

#[doc(hidden)]
pub mod bench;
mod check;
mod codec;
mod compare;
mod encode;
mod evaluation;
mod footer;
mod judge;
mod ledger;
mod limits;
mod ndjson;
mod plan;
mod prefetch;
mod progress;
mod query;
mod rates;
mod report;
mod rows;
mod sink;
mod source;
mod survey;
mod table;
mod verify;

pub use codec::{MillworkCodec, plan_format};
pub use judge::{AttemptOutcome, Verdict, ledger_mismatches};
pub use ledger::{FileLedger, LedgerError, RangeLedger, add_up};
pub use limits::{Limits, MIN_CONTENT_BYTES};
/// Says what the metrics mean that reading and writing make.
pub use millwork_storage::describe_metrics;
pub use ndjson::{
    ColumnNames, Defect, Field, MAX_DEPTH, MAX_FIELDS, MAX_KEY_BYTES, MAX_LINE_BYTES, OtherFormat, Scanned, ValueKind,
    input_bytes_read, scan_line, unescape,
};
pub use plan::{Capacity, ConversionOptions, PlannedAttempt, TaskInput, plan_attempt};
pub use progress::{TaskCounters, TaskCounts, TaskStep};
pub use query::Query;
pub use rates::KnownRates;
pub use report::{MAX_REPORT_BYTES, ReportError, StagedPart, TaskReport, set_executor_name};
pub use sink::{OutputCompression, TaskSubject};
pub use survey::{Columns, EarlySurvey, Survey, survey};
