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
        let newest = RunFilter { limit: NEWEST, ..RunFilter::default() };
        let sizes = sizes_of(&store.list_runs(&newest).await?.items);
        for count in &mut counts {
            count.bytes = count.bytes.saturating_add(sizes.of(count.unsized_files));
        }
    }
    Ok(counts)
}
