//! Pages as they stand in the file: a header in Thrift's compact protocol, and compressed content.

use super::snappy::Snappy;
use bytes::Bytes;
use datafusion::parquet::basic::{Compression, Encoding, PageType};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::reader::{ChunkReader, Length};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Compresses pages; what it needs for that is kept from page to page.
pub(super) struct Compressor {
    codec: Codec,
    /// A page before its header is known, after room for that.
    output: Vec<u8>,
    spare: Spare,
}

/// Buffers of large pages, which are used again once the pages are written: the system would clear new memory first.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

/// Smaller pages are copied.
const MIN_LARGE_BYTES: usize = 128 << 10;
/// How many buffers wait to be used again, at most.
const MAX_SPARE: usize = 64;

impl Spare {
    fn all(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        self.all().pop().unwrap_or_default()
    }
}

/// A large page, in the buffer that it was made in.
struct LargePage {
    buffer: Vec<u8>,
    range: Range<usize>,
    spare: Spare,
}

impl AsRef<[u8]> for LargePage {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl Drop for LargePage {
    fn drop(&mut self) {
        let mut spare = self.spare.all();
        if spare.len() < MAX_SPARE && self.buffer.len() <= MAX_SPARE_BYTES {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
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
        Ok(Self { codec, output: Vec::new(), spare: Spare::default() })
    }

    /// A page of `content`.
    pub(super) fn page(&mut self, header: &PageHeader, content: &[u8]) -> Result<Page, ParquetError> {
        let bound = match &self.codec {
            Codec::None => content.len(),
            Codec::Snappy(_) => Snappy::max_bytes(content.len()),
            Codec::Zstd(_) => zstd::zstd_safe::compress_bound(content.len()),
        };
        if self.output.len() < MAX_HEADER_BYTES + bound {
            self.output.resize(MAX_HEADER_BYTES + bound, 0);
        }
        let room = &mut self.output[MAX_HEADER_BYTES..];
        let compressed = match &mut self.codec {
            Codec::None => {
                room[..content.len()].copy_from_slice(content);
                content.len()
            }
            Codec::Snappy(snappy) => snappy.compress(content, room),
            Codec::Zstd(compressor) => compressor.compress_to_buffer(content, room).map_err(external)?,
        };
        let mut head = Vec::with_capacity(MAX_HEADER_BYTES);
        header.write(content.len(), compressed, &mut head)?;
        let range = MAX_HEADER_BYTES - head.len()..MAX_HEADER_BYTES + compressed;
        self.output[range.start..MAX_HEADER_BYTES].copy_from_slice(&head);
        let bytes = if range.len() < MIN_LARGE_BYTES {
            Bytes::copy_from_slice(&self.output[range])
        } else {
            let buffer = std::mem::replace(&mut self.output, self.spare.take());
            Bytes::from_owner(LargePage { buffer, range, spare: self.spare.clone() })
        };
        if self.output.len() > MAX_SPARE_BYTES {
            self.output = Vec::new();
        }
        Ok(Page { bytes, uncompressed_bytes: head.len() + content.len() })
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

const MAX_HEADER_BYTES: usize = 48;

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

/// A finished page.
pub(super) struct Page {
    pub(super) bytes: Bytes,
    /// Header and content before compression.
    pub(super) uncompressed_bytes: usize,
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
