//! Publication in a directory: private names, then final ones.
//!
//! If the process dies before publication, the files stand in the attempt's own directory, where no reader looks,
//! and the directory is removed as a whole. If it dies in the middle, publishing again finishes: each file is
//! still private, or already in its place, or both. A final name is given as a link, which fails where a rename would
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

/// Size of the end of a Parquet file, in bytes: the length of the footer in four bytes, and four magic ones.
const FOOTER_END_BYTES: u64 = 8;
/// Limit of the bytes of a footer, 64 MiB, which are held in memory: 20,000 columns in four row groups have about 20 MiB.
const MAX_FOOTER_BYTES: u64 = 64 << 20;
/// Number of times that a change of directories is tried when another process interferes.
const RETRIES: usize = 10;
/// Number of directories above an attempt's, up to the output root.
const DEPTH: usize = 4;
/// Number of directories, an attempt's and those above it, that must be no links. An operator may have put `_millwork` elsewhere.
const PRIVATE_DEPTH: usize = 3;
/// Number of directories that may have been made for a published file outside the output root.
const DEPTH_ELSEWHERE: usize = 3;

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

/// A private file that is being written.
pub(crate) struct LocalWriter(BlockFile);

impl LocalStaging {
    /// The staging directory below an output root of every manifest and attempt.
    pub(super) fn root(output: &Path) -> PathBuf {
        output.join("_millwork/staging")
    }

    /// The directory of one attempt. Nothing is created yet.
    pub(super) fn new(output: &Path, manifest: &str, attempt: u32) -> Self {
        Self { directory: Self::root(output).join(manifest).join(attempt.to_string()) }
    }

    /// The attempt's number.
    pub(super) fn attempt(&self) -> Option<u32> {
        self.directory.file_name()?.to_str()?.parse().ok()
    }

    /// Creates the directory, empty. What earlier attempts left goes; a later one is left alone.
    pub(super) fn prepare(&self) -> StorageResult<()> {
        self.clear()?;
        let fail = |e| StorageError::new("create", self.directory.display(), e);
        // Another manifest's clean-up may remove a parent that is empty just now.
        (0..RETRIES)
            .find_map(|_| crate::create_directories(&self.directory).ok())
            .map_or_else(|| crate::create_directories(&self.directory).map_err(fail), Ok)?;
        self.check_place().map_err(fail)?;
        // The name of the attempt's directory and those above stay, since none of these is empty: made durable now,
        // they leave less to wait for at the commit.
        sync_directories(self.directory.parent().unwrap_or(&self.directory), DEPTH)
    }

    /// Makes the names of the private files durable. To be called before a record names them.
    pub(super) fn sync(&self) -> StorageResult<()> {
        sync_directories(&self.directory, 1)
    }

    /// Starts a private file. It fails once the attempt's directory is gone: a task that outlives its attempt can
    /// leave nothing behind.
    pub(super) fn create(&self, name: &str) -> StorageResult<LocalWriter> {
        let path = self.directory.join(name);
        let file = BlockFile::create(path.clone()).map_err(|e| StorageError::new("create", path.display(), e))?;
        Ok(LocalWriter(file))
    }

    /// The path of a private file.
    pub(super) fn path(&self, file: &StagedFile) -> PathBuf {
        self.directory.join(file.name.to_string())
    }

    /// Checks that the attempt's directory is where it was made, and no link to another.
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

    /// Gives private files their final names, one after the other, up to the first that cannot get it. Doing it again is no error.
    pub(super) fn publish(&self, files: &[(&StagedFile, PathBuf)]) -> StorageResult<()> {
        let mut outcome = Ok(());
        let shown = files.iter().take_while(|(file, to)| {
            outcome = self.show(file, to);
            outcome.is_ok()
        });
        let shown = &files[..shown.count()];
        let directories: BTreeSet<&Path> = shown.iter().map(|(_, to)| directory_of(to)).collect();
        directories.into_iter().try_for_each(|directory| self.sync_names(directory))?;
        // Not before: a power loss takes names back that are not durable. But now: whoever reads an output may also take it away, and
        // it must not be shown again.
        shown.iter().try_for_each(|(file, to)| {
            match self.check_place().and_then(|()| fs::remove_file(self.path(file))) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(StorageError::new("publish", to.display(), e)),
                _ => Ok(()),
            }
        })?;
        outcome
    }

    /// Gives a private file its final name as well.
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

    /// Makes the names in a directory durable, and that of each directory that may have been made for it.
    fn sync_names(&self, directory: &Path) -> StorageResult<()> {
        let root = self.directory.ancestors().nth(DEPTH).unwrap_or(&self.directory);
        let depth = directory.ancestors().take_while(|parent| parent.starts_with(root)).count();
        sync_directories(directory, if depth == 0 { DEPTH_ELSEWHERE } else { depth })
    }

    /// Puts private files together as one, and gives that its final name. Doing it again is no error.
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

    /// Shows the last bytes of a private file, which start with the footer.
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

    /// Changes the last bytes of a private file, which start with the footer.
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

    /// Removes the attempt's directory with all that is in it. Doing it again is no error.
    pub(super) fn discard(&self) -> StorageResult<()> {
        if !self.has_parents()? {
            return Ok(());
        }
        remove_all(&self.directory)?;
        self.remove_empty_parents();
        Ok(())
    }

    /// Removes the directories of this attempt and of earlier ones, of which none is alive. Doing it again is no error.
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

    /// True if the directories above the attempt's are there; links in their place are refused, since what they lead to is not ours.
    fn has_parents(&self) -> StorageResult<bool> {
        let manifest = self.directory.parent().unwrap_or(&self.directory);
        match check_directories(manifest, PRIVATE_DEPTH - 1) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            checked => checked.map(|()| true).map_err(|e| StorageError::new("remove", self.directory.display(), e)),
        }
    }

    /// The manifest's directory and the staging root go when empty; another attempt may be using them.
    fn remove_empty_parents(&self) {
        for parent in self.directory.ancestors().skip(1).take(2) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
}

/// The footer of a Parquet file with what ends the file, and where it starts.
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

/// Gives an open private file its final name as well, or instead. Doing it again is no error.
fn show_private(mut private: PrivateFile, from: &Path, to: &Path) -> io::Result<()> {
    match show(from, to) {
        Err(e) if e.kind() == ErrorKind::CrossesDevices => write_new(to, |into| private.copy_to(into)),
        Ok(Shown::Linked) => private.check_shown(to),
        // Equal content is as good as the file itself. One that was renamed is the only one there is: it must not go again.
        Ok(Shown::Before | Shown::Renamed) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The way in which a file has its final name.
enum Shown {
    Before,
    Linked,
    Renamed,
}

/// Gives a file another name as well, or instead, but never that of another file. Doing it again is no error.
fn show(from: &Path, to: &Path) -> io::Result<Shown> {
    match fs::hard_link(from, to) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && is_same(from, to)? => Ok(Shown::Before),
        Err(e) if !matches!(e.kind(), ErrorKind::CrossesDevices | ErrorKind::NotFound) => {
            rename_new(from, to).map(|()| Shown::Renamed)
        }
        linked => linked.map(|()| Shown::Linked),
    }
}

/// For file systems without links, and for those who may not make them.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    // A link to nowhere is something, too.
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

/// Writes a file under a private name beside its final one, then gives it that. What has the private name, be it left by a process that
/// died or put there by another user, is removed and never written to.
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

/// Makes the names in a directory durable, and in some that it is in.
fn sync_directories(directory: &Path, count: usize) -> StorageResult<()> {
    for directory in directory.ancestors().take(count) {
        let fail = |e| StorageError::new("write", directory.display(), e);
        // Neither waits for a pipe that another user has put there instead, nor makes anything but a directory durable.
        let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK).open(directory);
        opened.and_then(|d| d.sync_all()).map_err(fail)?;
    }
    Ok(())
}

/// Tells whether two files have the same content.
fn is_same(a: &Path, b: &Path) -> io::Result<bool> {
    let (of_a, of_b) = (fs::symlink_metadata(a)?, fs::symlink_metadata(b)?);
    // A file that is no regular one could keep its reader waiting.
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

/// The directory of a final name.
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
    /// Makes what was written durable and closes the file. Returns its size in bytes.
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
