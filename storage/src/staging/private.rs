//! Opening private files of a directory, which another process wrote, and perhaps another user.
//!
//! An executor can put whatever it likes in the attempt's directory, also links to what it may not read but the scheduler may. So
//! a private file is opened without following links, and is used only if it is a regular file of one name and of the size that was
//! reported. Executors may run as another user, on a shared file system: the owner says nothing, the number of names does. Whoever
//! may write to the attempt's directory still says what stands in its own files.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// An open private file.
pub(super) struct PrivateFile {
    pub(super) file: File,
    pub(super) size_bytes: u64,
    /// Device and inode.
    identity: (u64, u64),
}

impl PrivateFile {
    /// Opens a private file of so many bytes, without following a link. `shown` is another name that it may have already.
    pub(super) fn open(path: &Path, size_bytes: u64, shown: Option<&Path>) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().read(true), path, size_bytes, shown)
    }

    /// Opens a private file of so many bytes for changing it, without following a link.
    pub(super) fn open_to_change(path: &Path, size_bytes: u64) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().read(true).write(true), path, size_bytes, None)
    }

    fn open_with(options: &mut OpenOptions, path: &Path, size_bytes: u64, shown: Option<&Path>) -> io::Result<Self> {
        // Without O_NONBLOCK a pipe would be waited for.
        let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        let file = opened.map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) => untrue("it is a symbolic link".to_owned()),
            Some(libc::ENXIO) => untrue("it is no regular file".to_owned()),
            _ => e,
        })?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(untrue("it is no regular file".to_owned()));
        }
        let identity = identity(&metadata);
        let is_shown =
            || shown.and_then(|shown| fs::symlink_metadata(shown).ok()).is_some_and(|m| self::identity(&m) == identity);
        if metadata.nlink() != 1 && !(metadata.nlink() == 2 && is_shown()) {
            return Err(untrue(format!("it has {} names, and may be a file of somebody else's", metadata.nlink())));
        }
        if metadata.len() != size_bytes {
            return Err(untrue(format!("it has {} bytes, {size_bytes} were reported", metadata.len())));
        }
        Ok(Self { file, size_bytes, identity })
    }

    /// Copies all of it.
    pub(super) fn copy_to(&mut self, into: &mut dyn Write) -> io::Result<()> {
        let copied = io::copy(&mut (&mut self.file).take(self.size_bytes), into)?;
        match copied == self.size_bytes {
            true => Ok(()),
            false => Err(untrue(format!("{copied} of its {} bytes are there", self.size_bytes))),
        }
    }

    /// Checks that a name which was just given, as well as the private one, is this file's. The private name may have become another's
    /// meanwhile: then the new name goes again.
    pub(super) fn check_shown(&self, to: &Path) -> io::Result<()> {
        if fs::symlink_metadata(to).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            return Ok(());
        }
        fs::remove_file(to)?;
        Err(untrue("another file took its private name meanwhile".to_owned()))
    }
}

/// Refuses a directory that is not one itself, or stands in one that is not, up to so many of them.
pub(super) fn check_directories(directory: &Path, count: usize) -> io::Result<()> {
    directory.ancestors().take(count).try_for_each(|directory| match fs::symlink_metadata(directory)?.is_dir() {
        true => Ok(()),
        false => Err(untrue(format!("`{}` is no directory, or a link to one", directory.display()))),
    })
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// An error of [`ErrorKind::InvalidData`]: a private file is not what was reported.
pub(super) fn untrue(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}
