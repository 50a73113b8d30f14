//! Publication in a directory: files are written under private names, then get their final ones.
//!
//! A crash before publication leaves the files in the attempt's own directory, which readers ignore and which is
//! removed as a whole. After a crash during publication, publishing again completes it: each file is still private,
//! already in its final place, or both. A final name is given as a hard link, which fails where a rename would
//! overwrite.

use super::blocks::BlockFile;
use super::private::{PrivateFile, check_directories, untrue};
use super::{PrivateKind, PrivateName, RewriteTail, StagedFile, Tail};
use crate::way::{enter, open_plain};
use crate::{StorageError, StorageResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The private directory of one attempt at one manifest: `{output}/_millwork/staging/{manifest}/{attempt}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalStaging {
    directory: PathBuf,
}

/// Size of the trailer of a Parquet file, in bytes: four for the length of the footer, and four magic ones.
const FOOTER_END_BYTES: u64 = 8;
/// Limit of a footer, which is held in memory: 64 MiB; 20,000 columns in four row groups take about 20 MiB.
const MAX_FOOTER_BYTES: u64 = 64 << 20;
/// Number of attempts to change directories while other processes interfere.
const RETRIES: usize = 10;
/// Number of directories from an attempt's up to the output root.
const DEPTH: usize = 4;
/// Number of directories, from an attempt's upwards, that may not be links. `_millwork` above them may be one, since an
/// operator may have moved it.
const PRIVATE_DEPTH: usize = 3;
/// Number of directories that may have been created for a published file outside the output root.
const DEPTH_ELSEWHERE: usize = 3;

/// Ids of the manifests that have a staging directory.
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

/// A private file that is being written.
pub(crate) struct LocalWriter(BlockFile);

impl LocalStaging {
    /// Staging directory of all manifests and attempts, below an output root.
    pub(super) fn root(output: &Path) -> PathBuf {
        output.join("_millwork/staging")
    }

    /// Describes the directory of one attempt, without creating it.
    pub(super) fn new(output: &Path, manifest: &str, attempt: u32) -> Self {
        Self { directory: Self::root(output).join(manifest).join(attempt.to_string()) }
    }

    /// The attempt's number.
    pub(super) fn attempt(&self) -> Option<u32> {
        self.directory.file_name()?.to_str()?.parse().ok()
    }

    /// Creates the directory, empty. Directories of earlier attempts are removed; that of a later one is left alone.
    pub(super) fn prepare(&self) -> StorageResult<()> {
        self.clear()?;
        let fail = |e| StorageError::new("create", self.directory.display(), e);
        // Another manifest's clean-up may remove a parent directory that is empty at that moment.
        (0..RETRIES)
            .find_map(|_| crate::create_directories(&self.directory).ok())
            .map_or_else(|| crate::create_directories(&self.directory).map_err(fail), Ok)?;
        self.check_place().map_err(fail)?;
        // The names of the attempt's directory and its parents persist, since none of them is empty: synced now, they
        // leave less to wait for at the commit.
        sync_directories(self.directory.parent().unwrap_or(&self.directory), DEPTH)
    }

    /// Syncs the names of the private files. Must be called before a record refers to them.
    pub(super) fn sync(&self) -> StorageResult<()> {
        sync_directories(&self.directory, 1)
    }

    /// Creates a private file. Fails once the attempt's directory is removed, so that a task that outlives its attempt
    /// leaves nothing behind.
    pub(super) fn create(&self, name: &str) -> StorageResult<LocalWriter> {
        let path = self.directory.join(name);
        let file = BlockFile::create(path.clone()).map_err(|e| StorageError::new("create", path.display(), e))?;
        Ok(LocalWriter(file))
    }

    /// The path of a private file.
    pub(super) fn path(&self, file: &StagedFile) -> PathBuf {
        self.directory.join(file.name.to_string())
    }

    /// Checks that the attempt's directory is still the one that was created, and not a link.
    pub(super) fn check_place(&self) -> io::Result<()> {
        check_directories(&self.directory, PRIVATE_DEPTH)
    }

    /// Opens a private file for reading.
    pub(super) fn open(&self, file: &StagedFile) -> StorageResult<impl Read + use<>> {
        let path = self.path(file);
        let opened = self.check_place().and_then(|()| PrivateFile::open(&path, file.size_bytes, None));
        let opened = opened.map_err(|e| StorageError::new("read", path.display(), e))?;
        Ok(opened.file.take(opened.size_bytes))
    }

    /// Gives private files their final names in order, and stops at the first failure. Idempotent.
    pub(super) fn publish(&self, files: &[(&StagedFile, PathBuf)]) -> StorageResult<()> {
        let mut outcome = Ok(());
        let shown = files.iter().take_while(|(file, to)| {
            outcome = self.show(file, to);
            outcome.is_ok()
        });
        let shown = &files[..shown.count()];
        let directories: BTreeSet<&Path> = shown.iter().map(|(_, to)| directory_of(to)).collect();
        directories.into_iter().try_for_each(|directory| self.sync_names(directory))?;
        // Private names are removed only after the final names are synced, since a power loss would undo those that are
        // not. But they must be removed now: otherwise, if the consumer of an output removes it, a repeated publication
        // would show it again.
        shown.iter().try_for_each(|(file, to)| {
            match self.check_place().and_then(|()| fs::remove_file(self.path(file))) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(StorageError::new("publish", to.display(), e)),
                _ => Ok(()),
            }
        })?;
        outcome
    }

    /// Links a private file to its final name.
    fn show(&self, file: &StagedFile, to: &Path) -> StorageResult<()> {
        let fail = |e| StorageError::new("publish", to.display(), e);
        let from = self.path(file);
        let held = enter(directory_of(to)).map_err(fail)?;
        let name = to.file_name().ok_or_else(|| fail(ErrorKind::InvalidFilename.into()))?;
        let there = held.lasting_name().join(name);
        let opened = self.check_place().and_then(|()| PrivateFile::open(&from, file.size_bytes, Some(&there)));
        let shown = opened.and_then(|private| show_private(private, &from, &there));
        match shown {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(StorageError::taken(to.display())),
            Err(e) if e.kind() == ErrorKind::NotFound && is_gone(&from) => match is_published(file, &there) {
                true => Ok(()),
                false => Err(StorageError::lost(to.display())),
            },
            shown => shown.map_err(fail),
        }
    }

    /// Syncs a directory, and the parents that may have been created for it.
    fn sync_names(&self, directory: &Path) -> StorageResult<()> {
        let root = self.directory.ancestors().nth(DEPTH).unwrap_or(&self.directory);
        let depth = directory.ancestors().take_while(|parent| parent.starts_with(root)).count();
        sync_directories(directory, if depth == 0 { DEPTH_ELSEWHERE } else { depth })
    }

    /// Joins private files into one, and gives it its final name. Idempotent.
    pub(super) fn publish_joined(&self, files: &[StagedFile], to: &Path) -> StorageResult<()> {
        let name = PrivateName::new(PrivateKind::Rejects, u32::MAX);
        let size_bytes = files.iter().map(|file| file.size_bytes).sum();
        let joined = StagedFile { name, size_bytes, upload: None };
        let path = self.path(&joined);
        let join = || -> io::Result<()> {
            self.check_place()?;
            let mut into = crate::create_new_file(&path)?;
            self.copy_all(files, &mut into)?;
            into.sync_all()
        };
        match join() {
            Ok(()) => self.publish(&[(&joined, to.to_owned())]),
            Err(e) if e.kind() == ErrorKind::NotFound && is_published(&joined, to) => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(StorageError::lost(to.display())),
            Err(e) => Err(StorageError::new("write", path.display(), e)),
        }
    }

    /// Copies private files, one after the other.
    pub(super) fn copy_all(&self, files: &[StagedFile], into: &mut dyn Write) -> io::Result<()> {
        self.check_place()?;
        let copy = |file: &StagedFile| PrivateFile::open(&self.path(file), file.size_bytes, None)?.copy_to(into);
        files.iter().try_for_each(copy)
    }

    /// Passes the tail of a private file, which starts with the footer, to a function.
    pub(super) fn look_at_tail(
        &self,
        (number, file): (usize, &StagedFile),
        look: &mut dyn FnMut(&Tail<'_>) -> io::Result<()>,
    ) -> StorageResult<()> {
        let path = self.path(file);
        let mut work = || -> io::Result<()> {
            self.check_place()?;
            let (offset, bytes) = read_tail(&mut PrivateFile::open(&path, file.size_bytes, None)?)?;
            look(&Tail { file: number, offset, bytes: &bytes })
        };
        work().map_err(|e| StorageError::new("read the footer of", path.display(), e))
    }

    /// Replaces the tail of a private file, which starts with the footer.
    pub(super) fn rewrite_tail(
        &self,
        (number, file): (usize, &StagedFile),
        rewrite: RewriteTail<'_>,
    ) -> StorageResult<u64> {
        let path = self.path(file);
        let work = || -> io::Result<u64> {
            self.check_place()?;
            let mut private = PrivateFile::open_to_change(&path, file.size_bytes)?;
            let (start, tail) = read_tail(&mut private)?;
            let tail = rewrite(&Tail { file: number, offset: start, bytes: &tail })?;
            let mut open = private.file;
            open.set_len(start)?;
            open.seek(SeekFrom::Start(start))?;
            open.write_all(&tail)?;
            open.sync_data()?;
            Ok(start + tail.len() as u64)
        };
        work().map_err(|e| StorageError::new("rewrite the footer of", path.display(), e))
    }

    /// Removes the attempt's directory and its contents. Idempotent.
    pub(super) fn discard(&self) -> StorageResult<()> {
        if !self.has_parents()? {
            return Ok(());
        }
        remove_all(&self.directory)?;
        self.remove_empty_parents();
        Ok(())
    }

    /// Removes the directories of this attempt and earlier ones, all of which have ended. Idempotent.
    pub(super) fn clear(&self) -> StorageResult<()> {
        let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let (Some(manifest), Some(attempt)) = (self.directory.parent(), number(&self.directory)) else { return Ok(()) };
        let fail = |e| StorageError::new("list", manifest.display(), e);
        if !self.has_parents()? {
            return Ok(());
        }
        let entries = match fs::read_dir(manifest) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            if number(&path).is_some_and(|number| number <= attempt) {
                remove_all(&path)?;
            }
        }
        self.remove_empty_parents();
        Ok(())
    }

    /// Tells whether the directories above the attempt's exist. Links in their place are refused, since they lead to
    /// foreign files.
    fn has_parents(&self) -> StorageResult<bool> {
        let manifest = self.directory.parent().unwrap_or(&self.directory);
        match check_directories(manifest, PRIVATE_DEPTH - 1) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            checked => checked.map(|()| true).map_err(|e| StorageError::new("remove", self.directory.display(), e)),
        }
    }

    /// Removes the manifest's directory and the staging root if they are empty; another attempt may be using them.
    fn remove_empty_parents(&self) {
        for parent in self.directory.ancestors().skip(1).take(2) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
}

/// Footer and trailer of a Parquet file, and their offset.
fn read_tail(private: &mut PrivateFile) -> io::Result<(u64, Vec<u8>)> {
    let no_footer = || untrue(format!("it has {} bytes, and no footer that fits there", private.size_bytes));
    let end = private.size_bytes.checked_sub(FOOTER_END_BYTES).ok_or_else(no_footer)?;
    let mut length = [0; 4];
    private.file.read_exact_at(&mut length, end)?;
    let length = u64::from(u32::from_le_bytes(length));
    let start = end.checked_sub(length).filter(|_| length <= MAX_FOOTER_BYTES).ok_or_else(no_footer)?;
    let mut tail = vec![0; (private.size_bytes - start) as usize];
    private.file.read_exact_at(&mut tail, start)?;
    Ok((start, tail))
}

fn remove_all(directory: &Path) -> StorageResult<()> {
    // A task that is being cancelled may still be creating a file in the directory.
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

/// Gives an open private file its final name, by a link, or where that is impossible by a rename or a copy. Can be repeated, but for a rename:
/// then the private file is gone.
fn show_private(mut private: PrivateFile, from: &Path, to: &Path) -> io::Result<()> {
    match show(from, to) {
        Err(e) if e.kind() == ErrorKind::CrossesDevices => write_new(to, |into| private.copy_to(into)),
        Ok(Shown::Linked) => private.check_shown(to),
        // A copy of equal content is accepted. A renamed file is the only copy, and must not be removed again.
        Ok(Shown::Before | Shown::Renamed) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Way in which a file got its final name.
enum Shown {
    Before,
    Linked,
    Renamed,
}

/// Gives a file another name without replacing another file: by a link, or where that is impossible by a rename. Can be repeated after a
/// link; after a rename it fails with `NotFound`.
fn show(from: &Path, to: &Path) -> io::Result<Shown> {
    match fs::hard_link(from, to) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && is_same(from, to)? => Ok(Shown::Before),
        Err(e) if !matches!(e.kind(), ErrorKind::CrossesDevices | ErrorKind::NotFound) => {
            rename_new(from, to).map(|()| Shown::Renamed)
        }
        linked => linked.map(|()| Shown::Linked),
    }
}

/// Fallback for file systems without hard links, and for users who may not create them.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    // A dangling link counts as existing, too.
    match fs::symlink_metadata(to) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == ErrorKind::NotFound => fs::rename(from, to),
        Err(e) => Err(e),
    }
}

/// Writes a file outside the output root.
pub(super) fn write_elsewhere(to: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> StorageResult<()> {
    let directory = to.parent().unwrap_or(Path::new("/"));
    let written = enter(directory).and_then(|held| {
        let name = to.file_name().ok_or(ErrorKind::InvalidFilename)?;
        write_new(&held.lasting_name().join(name), write)
    });
    written.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => StorageError::taken(to.display()),
        _ => StorageError::new("write", to.display(), e),
    })?;
    sync_directories(directory, DEPTH_ELSEWHERE)
}

/// Writes a file under a private name beside its final one, then renames it. Anything already under the private name,
/// left by a crash or by another user, is removed and never written to.
fn write_new(to: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let private = to.with_extension("tmp");
    match fs::remove_file(&private) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut into = crate::create_new_file(&private)
        .map_err(|e| if e.kind() == ErrorKind::AlreadyExists { ErrorKind::ResourceBusy.into() } else { e })?;
    write(&mut into)?;
    into.sync_all()?;
    rename_new(&private, to)
}

/// Syncs a directory and this number of directories in all, going upwards.
fn sync_directories(directory: &Path, count: usize) -> StorageResult<()> {
    for directory in directory.ancestors().take(count) {
        let fail = |e| StorageError::new("write", directory.display(), e);
        // Refuses a FIFO or file that another user put there, without blocking on it.
        let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK).open(directory);
        opened.and_then(|d| d.sync_all()).map_err(fail)?;
    }
    Ok(())
}

/// Tells whether two files have the same content.
fn is_same(a: &Path, b: &Path) -> io::Result<bool> {
    let (of_a, of_b) = (fs::symlink_metadata(a)?, fs::symlink_metadata(b)?);
    // Only regular files are compared, since a pipe could block the reader.
    if !of_a.is_file() || !of_b.is_file() || of_a.len() != of_b.len() {
        return Ok(false);
    }
    if (of_a.dev(), of_a.ino()) == (of_b.dev(), of_b.ino()) {
        return Ok(true);
    }
    let (mut a, mut b) = (BufReader::new(open_plain(a)?), BufReader::new(open_plain(b)?));
    loop {
        let (left, right) = (a.fill_buf()?, b.fill_buf()?);
        let bytes = left.len().min(right.len());
        if bytes == 0 || left[..bytes] != right[..bytes] {
            return Ok(left.is_empty() && right.is_empty());
        }
        a.consume(bytes);
        b.consume(bytes);
    }
}

/// Parent directory of a final name.
fn directory_of(to: &Path) -> &Path {
    to.parent().unwrap_or(Path::new("/"))
}

fn is_gone(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

fn is_published(file: &StagedFile, to: &Path) -> bool {
    fs::metadata(to).is_ok_and(|metadata| metadata.len() == file.size_bytes)
}

impl LocalWriter {
    /// Syncs and closes the file. Returns its size in bytes.
    pub(super) fn finish(self) -> StorageResult<u64> {
        let path = self.0.path().to_owned();
        self.0.finish().map_err(|e| StorageError::new("write", path.display(), e))
    }
}

impl Write for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|e| {
            let kind = e.kind();
            io::Error::new(kind, StorageError::new("write", self.0.path().display(), e))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests;
