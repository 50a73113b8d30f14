//! The input of a task, cut into morsels: runs of files, or of ranges of a large one, of which each makes about a row group.

use super::row_groups::max_row_groups;
use super::{MorselSizes, SinkOptions};
use crate::source::{FileRange, NdjsonSource, as_scan, scan_exec};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Each lane is to get this share of its part of what is left, so that one which is slower ends no later than the others, and that
/// the large morsels, which end at about the same time, are written while the smaller ones are converted.
const EVEN_SHARE: f64 = 0.6;
/// The least morsel is this share of a whole one, or of a lane's part of all, whichever is less: the last to end keeps the others
/// waiting for no longer than that takes.
const LEAST_OF_WHOLE: u64 = 32;
const LEAST_OF_PART: u64 = 128;

/// The input of one task, with a partition for each morsel.
pub(super) struct Morsels {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) source: NdjsonSource,
    pub(super) groups: Vec<Vec<FileRange>>,
}

/// Rewrites the input of a task so that the scan of one file group becomes one of its morsels.
pub(super) fn cut_input(input: &Arc<dyn ExecutionPlan>, partition: usize, options: &SinkOptions) -> Result<Morsels> {
    let most = max_row_groups(input.schema().fields().len());
    let mut found = None;
    let rewritten = input.clone().transform_up(|node| {
        let Some((source, groups)) = as_scan(&node) else { return Ok(Transformed::no(node)) };
        let source = source.fresh();
        let ranges = groups.get(partition).cloned().unwrap_or_default();
        let groups = cut(ranges, options.lanes, options.morsels, most);
        let scan = scan_exec(source.clone(), groups.clone());
        found = Some((source, groups));
        Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
    })?;
    let (source, groups) = found.ok_or_else(|| DataFusionError::Internal("the sink's input has no scan".to_owned()))?;
    Ok(Morsels { plan: rewritten.data, source, groups })
}

/// Cuts a list of ranges into up to `most` morsels.
fn cut(ranges: Vec<FileRange>, lanes: usize, sizes: MorselSizes, most: usize) -> Vec<Vec<FileRange>> {
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let mut goals = few_goals(total, lanes as u64, sizes, most).into_iter();
    let mut groups: Vec<Vec<FileRange>> = Vec::new();
    let (mut before, mut goal_end) = (0, 0);
    for range in ranges {
        let size = range.end - range.start;
        // The morsel in whose goal the middle of the range falls; none stays empty.
        let mut is_past = groups.is_empty();
        while before + size / 2 >= goal_end
            && let Some(goal) = goals.next()
        {
            (is_past, goal_end) = (true, goal_end + goal);
        }
        before += size;
        match groups.last_mut() {
            Some(group) if !is_past => group.push(range),
            _ => groups.push(vec![range]),
        }
    }
    if groups.is_empty() { vec![Vec::new()] } else { groups }
}

/// Up to `most` goals: those of [`goals`], with a larger least one where there would be more.
fn few_goals(total: u64, lanes: u64, MorselSizes { whole, mut least }: MorselSizes, most: usize) -> Vec<u64> {
    let whole = whole.max(total.div_ceil(most as u64));
    loop {
        let goals = goals(total, lanes, whole, least);
        // Of whole ones there are no more than that.
        if goals.len() <= most || least >= whole {
            return goals;
        }
        least = (least * 2).max(1);
    }
}

/// The bytes that each morsel should have: whole ones as long as there is enough for all lanes, then for each lane a smaller one,
/// and again (factoring), down to the least, which has at least so many bytes.
fn goals(total: u64, lanes: u64, whole: u64, least_bytes: u64) -> Vec<u64> {
    let (lanes, whole) = (lanes.max(1), whole.max(1));
    let least = match lanes {
        1 => whole,
        _ => (whole / LEAST_OF_WHOLE).min(total / lanes / LEAST_OF_PART).clamp(least_bytes.clamp(1, whole), whole),
    };
    let (mut rest, mut goals) = (total, Vec::new());
    while rest > 0 {
        let share = ((rest as f64 * EVEN_SHARE) as u64 / lanes).clamp(least, whole);
        for _ in 0..lanes {
            // What would be left over is too little for a morsel of its own.
            let goal = if rest < share + least / 2 { rest } else { share };
            goals.push(goal);
            rest -= goal;
            if rest == 0 {
                break;
            }
        }
    }
    goals
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
        fn goals_add_up_and_never_grow(total in 0u64..100_000, lanes in 0u64..20, whole in 0u64..20_000, least in 0u64..900) {
            let goals = goals(total, lanes, whole, least);
            prop_assert_eq!(goals.iter().sum::<u64>(), total);
            let (last, others) = goals.split_last().map_or((0, &goals[..]), |(last, others)| (*last, others));
            prop_assert!(others.is_sorted_by(|a, b| a >= b), "{:?}", goals);
            prop_assert!(last <= whole.max(1) + whole / 2, "{:?}", goals);
            prop_assert!(others.iter().all(|goal| *goal >= least.min(whole)), "{:?}", goals);
        }
    }

    #[test]
    fn morsels_are_whole_first_and_small_last() {
        assert_eq!(goals(1000, 1, 300, 0), [300, 300, 400]);
        assert_eq!(goals(1000, 2, 200, 0), [200, 200, 180, 180, 72, 72, 28, 28, 12, 12, 4, 4, 3, 3, 2]);
        assert_eq!(goals(1000, 2, 1000, 0), [300, 300, 120, 120, 48, 48, 19, 19, 7, 7, 3, 3, 3, 3]);
        // Where there may be fewer, the smallest are larger.
        let few = |most| few_goals(1000, 2, MorselSizes { whole: 200, least: 3 }, most);
        assert_eq!(few(15), goals(1000, 2, 200, 3));
        assert_eq!(few(14), [200, 200, 180, 180, 72, 72, 28, 28, 12, 12, 6, 6, 4]);
        assert_eq!(few(5), [200, 200, 192, 192, 216]);
        assert_eq!(few(3), [334, 334, 332]);
        // Each lane gets something, if it is not too little.
        assert_eq!(goals(1000, 4, 1_000_000, 0)[..5], [150, 150, 150, 150, 60]);
        assert_eq!(goals(1000, 10, 1_000_000, 400), [400, 400, 200]);
        let lengths = |megabytes: &[u64], lanes| {
            let sizes: Vec<u64> = megabytes.iter().map(|size| size << 20).collect();
            let goals = MorselSizes { whole: 40 << 20, least: 4 << 20 };
            cut(ranges(&sizes), lanes, goals, 100).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[10; 8], 1), [4, 4]);
        assert_eq!(lengths(&[10; 8], 2), [2, 3, 1, 1, 1]);
        assert_eq!(lengths(&[1, 1, 100], 2), [2, 1]);
        assert_eq!(lengths(&[], 2), [0]);
    }
}
