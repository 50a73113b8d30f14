//! Bytes of runs whose manifests tell no sizes: files count with the mean size of others, so that a backlog of them is no empty one.

use millwork_scaling::Sizes;
use millwork_tracking::{Run, RunCount, RunFilter, TrackingResult, TrackingStore};

/// Runs whose sizes are looked at, the newest: 100, those of an hour or more.
const NEWEST: usize = 100;

/// Bytes of a run's input: of its manifest, or, where that tells none, those that were read. None if neither is known.
pub(crate) fn known_bytes(run: &Run) -> Option<u64> {
    let read = || run.summary.map(|summary| summary.input_bytes);
    Some(run.bytes).filter(|bytes| *bytes > 0).or_else(read)
}

/// Known sizes of the files of runs.
pub(crate) fn sizes_of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Sizes {
    let mut sizes = Sizes::default();
    for run in runs {
        if let Some(bytes) = known_bytes(run) {
            sizes.add(run.files, bytes);
        }
    }
    sizes
}

/// Counts the runs that have not ended, those of unknown size with an estimate.
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

/// Estimated bytes of files whose manifests tell no sizes.
pub(crate) async fn estimated_bytes(store: &dyn TrackingStore, files: u64) -> TrackingResult<u64> {
    if files == 0 { Ok(0) } else { Ok(newest_sizes(store).await?.of(files)) }
}

async fn newest_sizes(store: &dyn TrackingStore) -> TrackingResult<Sizes> {
    let newest = RunFilter { limit: NEWEST, ..RunFilter::default() };
    Ok(sizes_of(&store.list_runs(&newest).await?.items))
}
