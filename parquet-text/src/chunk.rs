//! Encoder of a text column chunk: takes values in batches, and produces pages.
//!
//! A chunk starts with a dictionary. If that turns out not to save space, it is dropped: for the whole chunk if no page
//! is finished yet, else for the following pages.

mod nulls;
mod open_page;

use super::dictionary::Dictionary;
use super::hybrid::index_width;
use super::pages::{ChunkBytes, Compressor, MAX_SPARE_BYTES, PageHeader, PageSize, Pages, SpareBlocks};
use super::statistics::ChunkStatistics;
use arrow::array::{Array, StringArray};
use arrow::buffer::NullBuffer;
use bytes::Bytes;
use millwork_ndjson::TextValues;
use open_page::{HEADROOM, OpenPage, PAGE_BYTES, PAGE_ROWS, row_of};
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::schema::types::ColumnDescPtr;
use std::ops::Range;

/// Limit of the size of a dictionary, in bytes.
const DICTIONARY_BYTES: usize = 1 << 20;
/// Number of values after which the savings of a dictionary are evaluated.
const TRIAL_VALUES: usize = 8192;
/// Limit of the dictionary indices in the open pages of all columns of an encoder: 32 Mi of four bytes each.
const OPEN_INDICES: usize = 32 << 20;
const MIN_PAGE_VALUES: usize = 1024;
/// Limit of the memory that all columns of an encoder keep between row groups, in bytes, for each kind of buffer of a
/// column, none of which keeps more than [`MAX_SPARE_BYTES`]. Without it, columns that are large in different row
/// groups would all keep their largest size.
const SPARE_BYTES: usize = 64 << 20;
const MIN_SPARE_BYTES: usize = 4 << 10;
/// Limits of one column of an encoder: its share of the limits for all columns.
#[derive(Clone, Copy)]
pub(super) struct Share {
    page_values: usize,
    spare_bytes: usize,
}

impl Share {
    pub(super) fn of_one_in(columns: usize) -> Self {
        let columns = columns.max(1);
        Self {
            page_values: (OPEN_INDICES / columns).clamp(MIN_PAGE_VALUES, PAGE_ROWS),
            spare_bytes: (SPARE_BYTES / columns).clamp(MIN_SPARE_BYTES, MAX_SPARE_BYTES),
        }
    }
}

/// A column chunk that is being encoded. Its memory is reused for the next one.
pub(super) struct TextChunk {
    descriptor: ColumnDescPtr,
    compression: Compression,
    share: Share,
    dictionary: Dictionary,
    has_dictionary: bool,
    is_judged: bool,
    /// Number of values so far, and their size in PLAIN encoding.
    values: usize,
    plain_bytes: usize,
    open: OpenPage,
    /// Encoded finished pages.
    encoded: ChunkBytes,
    pages: Vec<DataPage>,
    statistics: ChunkStatistics,
}

struct DataPage {
    size: PageSize,
    encoding: Encoding,
    rows: usize,
    text_bytes: usize,
}

/// A finished column chunk.
pub struct EncodedText {
    pub(super) pages: Pages,
    pub(super) close: ColumnCloseResult,
}

impl TextChunk {
    pub(super) fn new(descriptor: ColumnDescPtr, compression: Compression, share: Share, spare: SpareBlocks) -> Self {
        let statistics = ChunkStatistics::new(descriptor.max_def_level() > 0);
        Self {
            descriptor,
            compression,
            share,
            dictionary: Dictionary::new(),
            has_dictionary: true,
            is_judged: false,
            values: 0,
            plain_bytes: 0,
            open: OpenPage::new(),
            encoded: ChunkBytes::new(spare),
            pages: Vec::new(),
            statistics,
        }
    }

    /// Approximate size of the chunk in the file if it ended now, in bytes.
    pub(super) fn estimated_bytes(&self) -> usize {
        let indices = index_bytes(self.open.indices.len(), &self.dictionary);
        self.encoded.len() + self.open.plain.len() - HEADROOM + indices + self.dictionary.page().len()
    }

    /// Approximate memory of its open page and dictionary, independent of earlier chunks, in bytes.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.plain.len() - HEADROOM + self.open.indices.len() * size_of::<u32>() + self.dictionary.memory_bytes()
    }

    /// Appends rows with these values.
    pub(super) fn write(&mut self, text: &TextValues, compressor: &mut Compressor) -> Result<(), ParquetError> {
        let TextValues { values, validity } = text;
        let rows = validity.as_ref().map_or(values.len(), NullBuffer::len);
        let (mut row, mut value) = (0, 0);
        while row < rows {
            self.end_null_page(compressor)?;
            let validity = match validity {
                Some(validity) if row > 0 => Some(validity.slice(row, rows - row)),
                validity => validity.clone(),
            };
            let most = (rows - row).min(PAGE_ROWS - self.open.levels.rows());
            let (now, many) =
                self.open.what_fits(&values.value_offsets()[value..], (rows - row, most), validity.as_ref());
            let validity = validity.map(|validity| if now < rows - row { validity.slice(0, now) } else { validity });
            if self.has_dictionary {
                if let Some(full_at) = self.add_to_dictionary(values, value..value + many) {
                    // The rest goes to the next page.
                    let now = row_of(full_at, validity.as_ref());
                    self.open.levels.append(now, validity.map(|validity| validity.slice(0, now)).as_ref());
                    self.drop_dictionary(compressor)?;
                    (row, value) = (row + now, value + full_at);
                    continue;
                }
            } else {
                self.open.add_plain(values, value..value + many);
            }
            self.open.levels.append(now, validity.as_ref());
            self.end_step(compressor)?;
            (row, value) = (row + now, value + many);
        }
        Ok(())
    }

    /// Appends null rows.
    pub(super) fn write_nulls(&mut self, rows: usize, compressor: &mut Compressor) -> Result<(), ParquetError> {
        let mut left = rows;
        while left > 0 {
            let now = left.min(self.open.max_rows() - self.open.levels.rows());
            self.open.levels.append_nulls(now);
            self.end_step(compressor)?;
            left -= now;
        }
        Ok(())
    }

    /// Appends the same value many times.
    pub(super) fn write_run(
        &mut self,
        value: &str,
        rows: usize,
        compressor: &mut Compressor,
    ) -> Result<(), ParquetError> {
        let mut left = rows;
        while left > 0 {
            self.end_null_page(compressor)?;
            let page = self.pages.len() as u32 + 1;
            let index = match self.has_dictionary {
                true => self.dictionary.index(value.as_bytes(), 0, value.len(), page, &mut self.open.bounds),
                false => None,
            };
            let now = left.min(PAGE_ROWS - self.open.levels.rows());
            let Some(index) = index else {
                let few = now.min(PAGE_BYTES / (4 + value.len()) + 1);
                let values = StringArray::from_iter_values(std::iter::repeat_n(value, few));
                self.write(&TextValues { values, validity: None }, compressor)?;
                left -= few;
                continue;
            };
            self.open.indices.resize(self.open.indices.len() + now, index);
            self.open.text_bytes += now * value.len();
            self.values += now;
            self.plain_bytes += now * (4 + value.len());
            self.open.levels.append(now, None);
            self.end_step(compressor)?;
            left -= now;
        }
        Ok(())
    }

    /// Adds values to the dictionary. Returns the index of the first one that it does not accept, if any.
    fn add_to_dictionary(&mut self, values: &StringArray, range: Range<usize>) -> Option<usize> {
        let offsets = &values.value_offsets()[range.start..=range.end];
        let page = self.pages.len() as u32 + 1;
        let OpenPage { indices, bounds, .. } = &mut self.open;
        let full_at = self.dictionary.push_indices((values.value_data(), offsets), page, bounds, indices);
        let values = full_at.unwrap_or(range.len());
        let text_bytes = (offsets[values] - offsets[0]) as usize;
        self.open.text_bytes += text_bytes;
        self.values += values;
        self.plain_bytes += text_bytes + 4 * values;
        full_at
    }

    /// Ends a page of nulls that has no room for values.
    fn end_null_page(&mut self, compressor: &mut Compressor) -> Result<(), ParquetError> {
        if self.open.levels.rows() >= PAGE_ROWS { self.finish_page(compressor) } else { Ok(()) }
    }

    /// Ends the dictionary and the page, as far as they have reached their limits.
    fn end_step(&mut self, compressor: &mut Compressor) -> Result<(), ParquetError> {
        let is_page_full = self.open.levels.rows() >= self.open.max_rows()
            || self.open.indices.len() >= self.share.page_values
            || self.open.bytes() >= PAGE_BYTES;
        if self.has_dictionary {
            let is_full = self.dictionary.page().len() >= DICTIONARY_BYTES;
            let is_trial_over = !self.is_judged && self.values >= TRIAL_VALUES;
            let is_hopeless = !self.is_judged && self.dictionary_is_hopeless();
            if is_full || is_hopeless || (is_trial_over && !self.dictionary_pays()) {
                return self.drop_dictionary(compressor);
            }
            self.is_judged |= is_trial_over;
        }
        if is_page_full { self.finish_page(compressor) } else { Ok(()) }
    }

    /// Tells whether dictionary and indices are at least a tenth smaller than the text.
    fn dictionary_pays(&self) -> bool {
        let bytes = self.dictionary.page().len() + index_bytes(self.values, &self.dictionary);
        bytes * 10 < self.plain_bytes * 9
    }

    /// Tells whether nearly all values are distinct, so that the dictionary will be full long before the chunk ends.
    /// Among n values drawn from N distinct ones, about n²/2N are repetitions while these are few, which gives an
    /// estimate of N early.
    fn dictionary_is_hopeless(&self) -> bool {
        let (distinct, bytes) = (self.dictionary.len(), self.dictionary.page().len());
        let repeated = self.values - distinct;
        // Values that repeat in a cycle are distinct for a while, too.
        if repeated * 8 >= distinct || bytes < DICTIONARY_BYTES / 4 {
            return false;
        }
        let expected = self.values * self.values / (2 * (repeated + 2));
        expected.saturating_mul(bytes / distinct) > 2 * DICTIONARY_BYTES
    }

    /// Continues without a dictionary. If it has not saved space yet, the result is as if there had been none.
    fn drop_dictionary(&mut self, compressor: &mut Compressor) -> Result<(), ParquetError> {
        if self.pages.is_empty() && !self.dictionary_pays() {
            self.open.make_plain(&self.dictionary);
            self.dictionary.clear();
            self.has_dictionary = false;
            return self.end_step(compressor);
        }
        if self.open.levels.rows() > 0 {
            self.finish_page(compressor)?;
        }
        self.has_dictionary = false;
        Ok(())
    }

    fn finish_page(&mut self, compressor: &mut Compressor) -> Result<(), ParquetError> {
        let is_first = self.pages.is_empty();
        // Values that are nearly all distinct in the first page will be so in the next.
        if self.has_dictionary && is_first && self.dictionary.len() * 50 > self.values * 49 && self.values > 64 {
            self.open.make_plain(&self.dictionary);
            self.dictionary.clear();
            self.has_dictionary = false;
        }
        let (rows, nulls) = (self.open.levels.rows(), self.open.levels.nulls());
        let (values, encoding) = match self.has_dictionary {
            true => (self.dictionary.page(), Encoding::RLE_DICTIONARY),
            false => (&*self.open.plain, Encoding::PLAIN),
        };
        self.statistics.add_page(rows, nulls, self.open.bounds.values(values));
        let header = PageHeader { kind: PageType::DATA_PAGE, encoding, values: rows };
        let has_levels = self.descriptor.max_def_level() > 0;
        let width = self.has_dictionary.then(|| index_width(self.dictionary.len()));
        let size = compressor.page(&header, self.open.content(has_levels, width), &mut self.encoded)?;
        self.pages.push(DataPage { size, encoding, rows, text_bytes: self.open.text_bytes });
        self.open.clear();
        Ok(())
    }

    /// Ends the chunk, and begins the next.
    pub(super) fn close(&mut self, compressor: &mut Compressor) -> Result<EncodedText, ParquetError> {
        if self.has_dictionary && self.dictionary.len() == 0 {
            self.make_nulls_plain(compressor)?;
        }
        if self.open.levels.rows() > 0 {
            self.finish_page(compressor)?;
        }
        let has_dictionary = self.pages.iter().any(|data| data.encoding == Encoding::RLE_DICTIONARY);
        let (kind, encoding) = (PageType::DICTIONARY_PAGE, Encoding::PLAIN);
        let header = PageHeader { kind, encoding, values: self.dictionary.len() };
        let data = self.encoded.take();
        let mut dictionary = None;
        if has_dictionary {
            let size = compressor.page(&header, self.dictionary.page(), &mut self.encoded)?;
            dictionary = Some((size, self.encoded.take()));
        }
        let fresh = ChunkStatistics::new(self.descriptor.max_def_level() > 0);
        let statistics = std::mem::replace(&mut self.statistics, fresh);
        let pages = std::mem::take(&mut self.pages);
        (self.has_dictionary, self.is_judged, self.values, self.plain_bytes) = (true, false, 0, 0);
        self.dictionary.clear();
        self.dictionary.give_back(self.share.spare_bytes);
        self.open.give_back(self.share.spare_bytes);
        finished(self.descriptor.clone(), self.compression, statistics, dictionary, (data, pages))
    }
}

/// Size of encoded indices, in bytes.
fn index_bytes(indices: usize, dictionary: &Dictionary) -> usize {
    indices * usize::from(index_width(dictionary.len())) / 8
}

/// The encodings of a chunk, and the number of its pages in each.
fn encodings_of(has_dictionary: bool, data: &[DataPage]) -> (Vec<Encoding>, Vec<PageEncodingStats>) {
    let mut encodings = vec![Encoding::RLE];
    let mut stats: Vec<PageEncodingStats> = Vec::new();
    let dictionary = has_dictionary.then_some((PageType::DICTIONARY_PAGE, Encoding::PLAIN));
    let data = data.iter().map(|page| (PageType::DATA_PAGE, page.encoding));
    for (page_type, encoding) in dictionary.into_iter().chain(data) {
        if !encodings.contains(&encoding) {
            encodings.push(encoding);
        }
        match stats.last_mut().filter(|last| last.page_type == page_type && last.encoding == encoding) {
            Some(last) => last.count += 1,
            None => stats.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
    }
    (encodings, stats)
}

/// Metadata of a finished chunk.
fn finished(
    descriptor: ColumnDescPtr,
    compression: Compression,
    statistics: ChunkStatistics,
    dictionary: Option<(PageSize, Vec<Bytes>)>,
    (encoded, data): (Vec<Bytes>, Vec<DataPage>),
) -> Result<EncodedText, ParquetError> {
    let mut offsets = OffsetIndexBuilder::new();
    let (encodings, encoding_stats) = encodings_of(dictionary.is_some(), &data);
    let mut pages = Vec::new();
    let (mut total, mut text_bytes) = (PageSize::default(), 0);
    let dictionary_offset = dictionary.as_ref().map(|_| 0);
    if let Some((size, page)) = dictionary {
        total = size;
        pages = page;
    }
    let data_offset = total.compressed;
    for DataPage { size, rows, text_bytes: bytes, .. } in data {
        offsets.append_row_count(rows as i64);
        offsets.append_offset_and_size(total.compressed as i64, size.compressed as i32);
        offsets.append_unencoded_byte_array_data_bytes(Some(bytes as i64));
        total.compressed += size.compressed;
        total.uncompressed += size.uncompressed;
        text_bytes += bytes;
    }
    pages.extend(encoded);
    let metadata = ColumnChunkMetaData::builder(descriptor)
        .set_compression(compression)
        .set_encodings(encodings)
        .set_page_encoding_stats(encoding_stats)
        .set_total_compressed_size(total.compressed as i64)
        .set_total_uncompressed_size(total.uncompressed as i64)
        .set_num_values(statistics.rows() as i64)
        .set_data_page_offset(data_offset as i64)
        .set_dictionary_page_offset(dictionary_offset)
        .set_statistics(statistics.of_chunk())
        .set_unencoded_byte_array_data_bytes(Some(text_bytes as i64))
        .set_definition_level_histogram(statistics.levels())
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: total.compressed as u64,
        rows_written: statistics.rows(),
        metadata,
        bloom_filter: None,
        column_index: Some(statistics.into_index()?),
        offset_index: Some(offsets.build()),
    };
    Ok(EncodedText { pages: Pages::new(pages), close })
}
