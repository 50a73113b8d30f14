//! The scan: NDJSON files as a DataFusion file source.
//!
//! The source is a [`FileSource`] inside a [`FileScanConfig`], because Ballista makes these leaves into one task per
//! file group. A file group is the files, or byte ranges of files, whose rows make one output file or a few.

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{
    FileGroup, FileOpenFuture, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, PhysicalExpr};
use futures::StreamExt;
use millwork_manifest::MAX_OTHER_FAULTS;
use millwork_ndjson::{
    FileRange, FileScan, Input, InputError, LINE_PLACE, Limits, METADATA_COLUMNS, RejectRoom, RejectSink, RowSource,
    Rows, ScanContext, ScanError, TaskCounters, failure_of_scan, fault_of_scan, open_range,
};
use millwork_storage::{StagedFile, Staging, Storage, StorageResult, bucket_and_key};
use object_store::ObjectStore;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file source: rows of NDJSON as text columns and metadata.
#[derive(Clone)]
pub(crate) struct NdjsonSource {
    rows: Arc<RowSource>,
    storage: Storage,
    reject_room: RejectRoom,
    table_schema: TableSchema,
    /// Columns of the scan: index into the full schema, and name.
    projected: Vec<(usize, String)>,
    /// Projection to these columns, in the form of DataFusion.
    projection: ProjectionExprs,
    metrics: ExecutionPlanMetricsSet,
    /// Number of the task that scans it, and the task's counters.
    task: usize,
    counters: Arc<TaskCounters>,
    execution: Arc<Mutex<Execution>>,
}

/// State that the scans of all partitions of one execution share.
#[derive(Default)]
struct Execution {
    /// Contexts of the partitions being scanned, and idle ones for reuse.
    contexts: HashMap<usize, SharedContext>,
    free: Vec<SharedContext>,
    /// Prefetcher for all partitions, made when the first is scanned.
    ahead: Option<Arc<Mutex<RangePrefetcher>>>,
}

type SharedContext = Arc<Mutex<ScanContext>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NdjsonSource {
    /// A source of all columns of files in this storage.
    pub(crate) fn new(rows: RowSource, storage: Storage) -> Self {
        let schema = rows.full_schema();
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let projected = schema.fields().iter().map(|field| field.name().clone()).enumerate().collect();
        Self {
            projected,
            reject_room: RejectRoom::new(rows.limits.max_rejected_bytes),
            rows: Arc::new(rows),
            storage,
            projection: ProjectionExprs::from_indices(&all, &schema),
            table_schema: TableSchema::from(schema),
            metrics: ExecutionPlanMetricsSet::new(),
            task: 0,
            counters: Arc::default(),
            execution: Arc::default(),
        }
    }

    /// Description of the rows that the scan produces.
    pub(crate) fn rows(&self) -> &RowSource {
        &self.rows
    }

    /// The projection as indices into the full schema and names.
    pub(crate) fn projected(&self) -> &[(usize, String)] {
        &self.projected
    }

    /// Returns this source with a projection, as [`Self::projected`] gives it.
    pub(crate) fn with_projected(&self, projected: Vec<(usize, String)>) -> Result<Self> {
        let schema = self.table_schema.table_schema();
        let all = RowSource::all_columns(&self.rows.layout);
        let column = |(index, _): &(usize, String)| {
            let missing = || DataFusionError::Internal(format!("column {index} of a scan of {}", all.len()));
            all.get(*index).copied().ok_or_else(missing)
        };
        let output = projected.iter().map(column).collect::<Result<_>>()?;
        let indices: Vec<usize> = projected.iter().map(|(index, _)| *index).collect();
        let columns = ProjectionExprs::from_indices(&indices, schema);
        let renamed = columns.iter().zip(&projected).map(|(p, (_, name))| ProjectionExpr::new(p.expr.clone(), name));
        Ok(Self {
            projection: ProjectionExprs::new(renamed.collect::<Vec<_>>()),
            projected,
            rows: Arc::new(RowSource { output, ..(*self.rows).clone() }),
            ..self.clone()
        })
    }

    /// Copies the source for an execution of its own, by the task of this number.
    pub(crate) fn of_task(&self, task: usize) -> Self {
        let (execution, counters) = (Arc::default(), Arc::default());
        Self { task, execution, counters, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }
    }

    /// Makes the source share the remaining bytes for rejected lines with other tasks of its plan.
    pub(crate) fn rejecting_into(self, reject_room: RejectRoom) -> Self {
        Self { reject_room, ..self }
    }

    /// Makes the source report to its task's counters.
    pub(crate) fn counting(self, counters: Arc<TaskCounters>) -> Self {
        Self { counters, ..self }
    }

    /// Returns this source for a second pass that keeps no rejected lines and appends the line number as a last column.
    pub(crate) fn with_lines(&self) -> Result<Self> {
        let mut projected = self.projected.clone();
        projected.push((self.rows.layout.keys.len() + LINE_PLACE, METADATA_COLUMNS[LINE_PLACE].to_owned()));
        let with = self.of_task(self.task).with_projected(projected)?;
        Ok(Self { rows: Arc::new(RowSource { staging: None, ..(*with.rows).clone() }), ..with })
    }

    /// Schema of the rows, after projection.
    pub(crate) fn schema(&self) -> SchemaRef {
        let all = self.table_schema.table_schema();
        let field = |(index, name): &(usize, String)| all.field(*index).clone().with_name(name);
        Arc::new(Schema::new(self.projected.iter().map(field).collect::<Vec<_>>()))
    }

    fn context_of(&self, partition: usize) -> Option<SharedContext> {
        lock(&self.execution).contexts.get(&partition).cloned()
    }

    /// Ends the scan of a partition after its stream was dropped, and frees its context for reuse. Returns the file
    /// of its rejected lines, if there are any.
    pub(crate) fn release(&self, partition: usize) -> StorageResult<Option<StagedFile>> {
        let Some(context) = lock(&self.execution).contexts.remove(&partition) else { return Ok(None) };
        let rejects = std::mem::replace(&mut lock(&context).rejects, self.rejects());
        lock(&self.execution).free.push(context);
        rejects.finish()
    }

    /// Takes the results of the scans of all partitions, once they are released.
    pub(crate) fn take_contexts(&self) -> Vec<ScanContext> {
        let shared = std::mem::take(&mut lock(&self.execution).free);
        let owned = shared.into_iter().filter_map(Arc::into_inner);
        owned.map(|mutex| mutex.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Bytes of stored objects that the scan of a partition has consumed so far.
    pub(crate) fn stored_bytes(&self, partition: usize) -> u64 {
        self.context_of(partition).map_or(0, |context| lock(&context).stored_bytes)
    }

    /// Returns written rows to the scan of a partition, which reuses their buffers.
    pub(crate) fn recycle(&self, partition: usize, rows: Rows) {
        if let Some(context) = self.context_of(partition) {
            lock(&context).recycle(rows);
        }
    }

    /// Stream of the rows of a partition, which is one of these groups of ranges.
    pub(crate) fn scan(
        &self,
        partition: usize,
        groups: &[Vec<FileRange>],
    ) -> Result<impl Iterator<Item = Result<Rows>> + use<>> {
        let missing = || DataFusionError::Internal(format!("partition {partition} of a scan of {}", groups.len()));
        let ranges = groups.get(partition).ok_or_else(missing)?.clone().into_iter();
        let (context, ahead) = self.begin(partition, groups.iter().flatten());
        lock(&context).make_long_batches();
        Ok(ranges.flat_map(move |range| range_rows(context.clone(), &ahead, range)))
    }

    fn rejects(&self) -> RejectSink {
        let to = |place: Staging| (self.storage.staging(place), self.reject_room.clone());
        RejectSink::new(self.rows.staging.clone().map(to), self.task)
    }

    /// Context for the scan of a partition, and the shared prefetcher of all ranges.
    fn begin<'a>(
        &self,
        partition: usize,
        all: impl Iterator<Item = &'a FileRange>,
    ) -> (SharedContext, Arc<Mutex<RangePrefetcher>>) {
        let scan = || ScanContext::new(self.rows.clone(), self.rejects()).counting(self.counters.clone());
        let make = || Arc::new(Mutex::new(scan()));
        let Execution { contexts, free, ahead } = &mut *lock(&self.execution);
        let context = contexts.entry(partition).or_insert_with(|| free.pop().unwrap_or_else(make)).clone();
        let begin = || Arc::new(Mutex::new(RangePrefetcher::of(self.storage.clone(), all, self.rows.limits)));
        (context, ahead.get_or_insert_with(begin).clone())
    }
}

impl FileSource for NdjsonSource {
    fn create_file_opener(
        &self,
        _object_store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let files = config.file_groups.iter().flat_map(FileGroup::iter);
        let (context, ahead) = self.begin(partition, files.filter_map(|file| file.extension::<FileRange>()));
        Ok(Arc::new(NdjsonOpener { context, ahead, schema: config.projected_schema()? }))
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table_schema
    }

    fn with_batch_size(&self, _batch_size: usize) -> Arc<dyn FileSource> {
        // Batches are cut by bytes, so that they fit the CPU cache whatever the width of the rows.
        Arc::new(self.clone())
    }

    /// Pushes projections to distinct columns down into the scan; expressions stay in a projection above.
    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.try_merge(projection)?;
        let mut seen = HashSet::new();
        let columns: Option<Vec<(usize, String)>> = merged
            .iter()
            .map(|p| p.expr.downcast_ref::<Column>().map(|column| (column.index(), p.alias.clone())))
            .collect();
        let Some(columns) = columns.filter(|columns| columns.iter().all(|(index, _)| seen.insert(*index))) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(self.with_projected(columns)?)))
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "ndjson"
    }

    fn fmt_extra(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", manifest={}", self.rows.manifest_id)
    }

    /// Ranges are cut between lines when the attempt is planned, and must not be cut again.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots(self.projection.iter(), f)
    }
}

struct NdjsonOpener {
    context: SharedContext,
    ahead: Arc<Mutex<RangePrefetcher>>,
    schema: SchemaRef,
}

/// Prefetch from a bucket: requests for the next ranges are sent while others are scanned, since an answer takes longer
/// than the scan of a small file. The window doubles each time that a scan had to wait.
struct RangePrefetcher {
    storage: Storage,
    /// All ranges in order, and the state of each.
    ranges: Vec<(FileRange, RangeState)>,
    /// Index of each range, by the number of its file and its start.
    by_start: HashMap<(u32, u64), usize>,
    window: PrefetchWindow,
    limits: Limits,
}

/// State of a range in the prefetcher.
enum RangeState {
    Waiting,
    Open(Result<Input, InputError>),
    Taken,
}

/// Limit of the requests sent ahead of the range that is scanned: at most `ranges`, and no further one once they have
/// `bytes` together.
#[derive(Clone, Copy)]
struct PrefetchWindow {
    ranges: usize,
    bytes: u64,
}

/// Window at first: 4 ranges, or 8 MiB.
const FIRST_WINDOW: PrefetchWindow = PrefetchWindow { ranges: 4, bytes: 8 << 20 };
/// Largest window: 64 ranges, or 32 MiB, which bounds the memory of answers that wait.
const MAX_WINDOW: PrefetchWindow = PrefetchWindow { ranges: 64, bytes: 32 << 20 };

impl RangePrefetcher {
    fn of<'a>(storage: Storage, ranges: impl Iterator<Item = &'a FileRange>, limits: Limits) -> Self {
        let remote = ranges.filter(|range| bucket_and_key(&range.uri).is_some());
        let ranges: Vec<_> = remote.map(|range| (range.clone(), RangeState::Waiting)).collect();
        let by_start = ranges.iter().zip(0..).map(|((range, _), index)| ((range.file, range.start), index)).collect();
        Self { storage, ranges, by_start, window: FIRST_WINDOW, limits }
    }

    /// Doubles the window, after a scan had to wait for its input.
    fn widen(&mut self) {
        let PrefetchWindow { ranges, bytes } = self.window;
        let (ranges, bytes) = ((ranges * 2).min(MAX_WINDOW.ranges), (bytes * 2).min(MAX_WINDOW.bytes));
        self.window = PrefetchWindow { ranges, bytes };
    }

    /// Takes the input of a range in a bucket, and tells whether it was requested ahead. Requests the ranges after it,
    /// for whichever lane takes them.
    fn take(&mut self, range: &FileRange) -> Option<(Result<Input, InputError>, bool)> {
        let index = *self.by_start.get(&(range.file, range.start))?;
        let taken = match std::mem::replace(&mut self.ranges[index].1, RangeState::Taken) {
            RangeState::Open(input) => (input, true),
            RangeState::Waiting | RangeState::Taken => (open_range(&self.storage, range, &self.limits), false),
        };
        let mut open = PrefetchWindow { ranges: 0, bytes: 0 };
        for (next, reading) in &mut self.ranges[index + 1..] {
            if open.ranges >= self.window.ranges || open.bytes >= self.window.bytes {
                break;
            }
            if matches!(reading, RangeState::Waiting) {
                *reading = RangeState::Open(open_range(&self.storage, next, &self.limits));
            }
            if matches!(reading, RangeState::Open(_)) {
                open.ranges += 1;
                open.bytes += next.end - next.start;
            }
        }
        Some(taken)
    }
}

impl fmt::Debug for NdjsonOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NdjsonOpener")
    }
}

impl FileOpener for NdjsonOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let range = file
            .extension::<FileRange>()
            .cloned()
            .ok_or_else(|| DataFusionError::Internal(format!("no byte range for {}", file.path())))?;
        let (rows, schema) = (range_rows(self.context.clone(), &self.ahead, range), self.schema.clone());
        let bug = |e: ArrowError| DataFusionError::Internal(e.to_string());
        let batches = rows.map(move |rows| rows?.to_batch(&schema).map_err(bug));
        Ok(Box::pin(async move { Ok(futures::stream::iter(batches).boxed()) }))
    }
}

/// Rows of a range. Reading starts at once, scanning with the first poll. A range of a faulty file ends there without
/// an error, so that one attempt, which fails, finds the faults of other files, too.
fn range_rows(
    context: SharedContext,
    ahead: &Arc<Mutex<RangePrefetcher>>,
    range: FileRange,
) -> impl Iterator<Item = Result<Rows>> + use<> {
    let ahead = ahead.clone();
    let storage = lock(&ahead).storage.clone();
    let (mut early, was_ahead) = lock(&ahead).take(&range).map_or((None, false), |(input, ahead)| (Some(input), ahead));
    let (mut scan, mut is_over) = (None, false);
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let mut context = lock(&context);
        if was_ahead && matches!(&early, Some(Ok(input)) if !input.has_arrived()) {
            lock(&ahead).widen();
        }
        let next =
            open_scan(&storage, &mut scan, &mut early, &context, &range).and_then(|scan| scan.next_rows(&mut context));
        match &next {
            Ok(Some(rows)) => context.given_rows += rows.len() as u64,
            Ok(None) => {}
            Err(error) => {
                is_over = true;
                if let Some(fault) = fault_of_scan(error) {
                    // Faults beyond the limit of a report are dropped; one is enough for the attempt to fail.
                    if context.faults.len() <= MAX_OTHER_FAULTS {
                        context.faults.push(fault);
                    }
                    return None;
                }
            }
        }
        next.transpose().map(|rows| rows.map_err(|e| DataFusionError::External(Box::new(failure_of_scan(&e)))))
    })
}

type Scan = FileScan<Input>;

fn open_scan<'a>(
    storage: &Storage,
    scan: &'a mut Option<Scan>,
    early: &mut Option<Result<Input, InputError>>,
    context: &ScanContext,
    range: &FileRange,
) -> Result<&'a mut Scan, ScanError> {
    Ok(match scan {
        Some(scan) => scan,
        none => {
            let input = early.take().unwrap_or_else(|| open_range(storage, range, &context.source.limits))?;
            none.insert(FileScan::new(context, range, input))
        }
    })
}

/// A scan of file groups by a source.
pub(crate) fn scan_exec(source: NdjsonSource, groups: Vec<Vec<FileRange>>) -> Arc<dyn ExecutionPlan> {
    let group = |ranges: Vec<FileRange>| FileGroup::new(ranges.into_iter().map(partitioned_file).collect());
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
        .with_file_groups(groups.into_iter().map(group).collect())
        // A file group belongs to one task, so that idle partitions must not take files from others.
        .with_preserve_order(true)
        .build();
    DataSourceExec::from_data_source(config)
}

fn partitioned_file(range: FileRange) -> PartitionedFile {
    let path = range.uri.to_path().map_or_else(|| range.uri.to_string(), |path| path.to_string_lossy().into_owned());
    PartitionedFile::new(path, range.end).with_range(range.start as i64, range.end as i64).with_extension(range)
}

/// The source and the file groups of a plan node, if it is a scan of Millwork's, of whose files each has its range.
pub(crate) fn as_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<(&NdjsonSource, Vec<Vec<FileRange>>)> {
    let (source, groups) = ranges_in_scan(plan)?;
    Some((source, groups.into_iter().map(|group| group.into_iter().cloned().collect()).collect()))
}

/// Finds the source and the file groups of a Millwork scan within a plan.
pub(crate) fn ranges_in_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<(&NdjsonSource, Vec<Vec<&FileRange>>)> {
    let config = plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    let source = config.file_source().downcast_ref::<NdjsonSource>()?;
    Some((source, config.file_groups.iter().map(ranges_of).collect::<Option<_>>()?))
}

fn ranges_of(group: &FileGroup) -> Option<Vec<&FileRange>> {
    group.iter().map(|file| file.extension::<FileRange>()).collect()
}
