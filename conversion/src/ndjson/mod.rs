//! From bytes to text columns: lines, strict JSON, and the builders that each value is copied into once.
//!
//! Nothing here knows of DataFusion's plans or of Parquet.

mod blocks;
mod columns;
mod defects;
mod formats;
#[cfg(test)]
mod fuzz;
mod input;
mod json;
mod keys;
mod lossy;
mod members;
mod numbers;
mod rejects;
mod scan;
mod unescape;

pub(crate) use blocks::{BOM, Blocks, Next};
pub(crate) use columns::{ColumnLayout, MAX_COLUMNS, METADATA_COLUMNS, check_columns, push_text};
pub(crate) use defects::{ScanError, describe};
pub(crate) use input::{Content, InMemory, Input, InputError, open_range, open_start};
pub(crate) use json::scan_fields;
pub use keys::ColumnNames;
pub(crate) use keys::{KeyIndex, NewKey, Position};
pub(crate) use lossy::{RawPlaces, lossy_line};
pub(crate) use rejects::{RejectRoom, RejectSink};
pub(crate) use scan::{FileScan, ScanContext};

pub use blocks::MAX_LINE_BYTES;
pub use formats::OtherFormat;
pub use json::{Defect, Field, MAX_DEPTH, MAX_FIELDS, MAX_KEY_BYTES, Scanned, ValueKind, scan_line};
pub use scan::input_bytes_read;
pub use unescape::unescape;
