//! Estimated bytes of runs whose manifests contain no sizes: each file counts with the mean size of others, so that
//! such a backlog does not count as empty.

use millwork_scaling::Sizes;
use millwork_tracking::{Run, RunCount, RunFilter, TrackingResult, TrackingStore};

/// Number of the newest runs whose sizes are used: 100, those of an hour or more.
const NEWEST: usize = 100;

/// Bytes of a run's input, from its manifest or, if that has no sizes, from reading. `None` if neither is known.
pub(crate) fn known_bytes(run: &Run) -> Option<u64> {
    let read = || run.summary.map(|summary| summary.input_bytes);
    Some(run.bytes).filter(|bytes| *bytes > 0).or_else(read)
}

/// Sum of stored numbers, which may have been changed by hand; at most the largest number.
pub(crate) fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// Known file sizes of runs.
pub(crate) fn sizes_of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Sizes {
    let mut sizes = Sizes::default();
    for run in runs {
        if let Some(bytes) = known_bytes(run) {
            sizes.add(run.files, bytes);
        }
    }
    sizes
}

/// Counts the open runs, with an estimate for those of unknown size.
pub(crate) async fn count_runs(store: &dyn TrackingStore) -> TrackingResult<Vec<RunCount>> {
    let mut counts = store.count_runs().await?;
    if counts.iter().any(|count| count.unsized_files > 0) {
        let sizes = newest_sizes(store).await?;
        for count in &mut counts {
            count.bytes = count.bytes.saturating_add(sizes.of(count.unsized_files));
        }
    }
    Ok(counts)
}

/// Estimated bytes of this many files of unknown size.
pub(crate) async fn estimated_bytes(store: &dyn TrackingStore, files: u64) -> TrackingResult<u64> {
    if files == 0 { Ok(0) } else { Ok(newest_sizes(store).await?.of(files)) }
}

async fn newest_sizes(store: &dyn TrackingStore) -> TrackingResult<Sizes> {
    let newest = RunFilter { limit: NEWEST, ..RunFilter::default() };
    Ok(sizes_of(&store.list_runs(&newest).await?.items))
}
