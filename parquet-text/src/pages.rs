//! Pages in their file format: a header in Thrift's compact protocol, and compressed content.

use super::snappy::Snappy;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Compressor of pages, whose state is reused for each page.
pub(super) struct Compressor {
    codec: Codec,
    output: Vec<u8>,
    header: Vec<u8>,
}

enum Codec {
    None,
    Snappy(Snappy),
    /// Zstandard compressor, with its level.
    Zstd(zstd::bulk::Compressor<'static>, i32),
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Result<Self, ParquetError> {
        let codec = match compression {
            Compression::UNCOMPRESSED => Codec::None,
            Compression::SNAPPY => Codec::Snappy(Snappy::new()),
            Compression::ZSTD(level) => {
                let level = level.compression_level();
                Codec::Zstd(zstd::bulk::Compressor::new(level).map_err(external)?, level)
            }
            other => return Err(ParquetError::NYI(format!("text is not compressed as {other}"))),
        };
        Ok(Self { codec, output: Vec::new(), header: Vec::new() })
    }

    /// Appends a page with this content.
    pub(super) fn page(
        &mut self,
        header: &PageHeader,
        content: &[u8],
        into: &mut ChunkBytes,
    ) -> Result<PageSize, ParquetError> {
        if content.len() > MAX_SPARE_BYTES {
            return self.large_page(header, content, into);
        }
        let bound = match &self.codec {
            Codec::None => 0,
            Codec::Snappy(_) => Snappy::max_bytes(content.len()),
            Codec::Zstd(..) => zstd::zstd_safe::compress_bound(content.len()),
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
            Codec::Zstd(compressor, _) => {
                let length = compressor.compress_to_buffer(content, &mut self.output[..]).map_err(external)?;
                &self.output[..length]
            }
        };
        self.header.clear();
        header.write(content.len(), compressed.len(), &mut self.header)?;
        into.extend(&self.header);
        into.extend(compressed);
        let header = self.header.len();
        Ok(PageSize { compressed: header + compressed.len(), uncompressed: header + content.len() })
    }

    /// Appends a page that is large because of a huge value. Compressed piece by piece, so that it needs only the
    /// memory of the result.
    #[cold]
    fn large_page(
        &mut self,
        header: &PageHeader,
        content: &[u8],
        into: &mut ChunkBytes,
    ) -> Result<PageSize, ParquetError> {
        let mut compressed = ChunkBytes::new(into.spare.clone());
        match &mut self.codec {
            Codec::None => compressed.extend(content),
            Codec::Snappy(snappy) => snappy.compress_in_pieces(content, |piece| compressed.extend(piece)),
            Codec::Zstd(_, level) => {
                let mut encoder = zstd::stream::write::Encoder::new(&mut compressed, *level).map_err(external)?;
                encoder.set_pledged_src_size(Some(content.len() as u64)).map_err(external)?;
                encoder.write_all(content).and_then(|()| encoder.finish().map(drop)).map_err(external)?;
            }
        }
        let length = compressed.len();
        self.header.clear();
        header.write(content.len(), length, &mut self.header)?;
        into.extend(&self.header);
        // Each block is freed as soon as it is copied.
        for block in compressed.take() {
            into.extend(&block);
        }
        let header = self.header.len();
        Ok(PageSize { compressed: header + length, uncompressed: header + content.len() })
    }
}

/// Limit of the size of a buffer that is kept; those enlarged by a huge value are freed.
pub(super) const MAX_SPARE_BYTES: usize = 4 << 20;

fn external(error: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Header before the content of a page.
pub(super) struct PageHeader {
    pub(super) kind: PageType,
    pub(super) encoding: Encoding,
    pub(super) values: usize,
}

impl PageHeader {
    /// Writes a `PageHeader` of the Parquet format with a `DataPageHeader` or a `DictionaryPageHeader`.
    fn write(&self, content: usize, compressed: usize, into: &mut Vec<u8>) -> Result<(), ParquetError> {
        let is_dictionary = self.kind == PageType::DICTIONARY_PAGE;
        for number in [self.kind as usize, content, compressed] {
            put_i32(into, number)?;
        }
        // The inner header is field 7 or 5.
        into.push(if is_dictionary { 4 << 4 } else { 2 << 4 } | STRUCT);
        put_i32(into, self.values)?;
        put_i32(into, self.encoding as usize)?;
        if is_dictionary {
            // `is_sorted` is false.
            into.push(NEXT_FIELD | FALSE);
        } else {
            // Encodings of definition and repetition levels.
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

/// Writes a field whose id follows that of the previous one.
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

/// Size of a finished page with its header, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct PageSize {
    pub(super) compressed: usize,
    /// Size before compression.
    pub(super) uncompressed: usize,
}

/// Size of the memory blocks for a chunk's pages: 64 KiB.
const BLOCK_BYTES: usize = 64 << 10;

/// Memory for the pages of a task, in blocks of one size that are reused after they are written: new memory is
/// expensive, since the system clears it, and a contiguous growing buffer needs twice as much.
#[derive(Clone, Default)]
pub(super) struct SpareBlocks(Arc<Mutex<Vec<Vec<u8>>>>);

impl SpareBlocks {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages of a chunk that is being encoded.
pub(super) struct ChunkBytes {
    spare: SpareBlocks,
    /// First block, which grows on demand, since most columns of wide rows have little data. Not reused.
    first: Vec<u8>,
    full: Vec<Bytes>,
    last: Option<Vec<u8>>,
}

impl ChunkBytes {
    pub(super) fn new(spare: SpareBlocks) -> Self {
        Self { spare, first: Vec::new(), full: Vec::new(), last: None }
    }

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.full.len() * BLOCK_BYTES + self.last.as_ref().map_or(0, Vec::len)
    }

    fn extend(&mut self, mut bytes: &[u8]) {
        let now = bytes.split_off(..bytes.len().min(BLOCK_BYTES - self.first.len())).unwrap_or_default();
        self.first.extend_from_slice(now);
        while !bytes.is_empty() {
            let spare = || self.spare.lock().pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES));
            let last = self.last.get_or_insert_with(spare);
            let now = bytes.split_off(..bytes.len().min(BLOCK_BYTES - last.len())).unwrap_or_default();
            last.extend_from_slice(now);
            if last.len() == BLOCK_BYTES {
                self.full.extend(self.last.take().map(|block| lend(block, &self.spare)));
            }
        }
    }

    /// Takes the encoded pages, and leaves none.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        let mut blocks = vec![Bytes::from(std::mem::take(&mut self.first))];
        blocks.append(&mut self.full);
        blocks.extend(self.last.take().map(|block| lend(block, &self.spare)));
        blocks
    }
}

impl Write for ChunkBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shares a block, which is returned for reuse once nobody reads it any more.
fn lend(block: Vec<u8>, to: &SpareBlocks) -> Bytes {
    Bytes::from_owner(Lent { block, to: to.clone() })
}

struct Lent {
    block: Vec<u8>,
    to: SpareBlocks,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.block
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.block.clear();
        self.to.lock().push(std::mem::take(&mut self.block));
    }
}

/// Pages of a column chunk, in order.
pub(super) struct Pages(Arc<[Bytes]>);

impl Pages {
    pub(super) fn new(pages: Vec<Bytes>) -> Self {
        Self(pages.into())
    }

    pub(super) fn into_bytes(self) -> Arc<[Bytes]> {
        self.0
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

/// Reader of pages from a position on.
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
