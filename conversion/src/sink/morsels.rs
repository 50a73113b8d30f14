//! The input of a task, cut into morsels: runs of files, or of ranges of a large one, of which each makes about a row group.

use super::row_groups::max_row_groups;
use super::{MorselSizes, SinkOptions};
use crate::source::{NdjsonSource, ranges_in_scan, scan_exec};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use millwork_ndjson::{FileRange, TaskCounters};
use std::sync::Arc;

/// Each lane is to get this share of its part of what is left, so that one which is slower ends no later than the others, and that
/// the large morsels, which end at about the same time, are written while the smaller ones are converted. A smaller share makes more row
/// groups, each of which has dictionaries of its own.
const EVEN_SHARE: f64 = 0.67;
/// The least morsel is this share of a whole one, or of a lane's part of all, whichever is less: the last to end keeps the others
/// waiting for no longer than that takes.
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

/// Rewrites the input of a task so that the scan of one file group becomes one of its morsels.
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
        // The engine may give a task its partition under another number.
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

/// Cuts a list of ranges into up to `most` morsels: whole ones as long as there is enough for all lanes, then for each lane a smaller
/// one, and again (factoring), down to the least.
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
        // Up to the range whose middle is past the goal; what would be left over is too little for a morsel of its own.
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

    /// The sizes of the morsels that single bytes are cut into.
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
        // Each lane gets something, if it is not too little.
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
        // A file that is a little less than the least morsel is a morsel of its own, each time.
        assert_eq!(lengths(&[3; 24], 2), [8, 8, 3, 3, 1, 1]);
    }
}
