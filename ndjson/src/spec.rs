//! Description of a scan: the columns and the common values of its rows, and the byte ranges that it reads.

use crate::columns::{ColumnLayout, METADATA_COLUMNS};
use crate::keys::ColumnNames;
use crate::limits::Limits;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ManifestId};
use millwork_storage::Staging;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Description of the rows of one attempt at a manifest: their columns, the values that all have in common, and limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowSource {
    pub manifest_id: ManifestId,
    pub date: DatePrefix,
    pub ingested_at: DateTime<Utc>,
    pub names: ColumnNames,
    pub layout: ColumnLayout,
    /// The columns that the query reads, in the order in which the scan gives them.
    pub output: Vec<OutputColumn>,
    /// Limit of the keys without a column in the plan that get one where they turn up, after all others.
    pub max_late_columns: usize,
    /// True if keys that the plan has no column for are no matter, since the query names those that it takes.
    pub ignores_others: bool,
    pub limits: Limits,
    /// The number of the plan, by which its tasks in one process share the room for rejected lines.
    pub plan: u64,
    /// Place of the rejected lines; none in a trial, which keeps none.
    pub staging: Option<Staging>,
}

/// A column that the scan gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputColumn {
    /// An input column, by its place in the layout.
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

/// Place of the number of the line among the metadata columns.
pub const LINE_PLACE: usize = 1;

/// Limit of the keys unknown to the plan of an attempt that get columns where they turn up. With more of them the attempt is
/// planned again, as each file has all of them in the end, and the size of row groups depends on the number of columns.
pub const MAX_LATE_COLUMNS: usize = 500;

impl RowSource {
    /// Every column there is: the input columns, then the metadata.
    pub fn all_columns(layout: &ColumnLayout) -> Vec<OutputColumn> {
        (0..layout.keys.len()).map(OutputColumn::Input).chain(METADATA).collect()
    }

    /// The schema of [`Self::all_columns`].
    pub fn full_schema(&self) -> SchemaRef {
        let input = self.layout.names.iter().map(|name| Field::new(name, DataType::Utf8, true));
        Arc::new(Schema::new(input.chain(metadata_fields()).collect::<Vec<_>>()))
    }
}

/// The metadata columns, with their types.
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
