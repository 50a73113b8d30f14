//! Cutting of a task's input into morsels: runs of files, or of ranges of a large file, each of which makes about one
//! row group.

use super::row_groups::max_row_groups;
use super::{MorselSizes, SinkOptions};
use crate::source::{NdjsonSource, ranges_in_scan, scan_exec};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use millwork_ndjson::{FileRange, TaskCounters};
use std::sync::Arc;

/// Share of an equal part of the remaining input that each lane gets in a round (factoring). With less than 1, a slower
/// lane ends no later than the others, and large morsels, which end at about the same time, are written while smaller
/// ones are converted. A smaller share makes more row groups, each with dictionaries of its own.
const EVEN_SHARE: f64 = 0.67;
/// Divisors for the size of the smallest morsel, of a whole morsel and of a lane's equal part, whichever is less:
/// bounds how long the last lane keeps the others waiting.
const LEAST_OF_WHOLE: u64 = 32;
const LEAST_OF_PART: u64 = 128;

/// The input of one task, with a partition for each morsel.
pub(super) struct Morsels {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) source: NdjsonSource,
    pub(super) groups: Vec<Vec<FileRange>>,
    /// The number of the task.
    pub(super) task: usize,
}

/// Rewrites the input of a task so that its one file group becomes a partition per morsel.
pub(super) fn cut_input(
    input: &Arc<dyn ExecutionPlan>,
    partition: usize,
    options: &SinkOptions,
    counters: &Arc<TaskCounters>,
) -> Result<Morsels> {
    let most = max_row_groups(input.schema().fields().len());
    let mut found = None;
    let rewritten = input.clone().transform_up(|node| {
        let Some((source, groups)) = ranges_in_scan(&node) else { return Ok(Transformed::no(node)) };
        let ranges: Vec<FileRange> =
            groups.get(partition).into_iter().flatten().map(|range| (*range).clone()).collect();
        let first = ranges.first().map(|range| (range.file, range.start));
        // The engine may run a task's partition under another number.
        let task = options.starts.iter().position(|start| Some(*start) == first).unwrap_or(partition);
        let source = source.of_task(task).counting(counters.clone());
        let groups = cut(ranges, options.lanes, options.morsels, most);
        let scan = scan_exec(source.clone(), groups.clone());
        found = Some((source, groups, task));
        Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
    })?;
    let (source, groups, task) =
        found.ok_or_else(|| DataFusionError::Internal("the sink's input has no scan".to_owned()))?;
    Ok(Morsels { plan: rewritten.data, source, groups, task })
}

/// Cuts a list of ranges into up to `most` morsels: whole ones while there is enough input for all lanes, then ever
/// smaller ones, one per lane in each round (factoring), down to the least size.
fn cut(ranges: Vec<FileRange>, lanes: usize, sizes: MorselSizes, most: usize) -> Vec<Vec<FileRange>> {
    let size = |range: &FileRange| range.end - range.start;
    let mut rest: u64 = ranges.iter().map(size).sum();
    let (lanes, whole) = (lanes.max(1), sizes.whole.max(rest.div_ceil(most as u64)).max(1));
    let least = match lanes as u64 {
        1 => whole,
        lanes => (whole / LEAST_OF_WHOLE).min(rest / lanes / LEAST_OF_PART).clamp(sizes.least.clamp(1, whole), whole),
    };
    let mut ranges = ranges.into_iter().peekable();
    let (mut share, mut groups) = (whole, Vec::new());
    while ranges.peek().is_some() {
        if groups.len() % lanes == 0 {
            share = ((rest as f64 * EVEN_SHARE) as u64 / lanes as u64).clamp(least, whole);
        }
        let goal = share.max(rest.div_ceil((most - groups.len()) as u64));
        let (mut group, mut bytes) = (Vec::new(), 0);
        // Ranges are added until the middle of the next one is past the goal, or if what would remain is too little for
        // a morsel of its own.
        let is_part = |group: &[_], bytes: u64, next: &FileRange| {
            group.is_empty() || 2 * bytes + size(next) < 2 * goal || rest - bytes < least.div_ceil(2)
        };
        while let Some(range) = ranges.next_if(|next| is_part(&group, bytes, next)) {
            bytes += size(&range);
            group.push(range);
        }
        rest -= bytes;
        groups.push(group);
    }
    if groups.is_empty() { vec![Vec::new()] } else { groups }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::Compression;
    use proptest::prelude::*;

    fn ranges(sizes: &[u64]) -> Vec<FileRange> {
        let range = |(file, size): (u32, &u64)| FileRange {
            file,
            uri: "/a".parse().unwrap(),
            inside: None,
            etag: String::new(),
            size_bytes: *size,
            start: 0,
            end: *size,
            compression: Compression::None,
            lines_before: 0,
        };
        (0..).zip(sizes).map(range).collect()
    }

    proptest! {
        #[test]
        fn morsels_hold_all_ranges_in_order(
            sizes in prop::collection::vec(0u64..1000, 0..60),
            (lanes, whole, most) in (0usize..9, 0u64..40, 1usize..40),
        ) {
            let sizes: Vec<u64> = sizes.into_iter().map(|size| size << 14).collect();
            let morsels = cut(ranges(&sizes), lanes, MorselSizes { whole: whole << 20, least: 4 << 20 }, most);
            let files: Vec<u32> = morsels.iter().flatten().map(|range| range.file).collect();
            prop_assert_eq!(files, (0..sizes.len() as u32).collect::<Vec<_>>());
            prop_assert!((1..=most).contains(&morsels.len()));
            prop_assert!(sizes.is_empty() || morsels.iter().all(|morsel| !morsel.is_empty()), "{:?}", sizes);
        }

        #[test]
        fn morsels_never_grow(total in 0u64..3000, lanes in 0usize..20, whole in 0u64..2000, least in 0u64..90) {
            let morsels = bytes(total, lanes, MorselSizes { whole, least }, usize::MAX);
            prop_assert_eq!(morsels.iter().sum::<u64>(), total);
            let (last, others) = morsels.split_last().map_or((0, &morsels[..]), |(last, others)| (*last, others));
            prop_assert!(others.is_sorted_by(|a, b| a >= b), "{:?}", morsels);
            prop_assert!(last <= whole.max(1) + whole / 2, "{:?}", morsels);
            prop_assert!(others.iter().all(|bytes| *bytes >= least.min(whole)), "{:?}", morsels);
        }
    }

    /// Sizes of the morsels that ranges of one byte each are cut into.
    fn bytes(total: u64, lanes: usize, sizes: MorselSizes, most: usize) -> Vec<u64> {
        let morsels = cut(ranges(&vec![1; total as usize]), lanes, sizes, most);
        morsels.iter().map(|morsel| morsel.len() as u64).collect()
    }

    #[test]
    fn morsels_are_whole_first_and_small_last() {
        let many = |total, lanes, whole, least| bytes(total, lanes, MorselSizes { whole, least }, usize::MAX);
        assert_eq!(many(1000, 1, 300, 0), [300, 300, 400]);
        assert_eq!(many(1000, 2, 200, 0), [200, 200, 200, 200, 67, 67, 22, 22, 7, 7, 3, 3, 2]);
        assert_eq!(many(1000, 2, 1000, 0), [335, 335, 110, 110, 36, 36, 12, 12, 4, 4, 3, 3]);
        // A limit of the number of morsels makes the last ones larger.
        let few = |most| bytes(1000, 2, MorselSizes { whole: 200, least: 3 }, most);
        assert_eq!(few(13), many(1000, 2, 200, 3));
        assert_eq!(few(12), [200, 200, 200, 200, 67, 67, 22, 22, 7, 7, 4, 4]);
        assert_eq!(few(5), [200, 200, 200, 200, 200]);
        assert_eq!(few(3), [334, 334, 332]);
        // Each lane gets a morsel, unless it would be too small.
        assert_eq!(many(1000, 4, 1_000_000, 0)[..5], [167, 167, 167, 167, 55]);
        assert_eq!(many(1000, 10, 1_000_000, 400), [400, 400, 200]);
        let lengths = |megabytes: &[u64], lanes| {
            let sizes: Vec<u64> = megabytes.iter().map(|size| size << 20).collect();
            let sizes_of_morsels = MorselSizes { whole: 40 << 20, least: 4 << 20 };
            cut(ranges(&sizes), lanes, sizes_of_morsels, 100).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[10; 8], 1), [4, 4]);
        assert_eq!(lengths(&[10; 8], 2), [3, 3, 1, 1]);
        assert_eq!(lengths(&[1, 1, 100], 2), [2, 1]);
        assert_eq!(lengths(&[], 2), [0]);
        // A file slightly smaller than the least morsel becomes a morsel of its own, each time.
        assert_eq!(lengths(&[3; 24], 2), [8, 8, 3, 3, 1, 1]);
    }
}
