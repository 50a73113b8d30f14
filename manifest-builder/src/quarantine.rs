//! Refused files are moved away. One that cannot be moved stays where it is, marked, and holds up no other.

use crate::builder::{Builder, BuilderError};
use millwork_manifest::{ObjectUri, QuarantineReason};
use millwork_storage::StorageError;
use millwork_tracking::FoundFile;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;

/// Limit of files of one name in the quarantine, in files: 1,000. Each of them is looked at before another gets a number.
const MAX_NAMESAKES: u32 = 1000;

/// Limit of the name of a file in a directory, in bytes: 255, as in nearly all file systems.
const MAX_NAME_BYTES: usize = 255;

/// Outcome of putting a refused file away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PutAway {
    /// The file is at this address now.
    Moved(ObjectUri),
    /// The file stays where it is, and is only marked: there is no quarantine, the file is reached by a link, or it is gone.
    Marked,
    /// The file stays where it is, since it cannot be moved, for this reason.
    Unmoved(String),
}

impl Builder {
    /// Moves a refused file away, if there is a place for it and it is still there. `key` is its name there, below date and reason.
    ///
    /// What has to do with the file or its places alone is no error: only a store or server that does not answer is.
    pub(crate) async fn put_away(
        &self,
        file: &FoundFile,
        key: &str,
        reason: QuarantineReason,
    ) -> Result<PutAway, BuilderError> {
        match self.quarantine(file, key, reason).await {
            Ok(moved) => Ok(moved.map_or(PutAway::Marked, PutAway::Moved)),
            Err(BuilderError::Storage(error)) if is_of_the_file(&file.uri, &error) => {
                Ok(PutAway::Unmoved(error.to_string()))
            }
            Err(BuilderError::Uri(error)) => Ok(PutAway::Unmoved(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Moves a refused file away. Returns where to.
    async fn quarantine(
        &self,
        file: &FoundFile,
        key: &str,
        reason: QuarantineReason,
    ) -> Result<Option<ObjectUri>, BuilderError> {
        let Some(root) = &self.settings.quarantine else { return Ok(None) };
        if !self.is_input(&file.uri) {
            return Err(BuilderError::NoInput(file.uri.clone()));
        }
        let folder = file.date.map_or_else(|| "no-date".to_owned(), |date| date.to_string());
        let key = format!("{folder}/{}/{key}", reason.as_str());
        for n in 0..MAX_NAMESAKES {
            let to = root.object(&numbered(&key, n))?;
            match self.objects.move_object(&file.uri, &to, &file.etag).await {
                Ok(()) => {
                    self.store.mark_moved(&file.uri, to.as_str(), self.now()).await?;
                    tracing::info!(file = %file.uri, %to, %reason, "a refused file was moved");
                    return Ok(Some(to));
                }
                Err(e) if e.is_not_found() => return self.find_moved(file, &to).await,
                Err(e) if e.source.kind() == ErrorKind::AlreadyExists => {}
                // The file is reached by a link: it stays, and is only marked.
                Err(e) if e.is_foreign() => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        let full = std::io::Error::other(format!("{MAX_NAMESAKES} files of that name are there; remove some of them"));
        Err(StorageError { operation: "move", object: file.uri.to_string(), source: full }.into())
    }

    /// Makes up for the note of a move whose maker died. A file that is in neither place was deleted, or written anew, of
    /// which another event tells.
    async fn find_moved(&self, file: &FoundFile, to: &ObjectUri) -> Result<Option<ObjectUri>, BuilderError> {
        match self.objects.head(to).await {
            Ok(there) if there.size_bytes == file.size_bytes => {
                self.store.mark_moved(&file.uri, to.as_str(), self.now()).await?;
                Ok(Some(to.clone()))
            }
            Ok(_) => Ok(None),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// A key in the quarantine. A file of that name may be there already, from another bucket or an earlier time: a number keeps both.
/// A name that gets too long by that is cut, and a hash of the whole stands for the rest.
fn numbered(key: &str, n: u32) -> String {
    let numbered = if n == 0 { key.to_owned() } else { format!("{key}.{n}") };
    let (folder, name) = numbered.rsplit_once('/').map_or(("", numbered.as_str()), |(folder, name)| (folder, name));
    if name.len() <= MAX_NAME_BYTES {
        return numbered;
    }
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let end = format!("~{:016x}.{n}", hasher.finish());
    let kept = &name[..name.floor_char_boundary(MAX_NAME_BYTES - end.len())];
    format!("{folder}/{kept}{end}")
}

/// Tells whether the error that kept a file from being moved has to do with that file and its places, and not with a
/// server as a whole.
fn is_of_the_file(uri: &ObjectUri, error: &StorageError) -> bool {
    use ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, PermissionDenied, Unsupported};
    let kind = error.source.kind();
    uri.to_path().is_some()
        || matches!(kind, AlreadyExists | InvalidFilename | InvalidInput | PermissionDenied | Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_fits_behind_the_longest_name() {
        let short = "2025-12-23/too-small/deep/a.ndjson";
        assert_eq!([numbered(short, 0), numbered(short, 7)], [short.to_owned(), format!("{short}.7")]);
        let long = format!("no-date/bad-extension/{}", "é".repeat(127));
        assert_eq!(numbered(&long, 0), long);
        let names: Vec<String> = (1..12).map(|n| numbered(&long, n)).collect();
        for name in &names {
            let name = name.strip_prefix("no-date/bad-extension/é").unwrap();
            assert!(name.len() + 2 <= MAX_NAME_BYTES && name.len() > 240, "{name}");
        }
        let mut once = names.clone();
        once.dedup();
        assert_eq!(once, names);
        let other = format!("no-date/bad-extension/{}x", "é".repeat(126));
        assert_ne!(numbered(&format!("{other}y"), 1), numbered(&format!("{other}z"), 1));
    }
}
