//! Objects in local directories.

use crate::anchor::{Anchored, is_same};
use crate::bucket::check_etag;
use crate::places::{NO_FILE, follow};
use crate::{MAX_READ_BYTES, StorageError, StorageResult, create_directories, create_new_file};
use chrono::{DateTime, Utc};
use millwork_manifest::ObjectUri;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a file is not moved, for a person.
const BY_LINK: &str = "it is reached by way of a link, and only what stands where its name says is moved";

/// Why a directory below the one that is listed is left out, for a person.
const CLOSED: &str = "it is in a directory, or is one, that this user may not look into";

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
        return Err(fail(io::Error::new(ErrorKind::InvalidInput, NO_FILE)));
    }
    Ok(object_of(uri.clone(), path.display().to_string(), &metadata))
}

pub(crate) fn object_of(uri: ObjectUri, key: String, metadata: &Metadata) -> Object {
    let (etag, modified_at) = (identity(metadata), modified_at(metadata));
    Object { uri, key, size_bytes: metadata.len(), etag, version_id: None, modified_at }
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Its files, ordered by key.
    pub objects: Vec<Object>,
    /// Entries that are refused: links that lead out of the directory, or to nothing, what is no regular file, and directories
    /// that may not be listed.
    pub refused: Vec<StorageError>,
}

/// Every file below `root`. Links to files below it are followed, links to directories are not; a file that vanishes
/// meanwhile is left out, and so are names that start with a dot, which are other programs' private files. Nothing is opened but directories, and each of those where it was found.
pub fn list(root: &Path) -> StorageResult<Listing> {
    let mut listing = Listing::default();
    let real_root = Anchored::of(root).map_err(|e| StorageError::new("list", root.display(), e))?.path().to_owned();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let name = root.join(&below);
        let fail = |e| StorageError::new("list", name.display(), e);
        let is_root = below.as_os_str().is_empty();
        let entries = match entries_of(&name, &real_root.join(&below)) {
            // It was another one when it was found.
            Err(e) if !is_root && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(e) if !is_root && e.kind() == ErrorKind::PermissionDenied => {
                let uri = ObjectUri::from_path(&name).map_err(|e| fail(io::Error::other(e)))?;
                listing.refused.push(StorageError::foreign("list", uri, CLOSED));
                continue;
            }
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let below = below.join(entry.file_name());
            if entry.file_type().map_err(fail)?.is_dir() {
                open.push(below);
            } else if let Some(found) = look_at(&entry, &root.join(&below), &below, &real_root)? {
                match found {
                    Ok(object) => listing.objects.push(object),
                    Err(refused) => listing.refused.push(refused),
                }
            }
        }
    }
    listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(listing)
}

/// The entries of a directory, if it is really where its name says. They are those of this very directory.
fn entries_of(name: &Path, real: &Path) -> io::Result<fs::ReadDir> {
    let directory = Anchored::of(name)?;
    match directory.path() == real {
        true => fs::read_dir(directory.lasting_name()),
        false => Err(ErrorKind::NotFound.into()),
    }
}

/// What an entry of a listing is; none, if it is gone or to be left out.
fn look_at(
    entry: &fs::DirEntry,
    path: &Path,
    below: &Path,
    real_root: &Path,
) -> StorageResult<Option<StorageResult<Object>>> {
    let fail = |e| StorageError::new("list", path.display(), e);
    let uri = ObjectUri::from_path(path).map_err(|e| fail(io::Error::other(e)))?;
    let mut metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            return Ok(Some(Err(StorageError::foreign("list", &uri, CLOSED))));
        }
        Err(e) => return Err(fail(e)),
    };
    if metadata.is_symlink() {
        metadata = match follow(&uri, path, real_root) {
            Ok(anchored) => anchored.metadata().clone(),
            Err(refused) => return Ok(Some(Err(refused))),
        };
        if metadata.is_dir() {
            return Ok(None);
        }
    }
    if !metadata.is_file() {
        return Ok(Some(Err(StorageError::foreign("list", &uri, NO_FILE))));
    }
    Ok(Some(Ok(object_of(uri, below.to_string_lossy().into_owned(), &metadata))))
}

/// The whole of a small object.
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

/// Writes an object that must not exist yet, whole or not at all. Returns whether this call wrote it; an object
/// of that name is left as it is.
pub(crate) fn write_once(path: &Path, content: &[u8]) -> StorageResult<bool> {
    let fail = |e| StorageError::new("write", path.display(), e);
    let directory = path.parent().unwrap_or(Path::new("/"));
    create_directories(directory).map_err(fail)?;
    let temporary = directory.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let written = create_new_file(&temporary).and_then(|mut file| {
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

/// Moves an object, never over another, if it is still the one with this entity tag: a link where one file system holds
/// both ends, else copy, check, then delete. Nothing is moved by way of a link, nor out of a directory that another was put in the
/// place of.
///
/// Dying in the middle leaves the source, so that the move can be made again.
pub(crate) fn move_object(from: &ObjectUri, to: &Path, etag: &str) -> StorageResult<()> {
    let path = path_of(from)?;
    let fail = |e| StorageError::new("move", format!("{from}` to `{}", to.display()), e);
    let source = match Anchored::of_no_link(&path) {
        Err(e) if e.kind() == ErrorKind::InvalidInput => return Err(StorageError::foreign("move", from, BY_LINK)),
        source => source.map_err(fail)?,
    };
    if source.path() != path {
        return Err(StorageError::foreign("move", from, BY_LINK));
    }
    if !source.metadata().is_file() {
        return Err(StorageError::foreign("move", from, NO_FILE));
    }
    check_etag(from, etag, &identity(source.metadata()))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(fail(ErrorKind::InvalidFilename.into()));
    };
    let directory = Anchored::of(parent).map_err(fail)?;
    if directory.path() != parent {
        return Err(StorageError::foreign("move", from, BY_LINK));
    }
    let held = directory.lasting_name().join(name);
    if let Some(directory) = to.parent() {
        create_directories(directory).map_err(fail)?;
    }
    match fs::hard_link(&held, to) {
        Ok(()) => {
            let linked = fs::symlink_metadata(to).map_err(fail)?;
            if let Err(changed) = check_etag(from, etag, &identity(&linked)) {
                fs::remove_file(to).map_err(fail)?;
                return Err(changed);
            }
        }
        // A move that was cut short after its link goes on; anything else of that name stays.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(to).is_ok_and(|there| is_same(&there, source.metadata())) {
                return Err(fail(e));
            }
        }
        // Another file system, or one without links.
        Err(_) => copy(&source, to, etag).map_err(fail)?,
    }
    remove_if_same(&held, &source, to, from, etag)
}

/// Removes the first name of a file that has another now, unless other content has come under it, which stays.
fn remove_if_same(held: &Path, source: &Anchored, to: &Path, from: &ObjectUri, etag: &str) -> StorageResult<()> {
    let fail = |e| StorageError::new("move", from, e);
    let there = match fs::symlink_metadata(held) {
        Ok(there) if is_same(&there, source.metadata()) => there,
        // It was put there since, or somebody else has moved it as well.
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(e)),
    };
    if let Err(changed) = check_etag(from, etag, &identity(&there)) {
        fs::remove_file(to).map_err(fail)?;
        return Err(changed);
    }
    fs::remove_file(held).map_err(fail)
}

/// Copies a file that is held on to, whole or not at all, and never over another.
fn copy(source: &Anchored, to: &Path, etag: &str) -> io::Result<()> {
    let mut into = create_new_file(to)?;
    let mut work = || -> io::Result<()> {
        let mut from = source.open()?;
        let bytes = io::copy(&mut from, &mut into)?;
        let after = from.metadata()?;
        if bytes != after.len() || identity(&after) != etag {
            return Err(io::Error::other(format!("it changed while {bytes} bytes of it were copied")));
        }
        into.sync_all()
    };
    let copied = work();
    if copied.is_err() {
        // What is half there is of nobody.
        let _ = fs::remove_file(to);
    }
    copied
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
