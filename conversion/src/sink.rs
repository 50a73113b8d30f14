//! The sink: rows to Parquet files of about the target size, under private names.
//!
//! Each input partition is written by its own task, so that nothing funnels into one. Inside a task, *lanes* share the
//! work: each scans its own part of the task's files and encodes row groups, which are put into the file in a fixed
//! order, so that the same input gives the same bytes again.

use crate::encode::{EncodedChunk, RowGroupEncoder, RowGroups};
use crate::report::{StagedPart, TaskReport, executor_name, failure_of_part};
use crate::source::{FileRange, NdjsonSource, as_scan, scan_exec};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::physical_expr::{Distribution, EquivalenceProperties};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use millwork_manifest::ManifestId;
use millwork_storage::{Staging, StagingWriter, StorageError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A row group ends at about this share of the target file size: a file has a few, and can be ended near its goal.
const ROW_GROUPS_PER_FILE: u64 = 4;
/// Or at this many rows.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// How the pages of the output are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputCompression {
    /// Snappy: quick.
    #[default]
    Snappy,
    /// Zstandard at level 3: smaller.
    Zstd,
    /// None.
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

/// What a sink writes, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkOptions {
    pub(crate) manifest_id: ManifestId,
    pub(crate) staging: Staging,
    pub(crate) target_file_bytes: u64,
    pub(crate) compression: OutputCompression,
    /// How many threads of one task scan and encode at once.
    pub(crate) lanes: usize,
    /// Where the input of each task starts, by file and offset: the tasks' numbers for output files must not meet.
    pub(crate) starts: Vec<(u32, u64)>,
}

impl SinkOptions {
    pub(crate) fn writer_properties(&self) -> WriterProperties {
        let compression = match self.compression {
            OutputCompression::Snappy => ParquetCompression::SNAPPY,
            OutputCompression::Zstd => ParquetCompression::ZSTD(ZstdLevel::default()),
            OutputCompression::None => ParquetCompression::UNCOMPRESSED,
        };
        let footer =
            [("millwork.version", env!("CARGO_PKG_VERSION")), ("millwork.manifest_id", self.manifest_id.as_str())];
        WriterProperties::builder()
            .set_compression(compression)
            .set_created_by(format!("millwork version {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(
                footer.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec(),
            ))
            .build()
    }
}

/// What can end the writing of a task's files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error(transparent)]
    Stream(#[from] DataFusionError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ParquetError),
    #[error("a lane of the task broke off: {0}")]
    Panic(#[from] tokio::task::JoinError),
}

/// The plan node.
#[derive(Debug)]
pub(crate) struct ParquetPartsSink {
    input: Arc<dyn ExecutionPlan>,
    options: SinkOptions,
    properties: Arc<PlanProperties>,
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
        let report = async move { run_task(&input, partition, &options, &context).await?.to_batch() };
        Ok(Box::pin(RecordBatchStreamAdapter::new(TaskReport::schema(), futures::stream::once(report))))
    }
}

/// Runs one partition. What goes wrong with data or storage is part of the report; an error is a defect.
async fn run_task(
    input: &Arc<dyn ExecutionPlan>,
    partition: usize,
    options: &SinkOptions,
    context: &Arc<TaskContext>,
) -> Result<TaskReport> {
    let Lanes { plan, source, groups } = split_into_lanes(input, partition, options.lanes)?;
    let first = groups.first().and_then(|group| group.first()).map(|range| (range.file, range.start));
    let input_bytes = groups.iter().flatten().map(|range| range.end - range.start).sum();
    let streams: Vec<_> = (0..groups.len()).map(|lane| plan.execute(lane, context.clone())).collect::<Result<_>>()?;
    // The engine may give a task its partition under another number.
    let task = options.starts.iter().position(|start| Some(*start) == first).unwrap_or(partition);
    let parts = write_parts(streams, &source, input_bytes, task, options).await;
    let mut report = TaskReport { executor: executor_name(), first, ..TaskReport::default() };
    match parts {
        Ok(parts) => report.parts = parts,
        Err(error) => {
            report.failure = Some(failure_of_part(&error));
            return Ok(report);
        }
    }
    for lane in 0..groups.len() {
        let Some(scan) = source.take_context(lane) else { continue };
        report.new_keys.extend(scan.keys.new_keys());
        merge_first_seen(&mut report.first_seen, scan.keys.first_seen());
        report.ledger.extend(scan.ledger);
        match scan.rejects.finish() {
            Ok(rejects) => report.rejects.extend(rejects),
            Err(error) => report.failure = Some(failure_of_part(&error.into())),
        }
    }
    if !report.new_keys.is_empty() {
        report.parts.clear();
    }
    Ok(report)
}

fn merge_first_seen<T: Copy + Ord>(into: &mut Vec<Option<T>>, from: &[Option<T>]) {
    into.resize(from.len().max(into.len()), None);
    for (into, from) in into.iter_mut().zip(from) {
        *into = [*into, *from].into_iter().flatten().min();
    }
}

/// The input of one task, with a partition for each lane.
struct Lanes {
    plan: Arc<dyn ExecutionPlan>,
    source: NdjsonSource,
    groups: Vec<Vec<FileRange>>,
}

/// Rewrites the input of a task so that the scan of one file group becomes several, of about the same size.
fn split_into_lanes(input: &Arc<dyn ExecutionPlan>, partition: usize, lanes: usize) -> Result<Lanes> {
    let mut found = None;
    let rewritten = input.clone().transform_up(|node| {
        let Some((source, groups)) = as_scan(&node) else { return Ok(Transformed::no(node)) };
        let source = source.fresh();
        let groups = split_evenly(groups.get(partition).cloned().unwrap_or_default(), lanes);
        let scan = scan_exec(source.clone(), groups.clone());
        found = Some((source, groups));
        Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
    })?;
    let (source, groups) = found.ok_or_else(|| DataFusionError::Internal("the sink's input has no scan".to_owned()))?;
    Ok(Lanes { plan: rewritten.data, source, groups })
}

/// Cuts a list of ranges into up to `lanes` runs of about the same bytes.
fn split_evenly(ranges: Vec<FileRange>, lanes: usize) -> Vec<Vec<FileRange>> {
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let share = total.div_ceil(lanes.max(1) as u64).max(1);
    let mut groups: Vec<Vec<FileRange>> = Vec::new();
    let (mut before, mut last_lane) = (0, None);
    for range in ranges {
        let size = range.end - range.start;
        // The lane in whose share the middle of the range falls.
        let lane = ((before + size / 2) / share).min(lanes as u64 - 1);
        before += size;
        match groups.last_mut() {
            Some(group) if last_lane == Some(lane) => group.push(range),
            _ => groups.push(vec![range]),
        }
        last_lane = Some(lane);
    }
    if groups.is_empty() { vec![Vec::new()] } else { groups }
}

/// An encoded row group on its way to the file.
struct EncodedGroup {
    chunks: Vec<EncodedChunk>,
    rows: u64,
    encoded_bytes: u64,
    /// Bytes of stored input that were consumed since the lane's group before.
    input_bytes: u64,
}

async fn write_parts(
    streams: Vec<SendableRecordBatchStream>,
    source: &NdjsonSource,
    input_bytes: u64,
    task: usize,
    options: &SinkOptions,
) -> Result<Vec<StagedPart>, PartError> {
    let Some(schema) = streams.first().map(|stream| stream.schema()) else { return Ok(Vec::new()) };
    let shape = Arc::new(RowGroupShape::new(schema, options)?);
    let mut lanes = JoinSet::new();
    let mut receivers = Vec::new();
    for (lane, stream) in streams.into_iter().enumerate() {
        let (sender, receiver) = mpsc::channel(1);
        receivers.push(receiver);
        lanes.spawn(run_lane(stream, shape.clone(), source.clone(), lane, sender));
    }
    let mut writer = PartsWriter::new(&shape, input_bytes, task, options);
    // Row groups are taken from the lanes in turn, whichever is ready first.
    let mut turn = 0;
    while !receivers.is_empty() {
        turn %= receivers.len();
        match receivers[turn].recv().await {
            Some(group) => {
                writer.append(group)?;
                turn += 1;
            }
            None => drop(receivers.remove(turn)),
        }
        while let Some(lane) = lanes.try_join_next() {
            lane??;
        }
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    writer.finish().await
}

/// Scans and encodes the files of one lane.
async fn run_lane(
    mut stream: SendableRecordBatchStream,
    shape: Arc<RowGroupShape>,
    source: NdjsonSource,
    lane: usize,
    sender: mpsc::Sender<EncodedGroup>,
) -> Result<(), PartError> {
    let mut consumed = 0;
    let mut encoder = RowGroupEncoder::new(shape.columns.clone())?;
    loop {
        let batch = stream.try_next().await?;
        if let Some(batch) = &batch {
            encoder.write(batch)?;
        }
        let is_end = batch.is_none();
        if encoder.rows() > 0 && (is_end || shape.is_full(&encoder)) {
            let now = source.stored_bytes(lane);
            let input_bytes = now - std::mem::replace(&mut consumed, now);
            let encoded = EncodedGroup::close(&mut encoder, input_bytes)?;
            if sender.send(encoded).await.is_err() {
                return Ok(());
            }
        }
        if is_end {
            return Ok(());
        }
    }
}

/// What the row groups of one task have in common.
struct RowGroupShape {
    columns: Arc<RowGroups>,
    target_bytes: u64,
}

impl RowGroupShape {
    fn new(schema: SchemaRef, options: &SinkOptions) -> Result<Self, PartError> {
        let columns = Arc::new(RowGroups::new(schema, Arc::new(options.writer_properties()))?);
        Ok(Self { columns, target_bytes: (options.target_file_bytes / ROW_GROUPS_PER_FILE).max(1) })
    }

    fn is_full(&self, group: &RowGroupEncoder) -> bool {
        group.rows() >= ROW_GROUP_ROWS || group.estimated_bytes() as u64 >= self.target_bytes
    }
}

impl EncodedGroup {
    fn close(encoder: &mut RowGroupEncoder, input_bytes: u64) -> Result<Self, PartError> {
        let rows = encoder.rows() as u64;
        let chunks = encoder.close()?;
        let encoded_bytes = chunks.iter().map(EncodedChunk::bytes).sum();
        Ok(Self { chunks, rows, encoded_bytes, input_bytes })
    }
}

/// Puts row groups into files of about the target size.
struct PartsWriter<'a> {
    shape: &'a RowGroupShape,
    options: &'a SinkOptions,
    open: Option<OpenPart>,
    done: Vec<tokio::task::JoinHandle<Result<StagedPart, PartError>>>,
    /// Bytes of stored input the task has, and how many of them the row groups so far came from.
    input_bytes: u64,
    consumed_bytes: u64,
    /// Bytes of finished files.
    written_bytes: u64,
    /// The number of the next file.
    number: usize,
}

struct OpenPart {
    writer: SerializedFileWriter<StagingWriter>,
    rows: u64,
    row_groups: u64,
}

impl<'a> PartsWriter<'a> {
    fn new(shape: &'a RowGroupShape, input_bytes: u64, task: usize, options: &'a SinkOptions) -> Self {
        Self {
            shape,
            options,
            open: None,
            done: Vec::new(),
            input_bytes,
            consumed_bytes: 0,
            written_bytes: 0,
            number: task,
        }
    }

    fn append(&mut self, group: EncodedGroup) -> Result<(), PartError> {
        let open_bytes = self.open.as_ref().map_or(0, |open| open.writer.bytes_written() as u64);
        if open_bytes > 0 && self.is_time_for_next_file(open_bytes, &group) {
            self.finish_file();
        }
        self.consumed_bytes += group.input_bytes;
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let number = self.number;
                self.number += self.options.starts.len().max(1);
                self.open.insert(start_file(self.shape, number, self.options)?)
            }
        };
        let mut row_group = open.writer.next_row_group()?;
        for chunk in group.chunks {
            chunk.append_to(&mut row_group)?;
        }
        row_group.close()?;
        open.rows += group.rows;
        open.row_groups += 1;
        Ok(())
    }

    /// Whether the open file ends before this row group.
    ///
    /// What the task will write in all is predicted from what it has written so far, and shared out evenly among
    /// as many files as come closest to the target size, so that no small rest is left.
    fn is_time_for_next_file(&self, open_bytes: u64, group: &EncodedGroup) -> bool {
        let written = (self.written_bytes + open_bytes) as f64;
        let consumed = (self.consumed_bytes.max(1)) as f64;
        let total = written * (self.input_bytes as f64 / consumed).max(1.0);
        let files = (total / self.options.target_file_bytes as f64).round().max(1.0);
        let goal = total / files;
        let rest = total - written;
        open_bytes as f64 + group.encoded_bytes as f64 / 2.0 > goal && rest > goal / 2.0
    }

    /// Closes the open file; making it durable goes on in the background.
    fn finish_file(&mut self) {
        if let Some(open) = self.open.take() {
            self.written_bytes += open.writer.bytes_written() as u64;
            self.done.push(tokio::task::spawn_blocking(move || {
                let (mut open, rows, row_groups) = (open.writer, open.rows, open.row_groups);
                // Page indexes and footer follow.
                let external = |e| ParquetError::External(Box::new(e));
                open.flush().map_err(external)?;
                open.inner_mut().start_tail().map_err(external)?;
                let file = open.into_inner()?.finish()?;
                Ok(StagedPart { file, rows, row_groups })
            }));
        }
    }

    async fn finish(mut self) -> Result<Vec<StagedPart>, PartError> {
        self.finish_file();
        let mut parts = Vec::new();
        for part in self.done {
            parts.push(part.await??);
        }
        Ok(parts)
    }
}

fn start_file(shape: &RowGroupShape, number: usize, options: &SinkOptions) -> Result<OpenPart, PartError> {
    let file = options.staging.create_output(number)?;
    Ok(OpenPart { writer: shape.columns.start_file(file)?, rows: 0, row_groups: 0 })
}

/// The encoded size of a sample of rows, in bytes.
pub(crate) fn encoded_size(
    batches: &[datafusion::arrow::array::RecordBatch],
    options: &SinkOptions,
) -> Result<u64, PartError> {
    let Some(first) = batches.first() else { return Ok(0) };
    let mut encoder = RowGroupEncoder::new(RowGroupShape::new(first.schema(), options)?.columns)?;
    for batch in batches {
        encoder.write(batch)?;
    }
    Ok(EncodedGroup::close(&mut encoder, 0)?.encoded_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::Compression;

    fn ranges(sizes: &[u64]) -> Vec<FileRange> {
        let range = |(file, size): (u32, &u64)| FileRange {
            file,
            uri: "/a".parse().unwrap(),
            etag: String::new(),
            start: 0,
            end: *size,
            compression: Compression::None,
            lines_before: 0,
        };
        (0..).zip(sizes).map(range).collect()
    }

    #[test]
    fn lanes_share_the_bytes_and_keep_the_order() {
        for (sizes, lanes) in
            [(vec![10; 7], 2), (vec![1, 1, 100], 2), (vec![0, 0], 3), (vec![5], 4), (vec![100, 1, 1], 2), (vec![], 2)]
        {
            let groups = split_evenly(ranges(&sizes), lanes);
            let flat: Vec<u32> = groups.iter().flatten().map(|range| range.file).collect();
            assert_eq!(flat, (0..sizes.len() as u32).collect::<Vec<_>>());
            assert!((1..=lanes).contains(&groups.len()));
            assert!(groups.iter().all(|group| !group.is_empty()) || sizes.is_empty(), "{sizes:?}");
        }
        let lengths =
            |sizes: &[u64], lanes| split_evenly(ranges(sizes), lanes).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[10; 8], 2), [4, 4]);
        assert_eq!(lengths(&[1, 1, 100], 2), [2, 1]);
    }
}
