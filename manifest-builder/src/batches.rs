//! Memory of the batch of events in which each file arrived, used to link the trace of its run to it.
//!
//! Kept in this process only. After a restart, links in traces are missing, and nothing else.

use millwork_manifest::{MAX_TRACEPARENTS, ObjectUri, TraceParent};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Limit of the files that are remembered: 20,000, a hundred full manifests, about 6 MB with addresses of usual length.
/// The oldest are dropped first.
const MAX_FILES: usize = 20_000;

/// Trace context of the batch in which each recent file arrived.
#[derive(Debug, Default)]
pub(crate) struct Batches(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    of_files: HashMap<ObjectUri, TraceParent>,
    in_order: VecDeque<ObjectUri>,
}

impl Batches {
    /// Remembers the batch in which these files arrived.
    pub(crate) fn note<'a>(&self, files: impl IntoIterator<Item = &'a ObjectUri>, batch: &TraceParent) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            if memory.of_files.insert(file.clone(), batch.clone()).is_none() {
                memory.in_order.push_back(file.clone());
            }
            if memory.in_order.len() > MAX_FILES
                && let Some(oldest) = memory.in_order.pop_front()
            {
                memory.of_files.remove(&oldest);
            }
        }
    }

    /// Batches in which these files arrived, where remembered, up to the limit of a manifest.
    pub(crate) fn of<'a>(&self, files: impl IntoIterator<Item = &'a ObjectUri>) -> Vec<TraceParent> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found: BTreeSet<&TraceParent> = files.into_iter().filter_map(|file| memory.of_files.get(file)).collect();
        found.into_iter().take(MAX_TRACEPARENTS).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: usize) -> ObjectUri {
        format!("s3://in/{n}.ndjson").parse().unwrap()
    }

    fn batch(n: usize) -> TraceParent {
        format!("00-{n:032x}-{n:016x}-01").parse().unwrap()
    }

    #[test]
    fn the_batches_of_files_are_told_once_each() {
        let batches = Batches::default();
        batches.note(&[file(1), file(2)], &batch(1));
        batches.note(&[file(3)], &batch(2));
        assert_eq!(batches.of(&[file(3), file(1), file(2), file(4)]), [batch(1), batch(2)]);
        batches.note(&[file(1), file(2)], &batch(3));
        assert_eq!(batches.of(&[file(1), file(2)]), [batch(3)], "the newest counts");
    }

    #[test]
    fn the_oldest_files_are_forgotten() {
        let batches = Batches::default();
        let files: Vec<ObjectUri> = (0..=MAX_FILES).map(file).collect();
        batches.note(&files, &batch(1));
        batches.note(&files[1..], &batch(2));
        let memory = batches.0.lock().unwrap();
        assert_eq!((memory.of_files.len(), memory.in_order.len()), (MAX_FILES, MAX_FILES));
        drop(memory);
        assert_eq!(batches.of(&files[..1]), []);
        assert_eq!(batches.of(&files[1..]), [batch(2)]);
    }

    #[test]
    fn a_manifest_of_many_batches_tells_of_some() {
        let batches = Batches::default();
        let files: Vec<ObjectUri> = (1..=MAX_TRACEPARENTS + 1).map(file).collect();
        for (n, file) in files.iter().enumerate() {
            batches.note([file], &batch(n + 1));
        }
        assert_eq!(batches.of(&files).len(), MAX_TRACEPARENTS);
    }
}
