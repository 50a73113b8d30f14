//! Checks of input and output places: permissions, each tested by an actual request, and free space.

use super::space;
use crate::why::Inspector;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use millwork_api::Check;
use millwork_diagnosis::{many, shown};
use millwork_storage::{Location, Objects, Storage};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Time limit for all tests of one place: 10 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// Age from which an open upload is reported, in days: 1, longer than any attempt takes.
const OLD_UPLOAD: chrono::Duration = chrono::Duration::days(1);

impl Inspector {
    pub(super) async fn place_checks(&self, now: DateTime<Utc>) -> Vec<Check> {
        let mut checks = Vec::new();
        for place in self.input.iter().flat_map(millwork_storage::Places::locations) {
            checks.push(tried(&format!("input {place}"), can_list(&self.storage, &place)).await);
        }
        for (what, place) in &self.about.written {
            // Manifests are written by builders only, so that write access is not tested.
            match *what {
                "the place of manifests" => {
                    checks.push(tried(&format!("manifests {place}"), can_list(&self.storage, place)).await)
                }
                what => {
                    let name = format!("{} {place}", what.trim_start_matches("the "));
                    checks.push(tried(&name, can_write(&self.storage, place)).await);
                    checks.extend(left_uploads(&self.storage, place, now).await);
                }
            }
            if let Some(check) = place.local_path().and_then(|path| free_space(&format!("space of {what}"), path)) {
                checks.push(check);
            }
        }
        if let Some(path) = self.store.file() {
            let directory = path.parent().unwrap_or(Path::new("."));
            checks.extend(free_space("space of the state", directory));
        }
        checks
    }
}

async fn tried(name: &str, work: impl Future<Output = Result<String, (String, String)>>) -> Check {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(found)) => Check::fine(name, found),
        Ok(Err((found, remedy))) => Check::broken(name, shown(&found), remedy),
        Err(_) => Check::broken(
            name,
            format!("it did not answer within {} s", PATIENCE.as_secs()),
            "look at the storage, and the way to it",
        ),
    }
}

/// Lists up to the first object, and reads its metadata.
async fn can_list(storage: &Storage, place: &Location) -> Result<String, (String, String)> {
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        (
            format!("{what}: {error}"),
            "allow s3:ListBucket and s3:GetObject there, or mend the directory's mode".to_owned(),
        )
    };
    let mut listing = storage.list(place).await.map_err(|error| refused("it cannot be listed", &error))?;
    while let Some(object) = listing.next().await {
        match object {
            Ok(object) => {
                return match storage.head(&object.uri).await {
                    Err(error) if !error.is_not_found() => Err(refused("an object cannot be read", &error)),
                    _ => Ok("it can be listed and read".to_owned()),
                };
            }
            Err(error) if error.is_foreign() => {}
            Err(error) => return Err(refused("it cannot be listed", &error)),
        }
    }
    Ok("it can be listed, and is empty".to_owned())
}

/// Writes a private object, and removes it.
async fn can_write(storage: &Storage, place: &Location) -> Result<String, (String, String)> {
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        (
            format!("{what}: {error}"),
            "allow s3:PutObject and s3:DeleteObject there, or mend the directory's mode".to_owned(),
        )
    };
    let name = format!("_millwork/.doctor-{}", uuid::Uuid::new_v4());
    let uri = place.object(&name).map_err(|error| refused("it cannot be named", &error))?;
    storage
        .write_once(&uri, b"written by millwork doctor, and removed at once\n")
        .await
        .map_err(|error| refused("nothing can be written", &error))?;
    let storage = storage.clone();
    let removed = tokio::task::spawn_blocking(move || storage.remove_blocking(&uri)).await;
    match removed {
        Ok(Ok(())) => Ok("it can be written to, and what is written can be removed".to_owned()),
        Ok(Err(error)) => Err(refused("what is written cannot be removed", &error)),
        Err(error) => Err(refused("what is written cannot be removed", &error)),
    }
}

/// Checks for open uploads that no attempt can still be using; `None` for a directory.
async fn left_uploads(storage: &Storage, place: &Location, now: DateTime<Utc>) -> Option<Check> {
    let name = format!("open uploads {place}");
    let found = match tokio::time::timeout(PATIENCE, storage.open_uploads(place, now - OLD_UPLOAD)).await {
        Ok(Ok(found)) => found?,
        Ok(Err(error)) => return Some(Check::unknown(&name, shown(&error.to_string()))),
        Err(_) => return Some(Check::unknown(&name, format!("no answer within {} s", PATIENCE.as_secs()))),
    };
    let least = if found.has_more { "at least " } else { "" };
    Some(match found.oldest {
        None => Check::fine(&name, "none was begun more than a day ago"),
        Some(oldest) => Check::warning(
            &name,
            format!(
                "{least}{} never finished, the oldest of {oldest}: their parts are paid for",
                many(found.count, "upload")
            ),
            "give the bucket a rule that ends incomplete uploads (AbortIncompleteMultipartUpload), or end them",
        ),
    })
}

/// Checks the free space of a directory's file system; `None` if the system does not report it.
fn free_space(name: &str, directory: &Path) -> Option<Check> {
    let path = CString::new(directory.as_os_str().as_bytes()).ok()?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends with a NUL, and `answer` is valid memory for the result, without other references.
    if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so that `answer` is initialised.
    let answer = unsafe { answer.assume_init() };
    let size = answer.f_frsize;
    Some(space(name, answer.f_bavail.saturating_mul(size), answer.f_blocks.saturating_mul(size)))
}
