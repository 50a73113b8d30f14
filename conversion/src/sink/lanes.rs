//! One task: its input cut into lanes, which scan and encode at the same time.

use super::parts::PartsWriter;
use super::row_groups::{EncodedGroup, RowGroupShape};
use super::{PartError, SinkOptions};
use crate::encode::RowGroupEncoder;
use crate::ndjson::{MAX_COLUMNS, ScanError};
use crate::report::{StagedPart, TaskReport, executor_name, failure_of_part, failure_of_scan};
use crate::source::{FileRange, NdjsonSource, as_scan, scan_exec};
use crate::survey::{in_order, merge_keys};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Runs one partition. What goes wrong with data or storage is part of the report; an error is a defect.
pub(super) async fn run_task(
    input: &Arc<dyn ExecutionPlan>,
    partition: usize,
    options: &SinkOptions,
    context: &Arc<TaskContext>,
) -> Result<TaskReport> {
    let Lanes { plan, source, groups } = split_into_lanes(input, partition, options.lanes)?;
    let first = groups.first().and_then(|group| group.first()).map(|range| (range.file, range.start));
    let bytes = |group: &Vec<FileRange>| group.iter().map(|range| range.end - range.start).sum();
    let lane_bytes: Vec<u64> = groups.iter().map(bytes).collect();
    let streams: Vec<_> = (0..groups.len()).map(|lane| plan.execute(lane, context.clone())).collect::<Result<_>>()?;
    // The engine may give a task its partition under another number.
    let task = options.starts.iter().position(|start| Some(*start) == first).unwrap_or(partition);
    let parts = write_parts(streams, &source, &lane_bytes, task, options).await;
    let mut report = TaskReport { executor: executor_name(), first, ..TaskReport::default() };
    match parts {
        Ok(parts) => report.parts = parts,
        Err(error) => {
            report.failure = Some(failure_of_part(&error));
            return Ok(report);
        }
    }
    let mut new_keys = HashMap::new();
    for lane in 0..groups.len() {
        let Some(scan) = source.take_context(lane) else { continue };
        merge_keys(&mut new_keys, scan.keys.new_keys());
        merge_first_seen(&mut report.first_seen, scan.keys.first_seen());
        report.ledger.extend(scan.ledger);
        match scan.rejects.finish() {
            Ok(rejects) => report.rejects.extend(rejects),
            Err(error) => report.failure = Some(failure_of_part(&error.into())),
        }
    }
    report.new_keys = in_order(new_keys);
    if let Some(last) = report.new_keys.last() {
        report.parts.clear();
        if source.rows().layout.keys.len() + report.new_keys.len() > MAX_COLUMNS {
            let range = groups.iter().flatten().find(|range| range.file == last.at.file);
            let uri = range.map(|range| range.uri.to_string());
            report.failure = Some(failure_of_scan(&ScanError::TooManyColumns(uri.unwrap_or_default())));
            report.new_keys.clear();
        }
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

async fn write_parts(
    streams: Vec<SendableRecordBatchStream>,
    source: &NdjsonSource,
    lane_bytes: &[u64],
    task: usize,
    options: &SinkOptions,
) -> Result<Vec<StagedPart>, PartError> {
    let Some(schema) = streams.first().map(|stream| stream.schema()) else { return Ok(Vec::new()) };
    let shape = Arc::new(RowGroupShape::new(schema, options)?);
    let mut lanes = JoinSet::new();
    let mut receivers = Vec::new();
    for ((lane, stream), bytes) in streams.into_iter().enumerate().zip(lane_bytes) {
        let (sender, receiver) = mpsc::channel(1);
        receivers.push(receiver);
        lanes.spawn(run_lane(stream, shape.clone(), source.clone(), (lane, *bytes), sender));
    }
    let mut writer = PartsWriter::new(&shape, lane_bytes.iter().sum(), task, options);
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

/// Scans and encodes the files of one lane, which have so many bytes.
async fn run_lane(
    mut stream: SendableRecordBatchStream,
    shape: Arc<RowGroupShape>,
    source: NdjsonSource,
    (lane, bytes): (usize, u64),
    sender: mpsc::Sender<EncodedGroup>,
) -> Result<(), PartError> {
    let (mut consumed, mut groups) = (0, 0);
    let share = || source.stored_bytes(lane) as f64 / bytes.max(1) as f64;
    let mut encoder = RowGroupEncoder::new(shape.columns.clone())?;
    loop {
        let batch = stream.try_next().await?;
        let is_end = batch.is_none();
        if let Some(batch) = batch {
            encoder.write(&batch)?;
            source.recycle(lane, batch);
        }
        if encoder.rows() > 0 && (is_end || shape.is_full(&encoder, groups, share)) {
            groups += 1;
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
