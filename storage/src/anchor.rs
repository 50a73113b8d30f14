//! A local file or directory that is held on to, so that what is checked of it is what is read.
//!
//! On Linux it is first opened for its place only, which neither waits for a pipe nor wakes a device, and the system is asked
//! where it is. What is read after that is this very file, whatever its name leads to by then.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens for the place only.
#[cfg(target_os = "linux")]
const PLACE_ONLY: i32 = libc::O_PATH;
#[cfg(not(target_os = "linux"))]
const PLACE_ONLY: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// A file or directory, held on to.
pub(crate) struct Anchored {
    handle: File,
    path: PathBuf,
    metadata: Metadata,
}

impl Anchored {
    /// Finds it by its name; links are followed.
    pub(crate) fn of(name: &Path) -> io::Result<Self> {
        Self::with(name, 0)
    }

    /// Finds a file or directory like [`Self::of`], by a name that is to be no link itself.
    pub(crate) fn of_no_link(name: &Path) -> io::Result<Self> {
        Self::with(name, libc::O_NOFOLLOW)
    }

    fn with(name: &Path, flags: i32) -> io::Result<Self> {
        let handle = File::options().read(true).custom_flags(PLACE_ONLY | flags).open(name)?;
        let metadata = handle.metadata()?;
        if metadata.is_symlink() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let path = match fs::read_link(seen_by_system(&handle)) {
            Ok(path) => path,
            // A system that does not tell, or a place where it may not.
            Err(_) => {
                let path = name.canonicalize()?;
                if !is_same(&fs::symlink_metadata(&path)?, &metadata) {
                    return Err(ErrorKind::StaleNetworkFileHandle.into());
                }
                path
            }
        };
        Ok(Self { handle, path, metadata })
    }

    /// Path of the file or directory, without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Metadata of the file or directory, as it was found.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A name by which it is found whatever stands under its own by now.
    pub(crate) fn lasting_name(&self) -> PathBuf {
        let name = seen_by_system(&self.handle);
        if name.exists() { name } else { self.path.clone() }
    }

    /// Opens it for reading, without waiting.
    pub(crate) fn open(&self) -> io::Result<File> {
        let file =
            File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(self.lasting_name())?;
        match is_same(&file.metadata()?, &self.metadata) {
            true => Ok(file),
            false => Err(ErrorKind::StaleNetworkFileHandle.into()),
        }
    }
}

fn seen_by_system(handle: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Tells whether two metadata are of one file, whatever is in it.
pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
