//! Options by which manifests are converted.

use crate::query::Query;
use crate::rates::KnownRates;
use crate::sink::OutputCompression;
use millwork_ndjson::{ColumnNames, Limits};
use millwork_storage::{Places, Storage};

/// Options by which manifests are converted.
#[derive(Clone, Debug)]
pub struct ConversionOptions {
    /// Query over the input rows.
    pub query: Query,
    /// Rule by which keys become column names.
    pub names: ColumnNames,
    /// Target size of an output file, in bytes.
    pub target_file_bytes: u64,
    /// Compression of the output.
    pub compression: OutputCompression,
    /// Limits of what the input may cost.
    pub limits: Limits,
    /// Places in which the files of manifests may be; others are refused. `None` for a manifest that the user wrote.
    pub input: Option<Places>,
    /// Storage of the files.
    pub storage: Storage,
    /// Output rates measured on earlier manifests that were converted with these options.
    pub rates: KnownRates,
    /// Trace context of the attempt, passed on to executors; `None` if traces are off.
    pub traceparent: Option<String>,
}

impl Default for ConversionOptions {
    fn default() -> Self {
        Self {
            query: Query::default(),
            names: ColumnNames::default(),
            target_file_bytes: 128 << 20,
            compression: OutputCompression::default(),
            limits: Limits::default(),
            input: None,
            storage: Storage::default(),
            rates: KnownRates::default(),
            traceparent: None,
        }
    }
}
