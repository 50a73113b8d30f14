//! The files below a directory, each once.
//!
//! The rule for links: one is followed if it leads to something inside the directory that is listed. What stands there under a name
//! of its own is listed by that name, and by no link to it; what has no such name, since it is in a directory that is left out, is
//! listed by the first link to a directory that it is in, or else by the first link to it. A link to a directory that it is in is a loop. Loops, links out of the directory and links to
//! nothing are refused by name. Hard links are files of their own.

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

/// Reason why a directory below the one that is listed is left out, for a person.
const CLOSED: &str = "it is in a directory, or is one, that this user may not look into: give the right to read and enter it, or \
    keep it out of the input";

/// Reason why a link is left out, for a person. Of what is outside nothing is told.
const LED_OUT: &str =
    "a link leads from there to outside the input, or to nothing: put the file itself there, or remove the link";

/// Reason why a link is left out that is in what it leads to, for a person.
const LOOP: &str = "it is a link that leads back to where it is: remove it";

/// Reason why an entry is left out that is neither a file nor a directory nor a link, for a person.
const NO_FILE: &str = "it is no regular file, but a pipe, a socket or a device, which is never opened: remove it, or keep it out of the input";

/// Reason for which a file is named that a move to the quarantine took aside, for a person.
const LEFT_ASIDE: &str = "a process died as it moved this file to the quarantine: if the quarantine has its content, remove it here; if \
    not, give it a name that does not begin with a dot";

/// Content of a directory: its files, and the entries that are refused.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files below the directory, ordered by key.
    pub objects: Vec<Object>,
    /// Entries that are refused: links that lead out of the directory, in a circle, or to nothing, what is no regular file, and
    /// directories that may not be listed.
    pub refused: Vec<StorageError>,
}

/// Lists every file below `root`, or `root` itself, if that is a file. Links are followed as the module says; a file that vanishes
/// meanwhile is left out, and so are names that are hidden, see [`crate::is_hidden`]. Nothing is opened but directories, and each of
/// those where it was found.
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
    // Own names first: a link to what has one adds nothing.
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

/// Identity of a file or directory, whatever its name: device and inode.
type Identity = (u64, u64);

fn identity_of(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

struct Walk<'a> {
    root: &'a Path,
    real_root: PathBuf,
    listing: Listing,
    /// Files that are listed.
    files: HashSet<Identity>,
    /// Directories that were entered.
    directories: HashSet<Identity>,
    /// Links that were found and not looked at yet, below the root.
    links: BTreeSet<PathBuf>,
    /// Links to what is no directory, in order: a directory that is found later may have it under a name of its own.
    links_to_files: Vec<(PathBuf, Metadata)>,
}

impl Walk<'_> {
    /// Lists a directory and all below it: `below` is the name it was found by, `real` where it is.
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
                    let is_left = |found: &Metadata| {
                        found.is_file() && is_left_aside(&name, found.ctime(), chrono::Utc::now().timestamp())
                    };
                    if name.as_encoded_bytes().ends_with(b".moving") && entry.metadata().is_ok_and(|m| is_left(&m)) {
                        self.refuse_for(&below.join(&name), LEFT_ASIDE)?;
                    }
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

    /// The entries of a directory, if it is really where its name says and was not entered before. They are those of this very
    /// directory.
    fn entries_of(&mut self, below: &Path, real: &Path) -> io::Result<Option<fs::ReadDir>> {
        let directory = match Anchored::of(&self.root.join(below)) {
            Ok(directory) => directory,
            // The directory that was found has been removed or replaced since.
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

    /// Goes where a link leads, if that is inside and not listed yet.
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
