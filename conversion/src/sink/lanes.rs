//! Conversion of a task: lanes scan and encode its morsels in parallel.
//!
//! Each lane takes the next morsel in order as soon as it has finished one, so that none idles while there is work left
//! (morsel-driven parallelism). Row groups are written in the order of their morsels: the same plan gives the same
//! bytes, whatever the number and speed of the lanes.

use super::morsels::{Morsels, cut_input};
use super::parts::PartsWriter;
use super::row_groups::{EncodedGroup, RowGroupShape};
use super::{PartError, SinkOptions};
use crate::evaluation;
use crate::failure::failure_of_part;
use crate::host::TaskHost;
use crate::report::{MAX_FAULTS, StagedPart, TaskReport};
use crate::source::{NdjsonSource, as_scan};
use crate::turns::{Allowance, Turn};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use millwork_manifest::Failure;
use millwork_ndjson::{
    FileRange, MAX_LATE_COLUMNS, Position, Rows, ScanContext, ScanError, TaskCounters, check_columns, failure_of_scan,
    in_order, merge_keys,
};
use millwork_parquet_text::RowGroupEncoder;
use millwork_storage::StagedFile;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet, consume_budget, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// Runs one partition. Failures of data or storage become part of the report; an error is a defect of the program.
pub(super) async fn run_task(
    input: &Arc<dyn ExecutionPlan>,
    partition: usize,
    options: &SinkOptions,
    context: &Arc<TaskContext>,
) -> Result<TaskReport> {
    let counters = context.session_config().get_extension::<TaskCounters>().unwrap_or_default();
    let Morsels { plan, source, groups, task } = cut_input(input, partition, options, &counters)?;
    let first = groups.first().and_then(|group| group.first()).map(|range| (range.file, range.start));
    let mut report = TaskReport { executor: TaskHost::of(context)?.name().to_owned(), first, ..TaskReport::default() };
    let bytes = groups.iter().map(|group| group.iter().map(|range| range.end - range.start).sum()).collect();
    let converted = convert(plan, source.clone(), bytes, (context.clone(), counters), task, options).await;
    let scans = source.take_contexts();
    report.faults = scans.iter().flat_map(|scan| &scan.faults).take(MAX_FAULTS).cloned().collect();
    tell_converted(&mut report, converted);
    if report.failure.is_some() {
        return Ok(report);
    }
    tell_scans(&mut report, scans);
    if let Err(error) = check_new_columns(&report, &source.rows().layout.keys, &groups) {
        report.failure = Some(failure_of_scan(&error));
        report.new_keys.clear();
    }
    Ok(report)
}

/// Puts the files of a conversion into a report, or the failure of it or of an input file.
fn tell_converted(report: &mut TaskReport, converted: Result<(Vec<StagedPart>, Vec<StagedFile>), PartError>) {
    report.failure = Failure::of_files(report.faults.iter().cloned());
    match converted {
        Err(error) => report.failure = Some(failure_of_part(&error)),
        Ok((parts, rejects)) if report.failure.is_none() => (report.parts, report.rejects) = (parts, rejects),
        Ok(_) => {}
    }
}

/// Puts the rows, lines and keys of all scans into a report.
fn tell_scans(report: &mut TaskReport, scans: Vec<ScanContext>) {
    let (mut late_keys, mut new_keys) = (HashMap::new(), HashMap::new());
    for scan in scans {
        merge_keys(&mut late_keys, scan.keys.late_keys());
        merge_keys(&mut new_keys, scan.keys.new_keys());
        merge_first_seen(&mut report.first_seen, scan.keys.first_seen());
        report.given_rows += scan.given_rows;
        report.ledger.extend(scan.ledger);
    }
    report.ledger.sort_by_key(|range| (range.file, range.start));
    tell_keys(report, late_keys, new_keys);
}

/// Puts the keys that turned up into a report, whatever lanes came across which of them: the same input gives the same output. With
/// keys that have no column, or too many that have one, the attempt is planned again, and the parts are nobody's.
fn tell_keys(report: &mut TaskReport, late: HashMap<String, Position>, mut new: HashMap<String, Position>) {
    let footers: usize = report.parts.iter().map(|part| part.late_footer.len()).sum();
    let is_too_much = late.len() > MAX_LATE_COLUMNS || footers > MAX_LATE_FOOTER_BYTES;
    if new.is_empty() && !is_too_much {
        report.late_keys = in_order(late);
        return;
    }
    merge_keys(&mut new, in_order(late));
    report.new_keys = in_order(new);
    if !report.new_keys.is_empty() {
        report.parts.clear();
    }
}

/// Refuses more columns than there may be, with those of the keys that a report tells of.
fn check_new_columns(report: &TaskReport, known: &[String], groups: &[Vec<FileRange>]) -> Result<(), ScanError> {
    let Some(last) = report.new_keys.last() else { return Ok(()) };
    let keys = || known.iter().chain(report.new_keys.iter().map(|new| &new.key));
    let uri = || {
        let range = groups.iter().flatten().find(|range| range.file == last.at.file);
        range.map_or_else(|| format!("file {} of the manifest", last.at.file), |range| range.uri.to_string())
    };
    check_columns(keys().count(), keys().map(String::len).sum(), uri)
}

/// Limit of the footers of added columns that a task reports, in bytes: 16 MiB, since its report has to hold them.
const MAX_LATE_FOOTER_BYTES: usize = 16 << 20;

fn merge_first_seen<T: Copy + Ord>(into: &mut Vec<Option<T>>, from: &[Option<T>]) {
    into.resize(from.len().max(into.len()), None);
    for (into, from) in into.iter_mut().zip(from) {
        *into = [*into, *from].into_iter().flatten().min();
    }
}

/// Number of threads in this process that can run lanes.
fn threads() -> usize {
    Handle::current().metrics().num_workers()
}

/// State that the lanes of a task share.
struct Work {
    /// Plan with a partition for each morsel.
    plan: Arc<dyn ExecutionPlan>,
    /// Ranges of each morsel, if the plan is the scan and at most selects columns: rows are then passed on without
    /// being made into batches.
    scanned: Option<Vec<Vec<FileRange>>>,
    source: NdjsonSource,
    context: Arc<TaskContext>,
    shape: Arc<RowGroupShape>,
    /// Number of lanes that run.
    lanes: usize,
    /// Stored bytes of each morsel, and the permits of `room` that it takes.
    bytes: Vec<u64>,
    rooms: Vec<u32>,
    /// Morsels that no lane has taken yet, each with the channel for its row groups.
    rest: Mutex<VecDeque<(usize, mpsc::Sender<EncodedGroup>)>>,
    /// Cancelled once all morsels are taken.
    is_all_taken: CancellationToken,
    /// Cancelled once the rest of the task is no longer wanted.
    is_given_up: CancellationToken,
    /// Permits for morsels that are begun and not yet written, which bound the memory of row groups that wait for
    /// earlier ones.
    room: Arc<Semaphore>,
    allowance: Arc<Allowance>,
    host: Arc<TaskHost>,
}

/// Permits that the largest morsel of a task takes.
const WHOLE: u32 = 16;
/// Number of largest morsels, beyond one per lane, for which there are permits: one that waits for an earlier one,
/// and one being written. Smaller morsels take fewer permits.
const WAITING: usize = 2;

/// Permits that each morsel takes, in proportion to its stored bytes.
fn room_for(bytes: &[u64]) -> Vec<u32> {
    let largest = bytes.iter().copied().max().unwrap_or(0).max(1);
    bytes.iter().map(|bytes| (bytes * u64::from(WHOLE)).div_ceil(largest).clamp(1, WHOLE.into()) as u32).collect()
}

/// Converts all morsels. Returns the output files and the files of rejected lines, in order.
async fn convert(
    plan: Arc<dyn ExecutionPlan>,
    source: NdjsonSource,
    bytes: Vec<u64>,
    (context, counters): (Arc<TaskContext>, Arc<TaskCounters>),
    task: usize,
    options: &SinkOptions,
) -> Result<(Vec<StagedPart>, Vec<StagedFile>), PartError> {
    let (work, receivers) = Work::new(plan, source, bytes, context, options)?;
    let _gives_up = work.is_given_up.clone().drop_guard();
    let staging = work.host.storage().staging(options.staging.clone());
    let settings = (options, staging, counters.clone());
    let writer = PartsWriter::new(work.shape.clone(), work.bytes.iter().sum(), task, settings);
    counters.keep_to(work.allowance.clone());
    let work = Arc::new(work);
    let written = start_writing(&work, writer, receivers);
    let rejects = run_lanes(&work, &counters).await?;
    let parts = written.await??.finish().await?;
    Ok((parts, rejects))
}

/// Starts to write the row groups. Writing mostly waits for the storage, so that it runs beside the lanes.
fn start_writing(
    work: &Work,
    writer: PartsWriter,
    receivers: Vec<mpsc::Receiver<EncodedGroup>>,
) -> JoinHandle<Result<PartsWriter, PartError>> {
    let (room, is_given_up) = (work.room.clone(), work.is_given_up.clone());
    let sizes: Vec<_> = work.bytes.iter().copied().zip(work.rooms.iter().copied()).collect();
    let morsels = sizes.into_iter().zip(receivers);
    spawn_blocking(move || write_in_order(writer, morsels, &room, is_given_up))
}

/// Runs the lanes until all morsels are converted. Returns the files of rejected lines, in order.
async fn run_lanes(work: &Arc<Work>, counters: &Arc<TaskCounters>) -> Result<Vec<StagedFile>, PartError> {
    let mut running: JoinSet<_> = (0..work.lanes).map(|_| counters.timed_future(run_lane(work.clone()))).collect();
    let mut rejects = Vec::new();
    while let Some(lane) = running.join_next().await {
        rejects.extend(lane??);
    }
    counters.all_read();
    rejects.sort_by_key(|(morsel, _)| *morsel);
    Ok(rejects.into_iter().map(|(_, file)| file).collect())
}

/// Writes the row groups in the order of the morsels; each morsel comes with its stored bytes and its permits.
fn write_in_order(
    mut writer: PartsWriter,
    morsels: impl Iterator<Item = ((u64, u32), mpsc::Receiver<EncodedGroup>)>,
    room: &Semaphore,
    is_given_up: CancellationToken,
) -> Result<PartsWriter, PartError> {
    // Lanes must stop waiting for this writer, however it ends.
    let _gives_up = is_given_up.clone().drop_guard();
    for ((bytes, taken), mut morsel) in morsels {
        while let Some(group) = morsel.blocking_recv() {
            if is_given_up.is_cancelled() {
                return Err(PartError::GivenUp);
            }
            writer.append(group)?;
        }
        writer.end_morsel(bytes);
        room.add_permits(taken as usize);
    }
    Ok(writer)
}

/// Converts one morsel after another while there are any. Returns the files of rejected lines, each with its morsel.
async fn run_lane(work: Arc<Work>) -> Result<Vec<(usize, StagedFile)>, PartError> {
    let (mut kept, mut turn, mut rejects) = (None, None, Vec::new());
    while let Some((morsel, sender)) = next_morsel(&work, &mut turn).await {
        let encoder = match &mut kept {
            Some(encoder) => encoder,
            none => none.insert(RowGroupEncoder::new(work.shape.columns.clone())?),
        };
        if !run_morsel(&work, morsel, encoder, sender).await? {
            break;
        }
        let source = work.source.clone();
        let rejected = spawn_blocking(move || source.release(morsel)).await??;
        rejects.extend(rejected.map(|file| (morsel, file)));
        if work.host.turns().has_next() {
            // A lane of another task goes next, and needs the memory of this one.
            (turn, kept) = (None, None);
        }
    }
    Ok(rejects)
}

/// Takes the next morsel for a lane. The lane keeps its turn between morsels, but gives it up while it waits for
/// permits.
async fn next_morsel(work: &Work, turn: &mut Option<Turn>) -> Option<(usize, mpsc::Sender<EncodedGroup>)> {
    loop {
        let (next, needed) = work.next()?;
        if work.room.available_permits() < needed as usize {
            *turn = None;
            // Another lane may take the permits first, so that this one checks again.
            drop(or_over(work, async { work.room.acquire_many(needed).await.ok() }).await?);
        }
        if turn.is_none() {
            let granted = async { Some(work.allowance.clone().turn().await) };
            *turn = Some(or_over(work, granted).await?);
        }
        let mut rest = work.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_next = rest.front().is_some_and(|(morsel, _)| *morsel == next);
        let Some(room) = work.room.try_acquire_many(needed).ok().filter(|_| is_next) else { continue };
        // The permits are returned by the writer of the morsel.
        room.forget();
        let next = rest.pop_front()?;
        if rest.is_empty() {
            work.is_all_taken.cancel();
        }
        return Some(next);
    }
}

impl Work {
    /// State before any lane runs, and the receiver of each morsel's row groups.
    fn new(
        plan: Arc<dyn ExecutionPlan>,
        source: NdjsonSource,
        bytes: Vec<u64>,
        context: Arc<TaskContext>,
        options: &SinkOptions,
    ) -> Result<(Self, Vec<mpsc::Receiver<EncodedGroup>>), PartError> {
        let (senders, receivers): (VecDeque<_>, Vec<_>) = bytes.iter().map(|_| mpsc::channel(1)).unzip();
        let lanes = options.lanes.min(threads()).clamp(1, bytes.len().max(1));
        let host = TaskHost::of(&context)?;
        let work = Self {
            scanned: as_scan(&plan).map(|(_, groups)| groups),
            shape: Arc::new(RowGroupShape::new(plan.schema(), options, bytes.len())?),
            lanes,
            rooms: room_for(&bytes),
            rest: Mutex::new((0..).zip(senders).collect()),
            is_all_taken: CancellationToken::new(),
            is_given_up: CancellationToken::new(),
            room: Arc::new(Semaphore::new((lanes + WAITING) * WHOLE as usize)),
            allowance: Allowance::of(bytes.iter().sum(), host.turns().clone()),
            host,
            plan,
            source,
            context,
            bytes,
        };
        Ok((work, receivers))
    }

    /// The next morsel to be taken, and the permits it needs.
    fn next(&self) -> Option<(usize, u32)> {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.front().map(|(morsel, _)| (*morsel, self.rooms[*morsel]))
    }
}

/// Waits for a permit or turn. Returns `None` if all morsels are taken or the task is given up.
async fn or_over<T>(work: &Work, permit: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::select! {
        permit = permit => permit,
        () = work.is_all_taken.cancelled() => None,
        () = work.is_given_up.cancelled() => None,
    }
}

/// The rows of a morsel.
fn rows_of(work: &Work, morsel: usize) -> Result<BoxStream<'static, Result<Rows>>> {
    if let Some(groups) = &work.scanned {
        return Ok(futures::stream::iter(work.source.scan(morsel, groups)?).boxed());
    }
    let batches = work.plan.execute(morsel, work.context.clone())?;
    Ok(batches.map(|batch| Ok(Rows::from_batch(&batch?)?)).boxed())
}

/// Scans and encodes a morsel. Returns false if nobody wants the result any more.
async fn run_morsel(
    work: &Work,
    morsel: usize,
    encoder: &mut RowGroupEncoder,
    sender: mpsc::Sender<EncodedGroup>,
) -> Result<bool, PartError> {
    let Work { source, shape, .. } = work;
    let mut input = rows_of(work, morsel)?;
    let before = source.stored_bytes(morsel);
    let share = || (source.stored_bytes(morsel) - before) as f64 / work.bytes[morsel].max(1) as f64;
    let (mut consumed, mut groups) = (before, 0);
    while !work.is_given_up.is_cancelled() {
        // Yields to other work on this thread now and then.
        consume_budget().await;
        let rows = input.try_next().await.map_err(|error| evaluation::without_values(&work.plan, morsel, error))?;
        let is_end = rows.is_none();
        if let Some(rows) = rows {
            encoder.write(&rows)?;
            source.recycle(morsel, rows);
        }
        if encoder.rows() > 0 && (is_end || shape.is_full(encoder, groups, share)) {
            groups += 1;
            let now = source.stored_bytes(morsel);
            let encoded = EncodedGroup::close(encoder, now - consumed)?;
            consumed = now;
            if sender.send(encoded).await.is_err() {
                return Ok(false);
            }
        }
        if is_end {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_morsels_take_little_room() {
        assert_eq!(room_for(&[100, 100, 50, 6, 0]), [16, 16, 8, 1, 1]);
        assert_eq!(room_for(&[0]), [1]);
        assert_eq!(room_for(&[]), [0; 0]);
    }
}
