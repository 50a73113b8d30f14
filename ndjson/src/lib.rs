//! From bytes to text columns: lines, strict JSON parsing, column builders into which each value is copied once, and
//! the ledger with the result for every line.
//!
//! Independent of DataFusion and Parquet. A scan ([`FileScan`]) reads byte ranges of files ([`FileRange`]) according to
//! a description ([`RowSource`]), and returns [`Rows`].

mod blocks;
mod columns;
mod compare;
mod defects;
mod failure;
mod formats;
#[cfg(test)]
mod fuzz;
mod input;
mod json;
mod keys;
mod learn;
mod ledger;
mod limits;
mod lossy;
mod members;
mod names;
mod numbers;
mod preview;
mod progress;
mod range;
mod reason;
mod rejects;
mod rows;
mod scan;
mod short;
mod spec;
mod special;
mod unescape;

pub use blocks::{BOM, Blocks, MAX_LINE_BYTES, Next};
pub use columns::{ColumnLayout, METADATA_COLUMNS, check_columns};
pub use compare::same;
pub use defects::ScanError;
pub use failure::{class_of_io, class_of_unreadable, failure_of_scan, fault_of_scan};
pub use formats::OtherFormat;
pub use input::{Content, InMemory, Input, InputError, open_range, open_start};
pub use json::{Defect, Field, MAX_DEPTH, MAX_FIELDS, MAX_KEY_BYTES, Scanned, ValueKind, scan_line};
pub use keys::{KeyIndex, NewKey, Position};
pub use learn::{in_order, learn_keys, merge_keys};
pub use ledger::{FileLedger, LedgerError, RangeLedger, add_up};
pub use limits::{Limits, MAX_COLUMNS, MIN_CONTENT_BYTES};
pub use names::{ColumnNames, Words};
pub use preview::{Preview, PreviewLine, defect_of, preview};
pub use progress::{Pace, TaskCounters, TaskCounts, TaskStep};
pub use range::FileRange;
pub use reason::RejectReason;
pub use rejects::{RejectRoom, RejectRooms, RejectSink};
pub use rows::{Column, Rows, TextValues};
pub use scan::{FileScan, ScanContext};
pub use short::push_text;
pub use spec::{LINE_PLACE, MAX_LATE_COLUMNS, OutputColumn, RowSource, metadata_fields};
pub use unescape::unescape;
