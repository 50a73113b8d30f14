//! Safe opening of private files, which another process, perhaps of another user, wrote.
//!
//! An executor can put anything in the attempt's directory, including links to files that only the scheduler may read.
//! A private file is therefore opened without following links, and is used only if it is a regular file with a single
//! hard link and the reported size. The owner is not checked, since executors may run as another user on a shared file
//! system. The content of its own files remains the executor's word.

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
    /// Opens a private file of this size, without following a link. `shown` is its final name, which may already be a
    /// second hard link of it.
    pub(super) fn open(path: &Path, size_bytes: u64, shown: Option<&Path>) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().read(true), path, size_bytes, shown)
    }

    /// Opens a private file of this size for changes, without following a link.
    pub(super) fn open_to_change(path: &Path, size_bytes: u64) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().read(true).write(true), path, size_bytes, None)
    }

    fn open_with(options: &mut OpenOptions, path: &Path, size_bytes: u64, shown: Option<&Path>) -> io::Result<Self> {
        // Without O_NONBLOCK, opening a pipe would block.
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

    /// Copies the whole content.
    pub(super) fn copy_to(&mut self, into: &mut dyn Write) -> io::Result<()> {
        let copied = io::copy(&mut (&mut self.file).take(self.size_bytes), into)?;
        match copied == self.size_bytes {
            true => Ok(()),
            false => Err(untrue(format!("{copied} of its {} bytes are there", self.size_bytes))),
        }
    }

    /// Checks that a final name that was just given, and the private name, both refer to this file. If the private name
    /// was replaced meanwhile, the final name is removed again.
    pub(super) fn check_shown(&self, to: &Path) -> io::Result<()> {
        if fs::symlink_metadata(to).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            return Ok(());
        }
        fs::remove_file(to)?;
        Err(untrue("another file took its private name meanwhile".to_owned()))
    }
}

/// Refuses a directory that is a link, or any of this many directories upwards that is one.
pub(super) fn check_directories(directory: &Path, count: usize) -> io::Result<()> {
    directory.ancestors().take(count).try_for_each(|directory| match fs::symlink_metadata(directory)?.is_dir() {
        true => Ok(()),
        false => Err(untrue(format!("`{}` is no directory, or a link to one", directory.display()))),
    })
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Error of kind [`ErrorKind::InvalidData`]: a private file differs from its report.
pub(super) fn untrue(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}
