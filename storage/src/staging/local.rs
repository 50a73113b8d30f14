//! Publication in a directory: private names, then renames.
//!
//! If the process dies before publication, the files stand in the attempt's own directory, where no reader looks,
//! and the directory is removed as a whole. If it dies in the middle, publishing again finishes: each file is
//! either still private or already in its place.

use super::StagedFile;
use crate::{StorageError, StorageResult};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The private directory of one attempt at one manifest: `{output}/_millwork/staging/{manifest}/{attempt}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalStaging {
    directory: PathBuf,
}

/// What ends a Parquet file: the length of its footer in four bytes, and four magic ones.
const FOOTER_END_BYTES: i64 = 8;
/// How often a change of directories is made again when another process interferes.
const RETRIES: usize = 10;

/// The manifests that have a directory.
pub(super) fn staged_manifests(output: &Path) -> StorageResult<Vec<String>> {
    let root = LocalStaging::root(output);
    let fail = |e| StorageError::new("list", root.display(), e);
    let entries = match fs::read_dir(&root) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry.map_err(fail)?.file_name().into_string().ok());
    entries.map(name).filter_map(Result::transpose).collect()
}

/// Removes a manifest's directory.
pub(super) fn remove_staged(output: &Path, manifest: &str) -> StorageResult<()> {
    remove_all(&LocalStaging::root(output).join(manifest))
}

/// A private file that is being written.
pub(crate) struct LocalWriter {
    file: File,
    path: PathBuf,
    /// What is not written yet.
    buffer: Vec<u8>,
    size_bytes: u64,
}

/// What one write has. The file system clears the rest of a block that is written in part, and Parquet comes in small
/// pieces, so each write but the last is of whole blocks.
const WRITE_BYTES: usize = 1 << 20;

impl LocalStaging {
    /// The staging directory below an output root of every manifest and attempt.
    pub(super) fn root(output: &Path) -> PathBuf {
        output.join("_millwork/staging")
    }

    /// The directory of one attempt. Nothing is created yet.
    pub(super) fn new(output: &Path, manifest: &str, attempt: u32) -> Self {
        Self { directory: Self::root(output).join(manifest).join(attempt.to_string()) }
    }

    /// Creates the directory, empty. What earlier attempts at the same manifest left goes: only one is alive, this one.
    pub(super) fn prepare(&self) -> StorageResult<()> {
        self.discard()?;
        if let Some(manifest) = self.directory.parent() {
            remove_all(manifest)?;
        }
        let fail = |e| StorageError::new("create", self.directory.display(), e);
        // Another manifest's clean-up may remove a parent that is empty just now.
        (0..RETRIES)
            .find_map(|_| fs::create_dir_all(&self.directory).ok())
            .map_or_else(|| fs::create_dir_all(&self.directory).map_err(fail), Ok)
    }

    /// Makes the names of the private files durable. To be called before a record names them.
    pub(super) fn sync(&self) -> StorageResult<()> {
        // The attempt's directory, and those that were made for it, up to the output root.
        for directory in self.directory.ancestors().take(5) {
            let fail = |e| StorageError::new("write", directory.display(), e);
            File::open(directory).and_then(|d| d.sync_all()).map_err(fail)?;
        }
        Ok(())
    }

    /// Starts a private file. It fails once the attempt's directory is gone: a task that outlives its attempt can
    /// leave nothing behind.
    pub(super) fn create(&self, name: &str) -> StorageResult<LocalWriter> {
        let path = self.directory.join(name);
        let file = File::create_new(&path).map_err(|e| StorageError::new("create", path.display(), e))?;
        Ok(LocalWriter { file, path, buffer: Vec::new(), size_bytes: 0 })
    }

    /// The path of a private file.
    pub(super) fn path(&self, file: &StagedFile) -> PathBuf {
        self.directory.join(&file.name)
    }

    /// Gives a private file its final name. Doing it again is no error.
    pub(super) fn publish(&self, file: &StagedFile, to: &Path) -> StorageResult<()> {
        let fail = |e| StorageError::new("publish", to.display(), e);
        let directory = to.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(fail)?;
        match fs::rename(self.path(file), to) {
            Err(e) if e.kind() == ErrorKind::CrossesDevices => publish_across(&self.path(file), to).map_err(fail),
            Ok(()) => File::open(directory).and_then(|d| d.sync_all()).map_err(fail),
            Err(e) if e.kind() == ErrorKind::NotFound && is_published(file, to) => Ok(()),
            Err(e) => Err(fail(e)),
        }
    }

    /// Puts private files together as one, and gives that its final name. Doing it again is no error.
    pub(super) fn publish_joined(&self, files: &[StagedFile], to: &Path) -> StorageResult<()> {
        if to.exists() {
            return Ok(());
        }
        let joined = StagedFile {
            name: "joined".to_owned(),
            size_bytes: files.iter().map(|file| file.size_bytes).sum(),
            upload: None,
        };
        let path = self.path(&joined);
        let join = || -> io::Result<()> {
            let mut into = File::create(&path)?;
            for file in files {
                io::copy(&mut File::open(self.path(file))?, &mut into)?;
            }
            into.sync_all()
        };
        join().map_err(|e| StorageError::new("write", path.display(), e))?;
        self.publish(&joined, to)
    }

    /// Changes the last bytes of a private file, which start with the page indexes or the footer.
    pub(super) fn rewrite_tail(
        &self,
        file: &StagedFile,
        rewrite: impl FnOnce(&[u8]) -> io::Result<Vec<u8>>,
    ) -> StorageResult<u64> {
        use std::io::{Read, Seek, SeekFrom};
        let path = self.path(file);
        let work = || -> io::Result<u64> {
            let mut open = fs::OpenOptions::new().read(true).write(true).open(&path)?;
            let mut length = [0; 4];
            let end = open.seek(SeekFrom::End(-FOOTER_END_BYTES))?;
            open.read_exact(&mut length)?;
            let start = end.saturating_sub(u64::from(u32::from_le_bytes(length)));
            let mut tail = Vec::new();
            open.seek(SeekFrom::Start(start))?;
            open.read_to_end(&mut tail)?;
            let tail = rewrite(&tail)?;
            open.set_len(start)?;
            open.seek(SeekFrom::Start(start))?;
            open.write_all(&tail)?;
            open.sync_data()?;
            Ok(start + tail.len() as u64)
        };
        work().map_err(|e| StorageError::new("rewrite the footer of", path.display(), e))
    }

    /// Removes the attempt's directory with all that is in it. Doing it again is no error.
    pub(super) fn discard(&self) -> StorageResult<()> {
        remove_all(&self.directory)?;
        // The manifest's directory and the staging root go when empty; another attempt may be using them.
        for parent in self.directory.ancestors().skip(1).take(2) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn remove_all(directory: &Path) -> StorageResult<()> {
    // A task that is being cancelled may put a file in it just now.
    let mut tries = 0;
    loop {
        tries += 1;
        match fs::remove_dir_all(directory) {
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty && tries < RETRIES => {}
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(StorageError::new("remove", directory.display(), e));
            }
            _ => return Ok(()),
        }
    }
}

/// Publishes to another file system, through a private name beside the final one.
fn publish_across(from: &Path, to: &Path) -> io::Result<()> {
    let private = to.with_extension("tmp");
    fs::copy(from, &private)?;
    File::open(&private).and_then(|copy| copy.sync_all())?;
    fs::rename(&private, to)
}

fn is_published(file: &StagedFile, to: &Path) -> bool {
    fs::metadata(to).is_ok_and(|metadata| metadata.len() == file.size_bytes)
}

impl LocalWriter {
    /// Makes what was written durable and closes the file.
    pub(super) fn finish(mut self) -> StorageResult<StagedFile> {
        let durable = self.file.write_all(&self.buffer).and_then(|()| self.file.sync_data());
        durable.map_err(|e| StorageError::new("write", self.path.display(), e))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(StagedFile { name, size_bytes: self.size_bytes, upload: None })
    }
}

impl Write for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(WRITE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.size_bytes += taken as u64;
        if self.buffer.len() == WRITE_BYTES {
            self.file.write_all(&self.buffer).map_err(|e| {
                let kind = e.kind();
                io::Error::new(kind, StorageError::new("write", self.path.display(), e))
            })?;
            self.buffer.clear();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(staging: &LocalStaging, name: &str) -> StagedFile {
        let mut writer = staging.create(name).unwrap();
        writer.write_all(b"content").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn publishing_twice_is_once() {
        let root = tempfile::tempdir().unwrap();
        let staging = LocalStaging::new(root.path(), "m", 1);
        staging.prepare().unwrap();
        let file = staged(&staging, "a");
        let to = root.path().join("merged-parquet-2025-12-23/m-part-00000.parquet");
        staging.publish(&file, &to).unwrap();
        staging.publish(&file, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"content");
        staging.discard().unwrap();
        assert!(!LocalStaging::root(root.path()).exists());
    }

    #[test]
    fn a_task_that_outlives_its_attempt_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (LocalStaging::new(root.path(), "m", 1), LocalStaging::new(root.path(), "m", 2));
        one.prepare().unwrap();
        let mut open = one.create("a").unwrap();
        two.prepare().unwrap();
        open.write_all(b"late").unwrap();
        assert!(one.create("b").is_err_and(|e| e.is_not_found()));
        staged(&two, "a");
        assert_eq!(fs::read_dir(LocalStaging::root(root.path())).unwrap().count(), 1);
    }

    #[test]
    fn a_lost_file_cannot_be_published() {
        let root = tempfile::tempdir().unwrap();
        let staging = LocalStaging::new(root.path(), "m", 1);
        staging.prepare().unwrap();
        let file = staged(&staging, "a");
        fs::remove_file(staging.path(&file)).unwrap();
        assert!(staging.publish(&file, &root.path().join("x.parquet")).is_err());
    }
}
