//! Objects in local directories.

use crate::anchor::Anchored;
use crate::object::NO_FILE;
use crate::way::{check_links, enter};
use crate::{MAX_READ_BYTES, Object, StorageError, StorageResult, create_new_file};
use chrono::{DateTime, Utc};
use millwork_manifest::{ObjectUri, local_tag};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The local path behind a URI.
pub fn path_of(uri: &ObjectUri) -> StorageResult<PathBuf> {
    uri.to_path().ok_or_else(|| {
        let reason = "it is no local file";
        StorageError::new("open", uri, io::Error::new(ErrorKind::Unsupported, reason))
    })
}

/// Absolute path of a directory that a user named, with symbolic links resolved in the part that exists.
pub fn absolute(path: &Path) -> StorageResult<PathBuf> {
    let fail = |e| StorageError::new("resolve", path.display(), e);
    if path.as_os_str().is_empty() {
        return Err(StorageError::no_place("", "it is empty; name a path"));
    }
    let full = std::path::absolute(path).map_err(fail)?;
    check_links(&full).map_err(fail)?;
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

/// Entity tag of a local file: its size, inode and change time, so that both rewriting and replacing the file
/// change it.
pub fn identity(metadata: &Metadata) -> String {
    let nanoseconds = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    local_tag(metadata.size(), metadata.ino(), nanoseconds)
}

fn modified_at(metadata: &Metadata) -> DateTime<Utc> {
    DateTime::from_timestamp(metadata.mtime(), metadata.mtime_nsec().try_into().unwrap_or(0)).unwrap_or_default()
}

/// Size, entity tag and time of one object. Devices and pipes are refused: they have no size.
pub(crate) fn head(uri: &ObjectUri) -> StorageResult<Object> {
    let path = path_of(uri)?;
    let fail = |e| StorageError::new("read", uri, e);
    let metadata = fs::metadata(&path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(fail(io::Error::new(ErrorKind::InvalidInput, NO_FILE)));
    }
    Ok(object_of(uri.clone(), path.display().to_string(), &metadata))
}

pub(crate) fn object_of(uri: ObjectUri, key: String, metadata: &Metadata) -> Object {
    let (etag, modified_at) = (identity(metadata), modified_at(metadata));
    Object { uri, key, size_bytes: metadata.len(), etag, version_id: None, modified_at }
}

/// Reads a small object as a whole.
pub(crate) fn read(uri: &ObjectUri) -> StorageResult<Vec<u8>> {
    let fail = |e| StorageError::new("read", uri, e);
    let anchored = Anchored::of(&path_of(uri)?).map_err(fail)?;
    if !anchored.metadata().is_file() {
        return Err(fail(io::Error::new(ErrorKind::InvalidInput, NO_FILE)));
    }
    read_whole(uri, anchored.open().map_err(fail)?)
}

pub(crate) fn read_whole(uri: &ObjectUri, file: File) -> StorageResult<Vec<u8>> {
    let fail = |e| StorageError::new("read", uri, e);
    let mut content = Vec::new();
    match file.take(MAX_READ_BYTES + 1).read_to_end(&mut content).map_err(fail)? as u64 {
        0..=MAX_READ_BYTES => Ok(content),
        _ => Err(fail(ErrorKind::FileTooLarge.into())),
    }
}

/// Writes an object that must not exist yet, atomically. Returns whether this call wrote it; an existing object of that
/// name is left unchanged.
pub(crate) fn write_once(path: &Path, content: &[u8]) -> StorageResult<bool> {
    let fail = |e| StorageError::new("write", path.display(), e);
    let name = path.file_name().ok_or_else(|| fail(ErrorKind::InvalidFilename.into()))?;
    let held = enter(path.parent().unwrap_or(Path::new("/"))).map_err(fail)?;
    let directory = held.lasting_name();
    let temporary = directory.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let written = create_new_file(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    // A hard link fails if the name exists, where a rename would overwrite it.
    let linked = written.and_then(|()| fs::hard_link(&temporary, directory.join(name)));
    let removed = fs::remove_file(&temporary);
    match linked {
        Ok(()) => removed.map(|()| true).map_err(fail),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(fail(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;

    #[test]
    fn a_listing_is_deep_and_ordered() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("b/c")).unwrap();
        for name in ["b/c/2.ndjson", "a.ndjson", "b/1 é.ndjson"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let keys: Vec<_> = list(root.path()).unwrap().objects.into_iter().map(|o| (o.key, o.size_bytes)).collect();
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
        assert_eq!(list(root.path()).unwrap().objects.len(), 1);
    }

    #[test]
    fn a_path_need_not_exist_to_be_resolved() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        assert_eq!(absolute(&root.path().join("not/there")).unwrap(), real.join("not/there"));
    }
}
