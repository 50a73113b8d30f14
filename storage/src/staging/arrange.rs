//! Rearranging of private files in a directory: a file is rebuilt from pieces of itself.
//!
//! Done before the commit. A crash leaves a private file that differs from its report, or a new one beside it: both are
//! removed with the attempt.

use super::local::LocalStaging;
use super::private::PrivateFile;
use super::{StagedFile, StagingArea};
use crate::{StorageError, StorageResult};
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::thread::{available_parallelism, scope};

/// Bytes copied at a time: 4 MiB, to keep the number of system calls low.
const COPY_BYTES: u64 = 4 << 20;

/// New content of a private file.
#[derive(Debug, PartialEq, Eq)]
pub struct Arranged {
    /// Bytes at its start that stay in place; 0 if the whole file is written anew.
    pub kept: u64,
    /// Byte ranges of the existing file that follow, in this order.
    pub pieces: Vec<Range<u64>>,
    /// Bytes appended after the pieces, such as a new footer.
    pub tail: Vec<u8>,
}

/// Decides the new content of a file of this size; `None` if it stays unchanged.
pub type Arrange<'a> = &'a (dyn Fn(&File, u64) -> io::Result<Option<Arranged>> + Sync);

impl StagingArea {
    /// Rearranges outputs, several at a time. Applies only to directories: in a bucket, uploaded parts cannot be read
    /// before the upload is completed, and stay in their order.
    pub fn arrange<'a>(
        &self,
        files: impl IntoIterator<Item = &'a mut StagedFile>,
        arrange: Arrange<'_>,
    ) -> StorageResult<()> {
        let super::Kind::Local(staging) = &self.place.0 else { return Ok(()) };
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
                // A temporary file that cannot be removed now is removed with the attempt.
                let _ = fs::remove_file(&beside);
            }
            written
        };
        work().map_err(|e| StorageError::new("put in order", path.display(), e))
    }
}

/// Writes pieces and tail after the kept bytes. Returns the end offset.
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
