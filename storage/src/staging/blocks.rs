//! A file that is written in whole blocks, bypassing the page cache (`O_DIRECT`) where the file system supports that.
//!
//! An output is synced as soon as it is written, and not read again soon. The page cache would cost a copy and
//! memory that the kernel has to allocate, and to clear where a write covers part of a page.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Size of one write: 4 MiB, since each write is waited for.
const BLOCK: usize = 4 << 20;
/// Alignment of direct writes, in bytes.
const ALIGNMENT: usize = 4096;

/// A new file that is being written in blocks.
pub(super) struct BlockFile {
    file: File,
    path: PathBuf,
    /// Second descriptor of the file, for direct writes; `None` where they are not supported.
    direct: Option<File>,
    /// Bytes not written yet, after padding that aligns them. The buffer never grows beyond its first capacity.
    buffer: Vec<u8>,
    padding: usize,
    written: u64,
}

impl BlockFile {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = crate::create_new_file(&path)?;
        Ok(Self { file, path, direct: None, buffer: Vec::new(), padding: 0, written: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.written + self.filled() as u64
    }

    fn filled(&self) -> usize {
        self.buffer.len() - self.padding
    }

    fn make_buffer(&mut self) {
        self.buffer = Vec::with_capacity(BLOCK + ALIGNMENT);
        self.padding = self.buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        self.buffer.resize(self.padding, 0);
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.written == 0 {
            self.direct = open_direct(&self.path).ok();
        }
        self.write_start(BLOCK)?;
        self.buffer.truncate(self.padding);
        Ok(())
    }

    /// Writes the first `bytes` of the buffer, a multiple of [`ALIGNMENT`].
    fn write_start(&mut self, bytes: usize) -> io::Result<()> {
        let start = &self.buffer[self.padding..self.padding + bytes];
        let direct = self.direct.take_if(|direct| direct.write_all_at(start, self.written).is_err());
        if direct.is_some() || self.direct.is_none() {
            // The direct write failed: a cached write of the same bytes either succeeds, or gives the real error.
            self.file.write_all_at(start, self.written)?;
        }
        self.written += bytes as u64;
        Ok(())
    }

    /// Writes the rest and syncs the file. Returns its size in bytes.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let size_bytes = self.size_bytes();
        let whole = self.filled() / ALIGNMENT * ALIGNMENT;
        self.write_start(whole)?;
        self.file.write_all_at(&self.buffer[self.padding + whole..], self.written)?;
        self.file.sync_data()?;
        Ok(size_bytes)
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).custom_flags(libc::O_DIRECT | libc::O_NOFOLLOW).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Write for BlockFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.make_buffer();
        }
        let taken = bytes.len().min(BLOCK - self.filled());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.filled() == BLOCK {
            self.write_block()?;
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

    #[test]
    fn what_is_written_stands_in_the_file() {
        // Two file systems: one without direct writes, and one that usually has them.
        for root in [tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()] {
            let root = root.unwrap();
            for size in [0, 1, 5000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 777] {
                let content: Vec<u8> = (0..size).map(|n| ((n * 31) >> 3) as u8).collect();
                let path = root.path().join(size.to_string());
                let mut file = BlockFile::create(path.clone()).unwrap();
                for piece in content.chunks(100_003) {
                    file.write_all(piece).unwrap();
                }
                assert_eq!(file.size_bytes(), size as u64);
                assert_eq!(file.finish().unwrap(), size as u64);
                assert!(std::fs::read(path).unwrap() == content, "{size}");
            }
        }
    }
}
