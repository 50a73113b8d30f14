//! The sink: writes rows to Parquet files of about the target size, under private names.
//!
//! Each input partition is written by its own task, without a bottleneck in one place. Inside a task, *lanes* share the
//! work: they take *morsels* of its input, scan them and encode row groups, which are written in a fixed
//! order, so that the same plan gives the same bytes again.

mod lanes;
mod morsels;
mod parts;
mod row_groups;

use crate::part_error::PartError;
use crate::report::TaskReport;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;
use datafusion::physical_expr::{Distribution, EquivalenceProperties};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
    ReplaceChildrenOptions,
};
use millwork_manifest::ManifestId;
use millwork_parquet_text::footer::MANIFEST_ID_KEY;
use millwork_storage::Staging;
pub(crate) use parts::file_goal;
pub(crate) use row_groups::{ROW_GROUPS_PER_FILE, encoded_size, max_row_groups};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Compression of the pages of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputCompression {
    /// Snappy: fast.
    #[default]
    Snappy,
    /// Zstandard at level 1: smaller files.
    Zstd,
    /// No compression.
    None,
}

impl std::str::FromStr for OutputCompression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "snappy" => Ok(Self::Snappy),
            "zstd" => Ok(Self::Zstd),
            "none" => Ok(Self::None),
            _ => Err(format!("`{text}` is none of `snappy`, `zstd`, `none`")),
        }
    }
}

/// Options of a sink: what it writes, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkOptions {
    pub(crate) manifest_id: ManifestId,
    pub(crate) staging: Staging,
    pub(crate) target_file_bytes: u64,
    pub(crate) compression: OutputCompression,
    /// Number of lanes that the task is cut for; limited by the slots of the executor.
    pub(crate) lanes: usize,
    pub(crate) morsels: MorselSizes,
    /// Trace context of the attempt, passed on to executors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
    /// Start of the input of each task, as file and offset: numbers the tasks, so that the numbers of their output
    /// files do not collide.
    pub(crate) starts: Vec<(u32, u64)>,
}

/// Stored bytes of input per morsel, which makes about one row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MorselSizes {
    /// Size of a regular morsel, which makes a row group of the target size.
    pub(crate) whole: u64,
    /// Size of the smallest morsel: the last ones are small, so that all lanes end at about the same time.
    pub(crate) least: u64,
}

impl SinkOptions {
    pub(crate) fn writer_properties(&self) -> WriterProperties {
        self.compression.writer_properties(&self.manifest_id)
    }
}

impl OutputCompression {
    /// Parquet writer properties for the files of a manifest.
    pub(crate) fn writer_properties(self, manifest_id: &ManifestId) -> WriterProperties {
        let compression = match self {
            Self::Snappy => ParquetCompression::SNAPPY,
            Self::Zstd => ParquetCompression::ZSTD(ZstdLevel::default()),
            Self::None => ParquetCompression::UNCOMPRESSED,
        };
        let footer = [("millwork.version", env!("CARGO_PKG_VERSION")), (MANIFEST_ID_KEY, manifest_id.as_str())];
        WriterProperties::builder()
            .set_compression(compression)
            // Line numbers only grow, so that a dictionary of them does not pay.
            .set_column_dictionary_enabled(ColumnPath::from("_source_line"), false)
            .set_created_by(format!("millwork version {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(
                footer.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec(),
            ))
            .build()
    }
}

/// The plan node.
#[derive(Debug)]
pub(crate) struct ParquetPartsSink {
    input: Arc<dyn ExecutionPlan>,
    options: SinkOptions,
    properties: Arc<PlanProperties>,
}

/// Identity of the manifest and attempt that a task belongs to.
#[derive(Clone, Debug)]
pub struct TaskSubject {
    /// Manifest that the task converts.
    pub manifest_id: ManifestId,
    /// Number of the attempt.
    pub attempt: Option<u32>,
    /// Trace context of the attempt.
    pub traceparent: Option<String>,
}

impl TaskSubject {
    /// Reads the subject of a task from its plan. `None` for a plan that is not a task of Millwork.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let options = &plan.downcast_ref::<ParquetPartsSink>()?.options;
        Some(Self {
            manifest_id: options.manifest_id.clone(),
            attempt: options.staging.attempt(),
            traceparent: options.traceparent.clone(),
        })
    }
}

impl ParquetPartsSink {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, options: SinkOptions) -> Self {
        let partitions = input.properties().partitioning.partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(TaskReport::schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { input, options, properties: Arc::new(properties) }
    }

    pub(crate) fn options(&self) -> &SinkOptions {
        &self.options
    }
}

impl DisplayAs for ParquetPartsSink {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SinkOptions { target_file_bytes, compression, lanes, .. } = &self.options;
        write!(
            f,
            "ParquetPartsSink: target_file_mb={}, compression={compression:?}, lanes={lanes}",
            target_file_bytes >> 20
        )
    }
}

impl ExecutionPlan for ParquetPartsSink {
    fn name(&self) -> &str {
        "ParquetPartsSink"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::UnspecifiedDistribution]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(child), true) => Ok(Arc::new(Self::new(child, self.options.clone()))),
            _ => Err(DataFusionError::Internal("a sink has one input".to_owned())),
        }
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (input, options) = (self.input.clone(), self.options.clone());
        let report = async move { lanes::run_task(&input, partition, &options, &context).await?.to_batch() };
        Ok(Box::pin(RecordBatchStreamAdapter::new(TaskReport::schema(), futures::stream::once(report))))
    }
}
