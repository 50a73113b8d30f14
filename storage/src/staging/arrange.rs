//! Private files of a directory put together anew from pieces of themselves.
//!
//! It is done before the commit. A death leaves a private file that is not what was reported, or one beside it: both go with the attempt.

use super::local::LocalStaging;
use super::private::PrivateFile;
use super::{StagedFile, Staging};
use crate::{StorageError, StorageResult};
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::thread::{available_parallelism, scope};

/// Bytes copied at a time: 4 MiB, since each read and write is waited for.
const COPY_BYTES: u64 = 4 << 20;

/// The content that a private file is to have.
#[derive(Debug, PartialEq, Eq)]
pub struct Arranged {
    /// The bytes of its start that stay where they are; none where all of it is written anew.
    pub kept: u64,
    /// Pieces of the file as it is, to follow one after the other.
    pub pieces: Vec<Range<u64>>,
    /// The bytes at its end.
    pub tail: Vec<u8>,
}

/// Says what a file of so many bytes is to become, if that is something else.
pub type Arrange<'a> = &'a (dyn Fn(&File, u64) -> io::Result<Option<Arranged>> + Sync);

impl Staging {
    /// Puts outputs together anew, several at a time. Only in a directory: in a bucket, parts that were uploaded cannot be read yet, and
    /// stay as they are.
    pub fn arrange<'a>(
        &self,
        files: impl IntoIterator<Item = &'a mut StagedFile>,
        arrange: Arrange<'_>,
    ) -> StorageResult<()> {
        let super::Kind::Local(staging) = &self.0 else { return Ok(()) };
        let files: Vec<_> = files.into_iter().collect();
        let lanes = available_parallelism().map_or(1, NonZeroUsize::get).min(files.len());
        let (left, outcome) = (Mutex::new(files.into_iter()), Mutex::new(Ok(())));
        let work = || {
            while let Some(file) = left.lock().ok().and_then(|mut left| left.next()) {
                match staging.arrange(file, arrange) {
                    Ok(size_bytes) => file.size_bytes = size_bytes,
                    Err(e) => {
                        if let Ok(mut outcome) = outcome.lock() {
                            *outcome = Err(e);
                        }
                        return;
                    }
                }
            }
        };
        scope(|threads| (0..lanes).for_each(|_| drop(threads.spawn(work))));
        outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl LocalStaging {
    fn arrange(&self, file: &StagedFile, arrange: Arrange<'_>) -> StorageResult<u64> {
        let path = self.path(file);
        let work = || -> io::Result<u64> {
            self.check_place()?;
            let private = PrivateFile::open_to_change(&path, file.size_bytes)?;
            let Some(arranged) = arrange(&private.file, file.size_bytes)? else { return Ok(file.size_bytes) };
            if arranged.kept > 0 {
                let end = write_pieces(&private.file, &private.file, &arranged)?;
                private.file.set_len(end)?;
                private.file.sync_data()?;
                return Ok(end);
            }
            let beside = path.with_file_name(format!(".{}.tmp", uuid::Uuid::new_v4()));
            let into = crate::create_new_file(&beside)?;
            let written = write_pieces(&private.file, &into, &arranged).and_then(|end| {
                into.sync_all()?;
                fs::rename(&beside, &path)?;
                Ok(end)
            });
            if written.is_err() {
                // A file beside the private one that is not removed now goes with the attempt.
                let _ = fs::remove_file(&beside);
            }
            written
        };
        work().map_err(|e| StorageError::new("put in order", path.display(), e))
    }
}

/// Writes pieces and tail after what is kept. Returns where they end.
fn write_pieces(from: &File, into: &File, arranged: &Arranged) -> io::Result<u64> {
    let mut at = arranged.kept;
    let mut buffer = Vec::new();
    for piece in &arranged.pieces {
        let mut start = piece.start;
        while start < piece.end {
            let length = (piece.end - start).min(COPY_BYTES);
            buffer.resize(length as usize, 0);
            from.read_exact_at(&mut buffer, start)?;
            into.write_all_at(&buffer, at)?;
            (start, at) = (start + length, at + length);
        }
    }
    into.write_all_at(&arranged.tail, at)?;
    Ok(at + arranged.tail.len() as u64)
}
