//! Retry of a run that failed because its input changed, with the input as it is now.
//!
//! A manifest contains the sizes and entity tags of its files at its creation. If a file has changed since, every
//! attempt fails, although none of its rows was ever committed. A requested retry therefore means the present files:
//! the store's copy of the manifest gets their sizes and entity tags. The document itself is not changed.

use millwork_manifest::{Failure, Manifest, ManifestFile, ObjectUri};
use millwork_storage::{Object, Places, Storage, StorageError, StorageResult};
use millwork_tracking::Run;
use std::collections::HashSet;

/// Limit of the files that are checked per retry: 1,000, those at fault first. Each takes a request in a bucket, and
/// the caller waits.
const MAX_LOOKS: usize = 1000;

/// The manifest with the present sizes and entity tags, and the files that have changed; `None` if none has.
pub(crate) async fn refreshed(
    run: &Run,
    manifest: Manifest,
    places: Places,
    storage: Storage,
) -> StorageResult<Option<(Manifest, Vec<ManifestFile>)>> {
    let at_fault: HashSet<String> = run.failure.iter().flat_map(Failure::files).map(str::to_owned).collect();
    let broken = |e| StorageError::on_read(&"the files of a manifest")(std::io::Error::other(e));
    tokio::task::spawn_blocking(move || refresh(manifest, &at_fault, &places, &storage)).await.map_err(broken)?
}

fn refresh(
    mut manifest: Manifest,
    at_fault: &HashSet<String>,
    places: &Places,
    storage: &Storage,
) -> StorageResult<Option<(Manifest, Vec<ManifestFile>)>> {
    let is_told = |file: &&ManifestFile| file.etag.is_some() || file.size_bytes.is_some();
    let (at_fault, others): (Vec<_>, Vec<_>) =
        manifest.files.iter().filter(is_told).partition(|file| at_fault.contains(file.uri.as_str()));
    let looked_at: Vec<ObjectUri> = at_fault.into_iter().chain(others).take(MAX_LOOKS).map(|f| f.uri.clone()).collect();
    let heads = storage.heads_blocking(looked_at.clone(), Some(places))?;
    // A file that is gone or cannot be read is skipped: the attempt will report it.
    let there = looked_at.iter().zip(heads).filter_map(|(uri, head)| Some((uri, head.ok()?.object)));
    let mut changed = Vec::new();
    for (uri, object) in there {
        let file = manifest.files.iter_mut().find(|file| file.uri == *uri);
        changed.extend(file.and_then(|file| take_over(file, object)));
    }
    Ok((!changed.is_empty()).then_some((manifest, changed)))
}

/// Updates a file from its present object; `None` if it is unchanged.
fn take_over(file: &mut ManifestFile, object: Object) -> Option<ManifestFile> {
    let is_same = file.etag.as_ref().is_none_or(|etag| *etag == object.etag)
        && file.size_bytes.is_none_or(|size| size == object.size_bytes);
    if is_same {
        return None;
    }
    file.size_bytes = Some(object.size_bytes);
    file.etag = Some(object.etag).filter(|etag| !etag.is_empty());
    file.version_id = object.version_id;
    Some(file.clone())
}
