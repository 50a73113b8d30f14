//! A local file or directory that is kept open, so that the file that was checked is the file that is read.
//!
//! On Linux it is first opened with `O_PATH`, which neither blocks on a pipe nor triggers a device, and the kernel is
//! asked for its real path. All later reads use this descriptor, whatever its name points to by then.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time for which a file under a lease is tried: 100 ms, in which a holder that means well gives way. Longer, many such files would
/// hold up a manifest.
const LEASE_TIME: Duration = Duration::from_millis(100);
/// Pause between these tries.
const LEASE_PAUSE: Duration = Duration::from_millis(10);

/// Flag to open a path without access to its content.
#[cfg(target_os = "linux")]
const PLACE_ONLY: i32 = libc::O_PATH;
#[cfg(not(target_os = "linux"))]
const PLACE_ONLY: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// A file or directory that is kept open.
pub(crate) struct Anchored {
    handle: File,
    path: PathBuf,
    metadata: Metadata,
}

impl Anchored {
    /// Opens a file or directory by name, following links.
    pub(crate) fn of(name: &Path) -> io::Result<Self> {
        Self::with(name, 0)
    }

    /// Opens a file or directory like [`Self::of`], but refuses a name that is itself a link.
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
            // The system does not report the path, or the process may not see it.
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

    /// Metadata of the file or directory at the time it was opened.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Path that leads to this very file or directory, even if its own name was replaced since.
    pub(crate) fn lasting_name(&self) -> PathBuf {
        let name = seen_by_system(&self.handle);
        if name.exists() { name } else { self.path.clone() }
    }

    /// Opens the anchored file for reading, without blocking on pipes. A file under a lease (`fcntl(2)`, `F_SETLEASE`) is
    /// tried for [`LEASE_TIME`], since the system tells its holder.
    pub(crate) fn open(&self) -> io::Result<File> {
        let (mut options, started) = (File::options(), Instant::now());
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = loop {
            match options.open(self.lasting_name()) {
                Err(e) if e.kind() == ErrorKind::WouldBlock && started.elapsed() < LEASE_TIME => sleep(LEASE_PAUSE),
                opened => break opened?,
            }
        };
        match is_same(&file.metadata()?, &self.metadata) {
            true => Ok(file),
            false => Err(ErrorKind::StaleNetworkFileHandle.into()),
        }
    }
}

fn seen_by_system(handle: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Tells whether two metadata describe the same file (device and inode), whatever its content.
pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
