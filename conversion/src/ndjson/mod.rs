//! From bytes to text columns: lines, strict JSON, and the builders that each value is copied into once.
//!
//! Nothing here knows of DataFusion's plans or of Parquet.

mod blocks;
mod columns;
#[cfg(test)]
mod fuzz;
mod input;
mod json;
mod keys;
mod lossy;
mod numbers;
mod rejects;
mod scan;
mod unescape;

pub(crate) use blocks::{BOM, Blocks, Next};
pub(crate) use columns::{ColumnLayout, METADATA_COLUMNS, push_text};
pub(crate) use input::{Content, InMemory, Input, InputError, open_range, open_start};
pub(crate) use json::scan_fields;
pub use keys::ColumnNames;
pub(crate) use keys::{KeyIndex, MAX_COLUMNS, NewKey, Position};
pub(crate) use lossy::RawPlaces;
pub(crate) use rejects::RejectSink;
pub(crate) use scan::{FileScan, ScanContext, ScanError};

pub use blocks::MAX_LINE_BYTES;
pub use json::{Defect, Field, MAX_DEPTH, Scanned, ValueKind, scan_line};
pub use scan::input_bytes_read;
pub use unescape::unescape;
