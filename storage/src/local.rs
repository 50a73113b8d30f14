//! Objects in local directories.

use crate::{MAX_READ_BYTES, StorageError, StorageResult};
use chrono::{DateTime, Utc};
use millwork_manifest::ObjectUri;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An object as a listing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub uri: ObjectUri,
    /// Its name below the listed directory.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its entity tag: another one means other content.
    pub etag: String,
    /// Its version, in a bucket that keeps versions, where it was asked for.
    pub version_id: Option<String>,
    /// When it was last written.
    pub modified_at: DateTime<Utc>,
}

/// The local path behind a URI.
pub fn path_of(uri: &ObjectUri) -> StorageResult<PathBuf> {
    uri.to_path().ok_or_else(|| {
        let reason = "it is no local file";
        StorageError::new("open", uri, io::Error::new(ErrorKind::Unsupported, reason))
    })
}

/// The absolute path of a directory a user named, with symbolic links resolved as far as it exists.
pub fn absolute(path: &Path) -> StorageResult<PathBuf> {
    let fail = |e| StorageError::new("resolve", path.display(), e);
    let full = std::path::absolute(path).map_err(fail)?;
    let mut missing = Vec::new();
    let mut existing = full.as_path();
    loop {
        match existing.canonicalize() {
            Ok(found) => return Ok(missing.into_iter().rev().fold(found, |path: PathBuf, name| path.join(name))),
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(fail(e)),
            Err(e) => match (existing.file_name(), existing.parent()) {
                (Some(name), Some(parent)) => {
                    missing.push(name.to_owned());
                    existing = parent;
                }
                _ => return Err(fail(e)),
            },
        }
    }
}

/// The entity tag of a local file: its size, inode and time of last change, so that a rewrite and a replacement
/// both show.
pub fn identity(metadata: &Metadata) -> String {
    let nanoseconds = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    format!("{:x}-{:x}-{nanoseconds:x}", metadata.size(), metadata.ino())
}

fn modified_at(metadata: &Metadata) -> DateTime<Utc> {
    DateTime::from_timestamp(metadata.mtime(), metadata.mtime_nsec().try_into().unwrap_or(0)).unwrap_or_default()
}

/// Size, entity tag and time of one object. Devices and pipes are none: they have no end, or none yet.
pub(crate) fn head(uri: &ObjectUri) -> StorageResult<Object> {
    let path = path_of(uri)?;
    let fail = |e| StorageError::new("read", uri, e);
    let metadata = fs::metadata(&path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(fail(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")));
    }
    Ok(object(uri.clone(), path.display().to_string(), &metadata))
}

fn object(uri: ObjectUri, key: String, metadata: &Metadata) -> Object {
    let (etag, modified_at) = (identity(metadata), modified_at(metadata));
    Object { uri, key, size_bytes: metadata.len(), etag, version_id: None, modified_at }
}

/// Every file below `root`, ordered by key. Links to files are followed, links to directories are not; a file
/// that vanishes meanwhile is left out.
pub fn list(root: &Path) -> StorageResult<Vec<Object>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let fail = |e| StorageError::new("list", directory.display(), e);
        for entry in fs::read_dir(&directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let path = entry.path();
            if entry.file_type().map_err(fail)?.is_dir() {
                open.push(path);
                continue;
            }
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(StorageError::new("list", path.display(), e)),
            };
            if metadata.is_file() {
                let key = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                let uri = ObjectUri::from_path(&path)
                    .map_err(|e| StorageError::new("list", path.display(), io::Error::other(e)))?;
                found.push(object(uri, key, &metadata));
            }
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// The whole of a small object.
pub(crate) fn read(uri: &ObjectUri) -> StorageResult<Vec<u8>> {
    head(uri)?;
    let fail = |e| StorageError::new("read", uri, e);
    let mut content = Vec::new();
    let mut file = File::open(path_of(uri)?).map_err(fail)?.take(MAX_READ_BYTES + 1);
    match file.read_to_end(&mut content).map_err(fail)? as u64 {
        0..=MAX_READ_BYTES => Ok(content),
        _ => Err(fail(ErrorKind::FileTooLarge.into())),
    }
}

/// Writes an object that must not exist yet, whole or not at all. Returns whether this call wrote it; an object
/// of that name is left as it is.
pub(crate) fn write_once(path: &Path, content: &[u8]) -> StorageResult<bool> {
    let fail = |e| StorageError::new("write", path.display(), e);
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(fail)?;
    let temporary = directory.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    // A hard link fails where a rename would overwrite.
    let linked = written.and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    match linked {
        Ok(()) => removed.map(|()| true).map_err(fail),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(fail(e)),
    }
}

/// Moves an object, never over another: a link where one file system holds both ends, else copy, check, then delete.
///
/// Dying in the middle leaves the source, so that the move can be made again.
pub(crate) fn move_object(from: &Path, to: &Path) -> StorageResult<()> {
    let fail = |e| StorageError::new("move", format!("{}` to `{}", from.display(), to.display()), e);
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).map_err(fail)?;
    }
    match fs::hard_link(from, to) {
        Ok(()) => return fs::remove_file(from).map_err(fail),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(fail(e)),
        // Another file system, or one without links.
        Err(_) => {}
    }
    if to.exists() {
        return Err(fail(ErrorKind::AlreadyExists.into()));
    }
    let copied = fs::copy(from, to).and_then(|bytes| Ok((bytes, fs::metadata(from)?.len()))).map_err(fail)?;
    if copied.0 != copied.1 {
        return Err(fail(io::Error::other(format!("copied {} of {} bytes", copied.0, copied.1))));
    }
    File::open(to).and_then(|file| file.sync_all()).map_err(fail)?;
    fs::remove_file(from).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_deep_and_ordered() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("b/c")).unwrap();
        for name in ["b/c/2.ndjson", "a.ndjson", "b/1 é.ndjson"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let keys: Vec<_> = list(root.path()).unwrap().into_iter().map(|o| (o.key, o.size_bytes)).collect();
        assert_eq!(keys, [("a.ndjson".into(), 8), ("b/1 é.ndjson".into(), 13), ("b/c/2.ndjson".into(), 12)]);
        assert!(list(&root.path().join("none")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_rewritten_file_has_another_etag() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x");
        fs::write(&path, "one").unwrap();
        let uri = ObjectUri::from_path(&path).unwrap();
        let before = head(&uri).unwrap();
        assert_eq!(head(&uri).unwrap(), before);
        fs::write(root.path().join("y"), "two").unwrap();
        fs::rename(root.path().join("y"), &path).unwrap();
        assert_ne!(head(&uri).unwrap().etag, before.etag);
    }

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [Path::new("/dev/zero"), &pipe, root.path()] {
            let uri = ObjectUri::from_path(path).unwrap();
            for error in [head(&uri).unwrap_err(), read(&uri).unwrap_err()] {
                assert!(error.to_string().ends_with("it is no regular file"), "{error}");
            }
        }
        let path = root.path().join("large");
        let uri = ObjectUri::from_path(&path).unwrap();
        File::create(&path).unwrap().set_len(MAX_READ_BYTES + 1).unwrap();
        assert_eq!(read(&uri).unwrap_err().source.kind(), ErrorKind::FileTooLarge);
        File::create(&path).unwrap().set_len(MAX_READ_BYTES).unwrap();
        assert_eq!(read(&uri).unwrap().len() as u64, MAX_READ_BYTES);
    }

    #[test]
    fn write_once_never_overwrites() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("m/a.json");
        assert!(write_once(&path, b"first").unwrap());
        assert!(!write_once(&path, b"second").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(list(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_path_need_not_exist_to_be_resolved() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        assert_eq!(absolute(&root.path().join("not/there")).unwrap(), real.join("not/there"));
    }
}
