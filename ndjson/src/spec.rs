//! Description of a scan: columns and common values of its rows, and its byte ranges.

use crate::columns::{ColumnLayout, METADATA_COLUMNS};
use crate::limits::Limits;
use crate::names::ColumnNames;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ManifestId};
use millwork_storage::Staging;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Description of the rows of an attempt: their columns, the values they share, and limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowSource {
    pub manifest_id: ManifestId,
    pub date: DatePrefix,
    pub ingested_at: DateTime<Utc>,
    pub names: ColumnNames,
    pub layout: ColumnLayout,
    /// Columns that the query reads, in the order in which the scan returns them.
    pub output: Vec<OutputColumn>,
    /// Limit of the keys unknown to the plan that get a column during the scan, after all others.
    pub max_late_columns: usize,
    /// True if keys without a column in the plan are ignored, because the query names all columns it uses.
    pub ignores_others: bool,
    pub limits: Limits,
    /// Number of the plan, by which its tasks in one process share the limit for rejected lines.
    pub plan: u64,
    /// Place for rejected lines; `None` in a trial, which discards them.
    pub staging: Option<Staging>,
}

/// A column that the scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputColumn {
    /// An input column, by its index in the layout.
    Input(usize),
    SourceFile,
    SourceLine,
    ManifestId,
    Date,
    IngestedAt,
}

const METADATA: [OutputColumn; METADATA_COLUMNS.len()] = [
    OutputColumn::SourceFile,
    OutputColumn::SourceLine,
    OutputColumn::ManifestId,
    OutputColumn::Date,
    OutputColumn::IngestedAt,
];

/// Index of the line number among the metadata columns.
pub const LINE_PLACE: usize = 1;

/// Limit of the keys unknown to the plan that get columns during an attempt. With more of them the attempt is planned
/// again, since all files get all columns in the end, and the size of row groups depends on the number of columns.
pub const MAX_LATE_COLUMNS: usize = 500;

impl RowSource {
    /// All columns: input columns, then metadata columns.
    pub fn all_columns(layout: &ColumnLayout) -> Vec<OutputColumn> {
        (0..layout.keys.len()).map(OutputColumn::Input).chain(METADATA).collect()
    }

    /// Schema of [`Self::all_columns`].
    pub fn full_schema(&self) -> SchemaRef {
        let input = self.layout.names.iter().map(|name| Field::new(name, DataType::Utf8, true));
        Arc::new(Schema::new(input.chain(metadata_fields()).collect::<Vec<_>>()))
    }
}

/// Metadata columns with their types.
pub fn metadata_fields() -> impl Iterator<Item = Field> {
    METADATA.iter().zip(METADATA_COLUMNS).map(|(column, name)| {
        let kind = match column {
            OutputColumn::SourceLine => DataType::Int64,
            OutputColumn::IngestedAt => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8View,
        };
        Field::new(name, kind, false)
    })
}
