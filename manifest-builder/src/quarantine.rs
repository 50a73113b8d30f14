//! Moves of refused files to the quarantine. A file that cannot be moved stays in place, marked, without delaying
//! others.

use crate::builder::{Builder, PutAway};
use crate::error::BuilderError;
use millwork_manifest::{ObjectUri, QuarantineReason};
use millwork_storage::StorageError;
use millwork_tracking::FoundFile;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;

/// Limit of files with the same name in the quarantine: 1,000, since all numbers up to a free one are tried in turn.
const MAX_NAMESAKES: u32 = 1000;

/// Limit of a file's name in a directory, in bytes: 255, as in nearly all file systems.
const MAX_NAME_BYTES: usize = 255;

impl Builder {
    /// Moves a refused file to the quarantine, if there is one and the file still exists. `key` is its name there,
    /// below date and reason.
    ///
    /// An obstacle that concerns only the file or its places is not an error, but a store or server that does not
    /// answer is.
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

    /// Moves a refused file to the quarantine. Returns its new address.
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
                // The file is reached through a link: it stays in place, and is only marked.
                Err(e) if e.is_foreign() => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        let full = std::io::Error::other(format!("{MAX_NAMESAKES} files of that name are there; remove some of them"));
        Err(StorageError { operation: "move", object: file.uri.to_string(), source: full }.into())
    }

    /// Records a move whose process died before it could. If the file is in neither place, it was deleted or rewritten,
    /// for which there is another event.
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

/// Key in the quarantine. A number distinguishes files of the same name, from another bucket or an earlier time. A
/// name that becomes too long is cut, and ends in a hash of the whole.
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

/// Tells whether an error of moving a file concerns that file and its places, and not a whole server.
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
