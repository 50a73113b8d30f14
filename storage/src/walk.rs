//! Listing of the files below a directory, each once.
//!
//! Rule for links: a link is followed if its target is inside the listed directory. A file that has a path of its own
//! there is listed by that path, and not by links to it. A file without one, in a directory that is left out, is listed
//! by the first link to a directory above it, or else by the first link to the file. A link to a directory that
//! contains it is a loop. Loops, links out of the directory and dangling links are refused by name. Hard links count as
//! separate files.

use crate::anchor::Anchored;
use crate::local::object_of;
use crate::object::is_hidden_name;
use crate::relocate::is_left_aside;
use crate::{Object, StorageError, StorageResult};
use millwork_manifest::ObjectUri;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Reason for leaving out a directory that this user may not list, as shown to people.
const CLOSED: &str = "it is in a directory, or is one, that this user may not look into: give the right to read and enter it, or \
    keep it out of the input";

/// Reason for leaving out a link that leads outside, as shown to people. Reveals nothing about its target.
const LED_OUT: &str =
    "a link leads from there to outside the input, or to nothing: put the file itself there, or remove the link";

/// Reason for leaving out a link to a directory that contains it, as shown to people.
const LOOP: &str = "it is a link that leads back to where it is: remove it";

/// Reason for leaving out an entry that is neither file, directory nor link, as shown to people.
const NO_FILE: &str = "it is no regular file, but a pipe, a socket or a device, which is never opened: remove it, or keep it out of the input";

/// Reason for reporting a file that a move to the quarantine renamed and left, as shown to people.
const LEFT_ASIDE: &str = "a process died as it moved this file to the quarantine: if the quarantine has its content, remove it here; if \
    not, give it a name that does not begin with a dot";

/// Content of a directory: its files, and the entries that are refused.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files below the directory, ordered by key.
    pub objects: Vec<Object>,
    /// Refused entries: links that lead out of the directory, in a loop or nowhere, entries that are not regular files,
    /// and directories that this user may not list.
    pub refused: Vec<StorageError>,
}

/// Lists every file below `root`, or `root` itself if it is a file. Links are followed by the rule of this module;
/// files that vanish meanwhile and hidden names ([`crate::is_hidden`]) are left out. Only directories are opened, each
/// through the descriptor by which it was found.
pub fn list(root: &Path) -> StorageResult<Listing> {
    let fail = |e| StorageError::new("list", root.display(), e);
    let anchored = Anchored::of(root).map_err(fail)?;
    if anchored.metadata().is_file() {
        let uri = ObjectUri::from_path(root).map_err(|e| fail(io::Error::other(e)))?;
        let key = root.file_name().map(|name| name.to_string_lossy().into_owned());
        let key = key.ok_or_else(|| fail(ErrorKind::InvalidFilename.into()))?;
        return Ok(Listing { objects: vec![object_of(uri, key, anchored.metadata())], refused: Vec::new() });
    }
    if !anchored.metadata().is_dir() {
        return Err(StorageError::foreign("list", root.display(), NO_FILE));
    }
    let mut walk = Walk {
        root,
        real_root: anchored.path().to_owned(),
        listing: Listing::default(),
        files: HashSet::new(),
        directories: HashSet::new(),
        links: BTreeSet::new(),
        links_to_files: Vec::new(),
    };
    walk.descend(PathBuf::new(), walk.real_root.clone())?;
    // Own paths come first: a link to a listed file adds nothing.
    while let Some(link) = walk.links.pop_first() {
        walk.follow(link)?;
    }
    for (link, metadata) in std::mem::take(&mut walk.links_to_files) {
        if !walk.files.contains(&identity_of(&metadata)) {
            walk.add(&link, &metadata)?;
        }
    }
    let mut listing = walk.listing;
    listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(listing)
}

/// Identity of a file or directory independent of its name: device and inode.
type Identity = (u64, u64);

fn identity_of(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

struct Walk<'a> {
    root: &'a Path,
    real_root: PathBuf,
    listing: Listing,
    /// Files already listed.
    files: HashSet<Identity>,
    /// Directories already entered.
    directories: HashSet<Identity>,
    /// Links below the root that were found and not followed yet.
    links: BTreeSet<PathBuf>,
    /// Links to files, in order, resolved last: a directory found later may contain the file under its own path.
    links_to_files: Vec<(PathBuf, Metadata)>,
}

impl Walk<'_> {
    /// Lists a directory and everything below it: `below` is the name by which it was found, `real` its real path.
    fn descend(&mut self, below: PathBuf, real: PathBuf) -> StorageResult<()> {
        let mut open = vec![(below, real)];
        while let Some((below, real)) = open.pop() {
            let is_root = below.as_os_str().is_empty();
            let entries = match self.entries_of(&below, &real) {
                Ok(Some(entries)) => entries,
                Ok(None) => continue,
                Err(e) if is_root => return Err(StorageError::new("list", self.root.display(), e)),
                Err(e) => {
                    self.refuse(&below, Some(e))?;
                    continue;
                }
            };
            for entry in entries {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(e) if is_root => return Err(StorageError::new("list", self.root.display(), e)),
                    Err(e) => {
                        self.refuse(&below, Some(e))?;
                        break;
                    }
                };
                let name = entry.file_name();
                if is_hidden_name(name.as_encoded_bytes()) {
                    self.pass_hidden(&below, &entry)?;
                    continue;
                }
                let below = below.join(&name);
                match entry.metadata() {
                    Ok(metadata) if metadata.is_symlink() => drop(self.links.insert(below)),
                    Ok(metadata) if metadata.is_dir() => open.push((below, real.join(&name))),
                    Ok(metadata) => self.add(&below, &metadata)?,
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => self.refuse(&below, Some(e))?,
                }
            }
        }
        Ok(())
    }

    /// Passes over a hidden entry, and tells of it if it is a file that a move has left aside.
    fn pass_hidden(&mut self, below: &Path, entry: &fs::DirEntry) -> StorageResult<()> {
        let name = entry.file_name();
        let is_left =
            |found: &Metadata| found.is_file() && is_left_aside(&name, found.ctime(), chrono::Utc::now().timestamp());
        match name.as_encoded_bytes().ends_with(b".moving") && entry.metadata().is_ok_and(|found| is_left(&found)) {
            true => self.refuse_for(&below.join(&name), LEFT_ASIDE),
            false => Ok(()),
        }
    }

    /// Entries of a directory, if its name still leads to its real path and it was not entered before. They are read
    /// from the descriptor that was checked.
    fn entries_of(&mut self, below: &Path, real: &Path) -> io::Result<Option<fs::ReadDir>> {
        let directory = match Anchored::of(&self.root.join(below)) {
            Ok(directory) => directory,
            // The directory was removed or replaced since it was found.
            Err(e)
                if !below.as_os_str().is_empty()
                    && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        if directory.path() != real || !directory.metadata().is_dir() {
            let was_swapped = !below.as_os_str().is_empty();
            return if was_swapped { Ok(None) } else { Err(ErrorKind::NotADirectory.into()) };
        }
        if !self.directories.insert(identity_of(directory.metadata())) {
            return Ok(None);
        }
        fs::read_dir(directory.lasting_name()).map(Some)
    }

    /// Follows a link, if its target is inside and not listed yet.
    fn follow(&mut self, below: PathBuf) -> StorageResult<()> {
        let path = self.root.join(&below);
        let anchored = match Anchored::of(&path) {
            Ok(anchored) if anchored.path().starts_with(&self.real_root) => anchored,
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return self.refuse_for(&below, LOOP),
            Ok(_) | Err(_) => return self.refuse_for(&below, LED_OUT),
        };
        if !anchored.metadata().is_dir() {
            self.links_to_files.push((below, anchored.metadata().clone()));
            return Ok(());
        }
        let holder = path.parent().and_then(|parent| Anchored::of(parent).ok());
        if holder.is_some_and(|holder| holder.path().starts_with(anchored.path())) {
            return self.refuse_for(&below, LOOP);
        }
        match self.directories.contains(&identity_of(anchored.metadata())) {
            true => Ok(()),
            false => self.descend(below, anchored.path().to_owned()),
        }
    }

    fn add(&mut self, below: &Path, metadata: &Metadata) -> StorageResult<()> {
        if !metadata.is_file() {
            return self.refuse_for(below, NO_FILE);
        }
        self.files.insert(identity_of(metadata));
        let uri = self.uri(below)?;
        self.listing.objects.push(object_of(uri, below.to_string_lossy().into_owned(), metadata));
        Ok(())
    }

    fn refuse(&mut self, below: &Path, cause: Option<io::Error>) -> StorageResult<()> {
        match cause {
            Some(e) if e.kind() != ErrorKind::PermissionDenied => {
                self.refuse_for(below, format!("it cannot be listed: {e}"))
            }
            _ => self.refuse_for(below, CLOSED),
        }
    }

    fn refuse_for(&mut self, below: &Path, reason: impl Into<std::borrow::Cow<'static, str>>) -> StorageResult<()> {
        let uri = self.uri(below)?;
        self.listing.refused.push(StorageError::foreign("list", uri, reason));
        Ok(())
    }

    fn uri(&self, below: &Path) -> StorageResult<ObjectUri> {
        let path = self.root.join(below);
        ObjectUri::from_path(&path).map_err(|e| StorageError::new("list", path.display(), io::Error::other(e)))
    }
}
