//! Pages as they stand in the file: a header in Thrift's compact protocol, and compressed content.

use super::snappy::Snappy;
use bytes::Bytes;
use datafusion::parquet::basic::{Compression, Encoding, PageType};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::reader::{ChunkReader, Length};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Compresses pages; what it needs for that is kept from page to page.
pub(super) struct Compressor {
    codec: Codec,
    output: Vec<u8>,
}

enum Codec {
    None,
    Snappy(Snappy),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Result<Self, ParquetError> {
        let codec = match compression {
            Compression::UNCOMPRESSED => Codec::None,
            Compression::SNAPPY => Codec::Snappy(Snappy::new()),
            Compression::ZSTD(level) => {
                Codec::Zstd(zstd::bulk::Compressor::new(level.compression_level()).map_err(external)?)
            }
            other => return Err(ParquetError::NYI(format!("text is not compressed as {other}"))),
        };
        Ok(Self { codec, output: Vec::new() })
    }

    /// Appends a page of `content`.
    pub(super) fn page(
        &mut self,
        header: &PageHeader,
        content: &[u8],
        into: &mut Vec<u8>,
    ) -> Result<PageSize, ParquetError> {
        let bound = match &self.codec {
            Codec::None => 0,
            Codec::Snappy(_) => Snappy::max_bytes(content.len()),
            Codec::Zstd(_) => zstd::zstd_safe::compress_bound(content.len()),
        };
        if self.output.len() < bound {
            self.output.resize(bound, 0);
        }
        let compressed = match &mut self.codec {
            Codec::None => content,
            Codec::Snappy(snappy) => {
                let length = snappy.compress(content, &mut self.output);
                &self.output[..length]
            }
            Codec::Zstd(compressor) => {
                let length = compressor.compress_to_buffer(content, &mut self.output[..]).map_err(external)?;
                &self.output[..length]
            }
        };
        let start = into.len();
        header.write(content.len(), compressed.len(), into)?;
        let uncompressed = into.len() - start + content.len();
        into.extend_from_slice(compressed);
        if self.output.len() > MAX_SPARE_BYTES {
            self.output = Vec::new();
        }
        Ok(PageSize { compressed: into.len() - start, uncompressed })
    }
}

/// A buffer that a huge value has made larger than this is not kept.
pub(super) const MAX_SPARE_BYTES: usize = 4 << 20;

fn external(error: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// What stands before the content of a page.
pub(super) struct PageHeader {
    pub(super) kind: PageType,
    pub(super) encoding: Encoding,
    pub(super) values: usize,
}

impl PageHeader {
    /// `PageHeader` of the Parquet format with a `DataPageHeader` or a `DictionaryPageHeader` inside.
    fn write(&self, content: usize, compressed: usize, into: &mut Vec<u8>) -> Result<(), ParquetError> {
        let is_dictionary = self.kind == PageType::DICTIONARY_PAGE;
        for number in [self.kind as usize, content, compressed] {
            put_i32(into, number)?;
        }
        // The field has the number 7 or 5.
        into.push(if is_dictionary { 4 << 4 } else { 2 << 4 } | STRUCT);
        put_i32(into, self.values)?;
        put_i32(into, self.encoding as usize)?;
        if is_dictionary {
            // It is not sorted.
            into.push(NEXT_FIELD | FALSE);
        } else {
            // The encodings of both kinds of levels.
            put_i32(into, Encoding::RLE as usize)?;
            put_i32(into, Encoding::RLE as usize)?;
        }
        into.extend_from_slice(&[STOP, STOP]);
        Ok(())
    }
}

const NEXT_FIELD: u8 = 1 << 4;
const I32: u8 = 5;
const STRUCT: u8 = 12;
const FALSE: u8 = 2;
const STOP: u8 = 0;

/// A field with the number after the last one's.
fn put_i32(into: &mut Vec<u8>, value: usize) -> Result<(), ParquetError> {
    let number = i32::try_from(value).map_err(|_| ParquetError::General(format!("a page of {value} bytes")))?;
    into.push(NEXT_FIELD | I32);
    let mut zigzag = (number as u32) << 1;
    while zigzag >= 0x80 {
        into.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    into.push(zigzag as u8);
    Ok(())
}

/// The size of a finished page with its header, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct PageSize {
    pub(super) compressed: usize,
    /// Before compression.
    pub(super) uncompressed: usize,
}

/// Buffers for the pages of one column's chunks, used again once they are written: the system clears new memory first.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// How many of them wait. A lane has one chunk that is encoded, one that waits to be written, and one that is written.
const MAX_SPARE_BUFFERS: usize = 2;

impl Buffers {
    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty one.
    pub(super) fn take(&self) -> Vec<u8> {
        self.spare().pop().unwrap_or_default()
    }

    /// The content of one, which comes back when nobody reads it any more.
    pub(super) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, to: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    to: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.to.spare();
        // One that a huge value has made larger is not kept.
        if spare.len() < MAX_SPARE_BUFFERS && self.buffer.capacity() <= 2 * self.buffer.len() + MAX_SPARE_BYTES {
            self.buffer.clear();
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// The pages of a column chunk, one after the other.
pub(super) struct Pages(Arc<[Bytes]>);

impl Pages {
    pub(super) fn new(pages: Vec<Bytes>) -> Self {
        Self(pages.into())
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.iter().map(|page| page.len() as u64).sum()
    }
}

impl ChunkReader for Pages {
    type T = PagesReader;

    fn get_read(&self, start: u64) -> Result<PagesReader, ParquetError> {
        let mut reader = PagesReader { pages: self.0.clone(), page: 0, at: 0 };
        io::copy(&mut Read::by_ref(&mut reader).take(start), &mut io::sink())?;
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Reads pages from a place on.
pub(super) struct PagesReader {
    pages: Arc<[Bytes]>,
    page: usize,
    at: usize,
}

impl Read for PagesReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(rest) = self.pages.get(self.page).map(|page| &page[self.at..]) {
            if !rest.is_empty() {
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                self.at += length;
                return Ok(length);
            }
            (self.page, self.at) = (self.page + 1, 0);
        }
        Ok(0)
    }
}
