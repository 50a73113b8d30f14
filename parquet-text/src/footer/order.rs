//! Ordering of column chunks in a file by column, which some readers require.
//!
//! Added columns are written after all others, and settled columns may have another order. hyparquet reads a row group
//! from the start of its first column's chunk to the end of its last one's, and therefore needs chunks in the order of
//! the columns. Misplaced chunks are copied to the end of the file if they are small, otherwise the whole file is
//! rewritten.

use super::shape::check_offset_index;
use super::{MAGIC, MAGIC_BYTES, TAIL_BYTES, as_io, bad, decode};
use millwork_storage::Arranged;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Largest share of misplaced chunks, as one byte in this many, that are copied to the end of the file, so that its
/// size stays about as planned. With more, the whole file is rewritten.
const LEAST_KEPT: u64 = 16;

/// Rearrangement that brings the column chunks of a file of this size into the order of its columns; `None` if they are
/// in order.
pub fn arranged(file: &File, size_bytes: u64) -> io::Result<Option<Arranged>> {
    let footer = footer_of(file, size_bytes)?;
    let metadata = decode(&footer).map_err(as_io)?;
    let out_of_order: Vec<_> = metadata.row_groups().iter().map(out_of_order).collect();
    let all = || metadata.row_groups().iter().zip(&out_of_order).flat_map(|(group, from)| &group.columns()[*from..]);
    let moved: u64 = all().map(|chunk| place_of(chunk).1).fold(0, u64::saturating_add);
    if all().next().is_none() {
        return Ok(None);
    }
    let footer_start = size_bytes - footer.len() as u64;
    let is_little = moved <= size_bytes / LEAST_KEPT;
    let kept = if is_little { footer_start } else { 0 };
    let mut order = Order { file, data_end: footer_start, pieces: Vec::new(), at: kept, tail: Vec::new() };
    let groups = match is_little {
        true => order.move_groups(&metadata, out_of_order),
        false => order.rewrite_groups(&metadata),
    };
    let groups = groups.map_err(as_io)?.into_iter().zip(metadata.row_groups());
    let groups = groups.map(|(new, old)| order.index_pages(new, old)).collect::<io::Result<Vec<_>>>()?;
    let metadata = ParquetMetaData::new(metadata.file_metadata().clone(), groups);
    ParquetMetaDataWriter::new(&mut order.tail, &metadata).finish().map_err(as_io)?;
    Ok(Some(Arranged { kept, pieces: order.pieces, tail: order.tail }))
}

/// Footer of a file, with the trailer after it.
fn footer_of(file: &File, size_bytes: u64) -> io::Result<Vec<u8>> {
    let no_footer = || as_io(bad("it has no footer that fits there"));
    let end = size_bytes.checked_sub(TAIL_BYTES as u64).ok_or_else(no_footer)?;
    let mut last = [0; TAIL_BYTES];
    file.read_exact_at(&mut last, end)?;
    let [a, b, c, d, magic @ ..] = last;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let is_fit = magic == *MAGIC && length <= super::shape::MAX_FOOTER_BYTES as u64;
    let start = end.checked_sub(length).filter(|_| is_fit).ok_or_else(no_footer)?;
    let mut footer = vec![0; (size_bytes - start) as usize];
    file.read_exact_at(&mut footer, start)?;
    Ok(footer)
}

/// Index of the first column whose chunk is located before that of an earlier column; the number of columns if all are
/// in order.
fn out_of_order(group: &RowGroupMetaData) -> usize {
    let mut end = 0;
    let is_behind = |chunk: &ColumnChunkMetaData| {
        let (start, length) = place_of(chunk);
        let is_behind = start >= end;
        end = start.saturating_add(length);
        is_behind
    };
    let columns = group.columns();
    columns.iter().map(is_behind).position(|is_behind| !is_behind).unwrap_or(columns.len())
}

/// Start and length of a chunk in its file; invalid values become ones that no file has.
fn place_of(chunk: &ColumnChunkMetaData) -> (u64, u64) {
    let first = chunk.dictionary_page_offset().into_iter().fold(chunk.data_page_offset(), i64::min);
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    (number(first), number(chunk.compressed_size()))
}

/// Location of an index; invalid values become ones that no file has.
fn range(offset: Option<i64>, length: Option<i32>) -> Option<Range<u64>> {
    let start = u64::try_from(offset?).unwrap_or(u64::MAX);
    let length = u64::try_from(length?).unwrap_or(u64::MAX);
    Some(start..start.saturating_add(length))
}

/// Rearrangement of a file in progress.
struct Order<'a> {
    file: &'a File,
    /// Position of the footer in the old file.
    data_end: u64,
    pieces: Vec<Range<u64>>,
    /// Position of the next piece in the new file.
    at: u64,
    tail: Vec<u8>,
}

impl Order<'_> {
    /// Appends a piece of the old file. Returns its position in the new one.
    fn piece(&mut self, piece: Range<u64>) -> Result<i64, ParquetError> {
        if piece.start > piece.end || piece.end > self.data_end {
            return Err(bad("a column chunk or its index stands outside the file's data"));
        }
        let at = i64::try_from(self.at).map_err(|_| bad("it is too long"))?;
        self.at += piece.end - piece.start;
        match self.pieces.last_mut().filter(|last| last.end == piece.start) {
            Some(last) => last.end = piece.end,
            None => self.pieces.push(piece),
        }
        Ok(at)
    }

    /// Appends all of the old file but its offset indexes and footer.
    fn rewrite_groups(&mut self, metadata: &ParquetMetaData) -> Result<Vec<RowGroupMetaData>, ParquetError> {
        self.piece(0..MAGIC_BYTES as u64)?;
        let groups = self.move_groups(metadata, vec![0; metadata.num_row_groups()])?;
        groups.into_iter().map(|group| self.move_indexes(group)).collect()
    }

    /// Appends the chunks of all row groups, of each from a column on.
    fn move_groups(
        &mut self,
        metadata: &ParquetMetaData,
        from: Vec<usize>,
    ) -> Result<Vec<RowGroupMetaData>, ParquetError> {
        metadata.row_groups().iter().zip(from).map(|(group, from)| self.move_chunks(group, from)).collect()
    }

    /// Appends the chunks of a row group, from a column on.
    fn move_chunks(&mut self, group: &RowGroupMetaData, from: usize) -> Result<RowGroupMetaData, ParquetError> {
        let mut chunks = group.columns().to_vec();
        for chunk in &mut chunks[from..] {
            let (start, length) = place_of(chunk);
            let at = self.piece(start..start.saturating_add(length))?;
            let moved = |offset: i64| (offset - start as i64).saturating_add(at);
            let (data, dictionary) = (chunk.data_page_offset(), chunk.dictionary_page_offset());
            let builder = chunk.clone().into_builder().set_data_page_offset(moved(data));
            *chunk = builder
                .set_dictionary_page_offset(dictionary.map(moved))
                .set_bloom_filter_offset(None)
                .set_bloom_filter_length(None)
                .build()?;
        }
        let start = chunks.first().map(|chunk| place_of(chunk).0 as i64);
        let builder = group.clone().into_builder().set_column_metadata(chunks);
        match start.filter(|_| from == 0) {
            Some(start) => builder.set_file_offset(start).build(),
            None => builder.build(),
        }
    }

    /// Appends the column indexes of a row group unchanged, since they contain no positions.
    fn move_indexes(&mut self, group: RowGroupMetaData) -> Result<RowGroupMetaData, ParquetError> {
        let mut chunks = group.columns().to_vec();
        for chunk in &mut chunks {
            if let Some(index) = range(chunk.column_index_offset(), chunk.column_index_length()) {
                let at = self.piece(index)?;
                *chunk = chunk.clone().into_builder().set_column_index_offset(Some(at)).build()?;
            }
        }
        group.into_builder().set_column_metadata(chunks).build()
    }

    /// Writes the offset indexes of moved chunks, which contain the positions of pages.
    fn index_pages(&mut self, group: RowGroupMetaData, old: &RowGroupMetaData) -> io::Result<RowGroupMetaData> {
        let mut chunks = group.columns().to_vec();
        for (chunk, old) in chunks.iter_mut().zip(old.columns()) {
            let by = chunk.data_page_offset() - old.data_page_offset();
            let index =
                range(old.offset_index_offset(), old.offset_index_length()).filter(|_| by != 0 || self.is_all_new());
            let Some(index) = index else { continue };
            let bytes = self.read(index)?;
            let at = self.at as i64 + self.tail.len() as i64;
            let moved = check_offset_index(&bytes).and_then(|()| moved_pages(&bytes, by)).map_err(as_io)?;
            self.tail.extend_from_slice(&moved);
            let length = i32::try_from(moved.len()).map_err(io::Error::other)?;
            let builder = chunk.clone().into_builder().set_offset_index_offset(Some(at));
            *chunk = builder.set_offset_index_length(Some(length)).build().map_err(as_io)?;
        }
        group.into_builder().set_column_metadata(chunks).build().map_err(as_io)
    }

    fn is_all_new(&self) -> bool {
        self.pieces.first().is_some_and(|first| first.start == 0)
    }

    fn read(&self, piece: Range<u64>) -> io::Result<Vec<u8>> {
        if piece.start > piece.end || piece.end > self.data_end {
            return Err(as_io(bad("a page index stands outside the file's data")));
        }
        let mut bytes = vec![0; (piece.end - piece.start) as usize];
        self.file.read_exact_at(&mut bytes, piece.start)?;
        Ok(bytes)
    }
}

/// Offset index whose pages are moved by this many bytes (parquet-format, `parquet.thrift`, `OffsetIndex`): a list of
/// structures that start with the page's offset.
fn moved_pages(index: &[u8], by: i64) -> Result<Vec<u8>, ParquetError> {
    let mut moved = Vec::with_capacity(index.len() + 16);
    let mut rest = Rest(index);
    let first = rest.take(2, &mut moved)?;
    let pages = match first[1] >> 4 {
        15 => rest.varint(Some(&mut moved))?,
        few => u64::from(few),
    };
    for _ in 0..pages {
        rest.take(1, &mut moved)?;
        let zigzag = rest.varint(None)?;
        let offset = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        let offset = offset.checked_add(by).filter(|at| *at >= 0).ok_or_else(|| bad("a page stands nowhere"))?;
        put_varint((offset as u64) << 1, &mut moved);
        // Size of the page, number of its first row, and end of the structure.
        for _ in 0..2 {
            rest.take(1, &mut moved)?;
            rest.varint(Some(&mut moved))?;
        }
        rest.take(1, &mut moved)?;
    }
    moved.extend_from_slice(rest.0);
    Ok(moved)
}

fn put_varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Bytes of an index that are not parsed yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize, into: &mut Vec<u8>) -> Result<&'a [u8], ParquetError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| bad("a page index ends too early"))?;
        self.0 = rest;
        into.extend_from_slice(taken);
        Ok(taken)
    }

    fn varint(&mut self, into: Option<&mut Vec<u8>>) -> Result<u64, ParquetError> {
        let length = self.0.iter().position(|byte| byte & 0x80 == 0).filter(|length| *length < 10);
        let length = length.ok_or_else(|| bad("a page index has no such integer"))? + 1;
        let mut bytes = Vec::new();
        let taken = self.take(length, into.unwrap_or(&mut bytes))?;
        Ok(taken.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, settle_columns};
    use super::*;
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use millwork_storage::Tail;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::file::properties::WriterProperties;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::Arc;

    /// Writes a file of three row groups whose columns have these widths, then rewrites its footer with another order
    /// of columns.
    fn write(path: &Path, widths: [usize; 3], places: [usize; 3]) -> Vec<ArrayRef> {
        let column = |number: usize| -> ArrayRef {
            let value = |row: usize| format!("{number}-{row:0width$}", width = widths[number]);
            Arc::new(StringArray::from_iter_values((0..3000).map(value)))
        };
        let columns: Vec<ArrayRef> = (0..3).map(column).collect();
        let names = ["a", "b", "c"].into_iter().zip(columns.clone());
        let batch = RecordBatch::try_from_iter(names).unwrap();
        let properties =
            WriterProperties::builder().set_max_row_group_row_count(Some(1000)).set_data_page_row_count_limit(100);
        let properties = properties.set_write_batch_size(50).set_dictionary_enabled(false).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let mut file = writer.into_inner().unwrap();
        let tail = Tail { file: 0, offset: 0, bytes: &file };
        file = settle_columns(&tail, &[], &places.map(Place::At), (3000, 3)).unwrap();
        std::fs::write(path, file).unwrap();
        places.into_iter().map(|place| columns[place].clone()).collect()
    }

    /// New content of a file, if it is not in order.
    fn in_order(path: &Path) -> Option<(bool, Vec<u8>)> {
        let content = std::fs::read(path).unwrap();
        let arranged = arranged(&File::open(path).unwrap(), content.len() as u64).unwrap()?;
        let mut new = content[..arranged.kept as usize].to_vec();
        for piece in arranged.pieces {
            new.extend_from_slice(&content[piece.start as usize..piece.end as usize]);
        }
        new.extend_from_slice(&arranged.tail);
        Some((arranged.kept > 0, new))
    }

    #[test]
    fn chunks_come_into_the_order_of_their_columns() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.parquet");
        for (widths, places, is_little) in [
            // The last column is small; of two exchanged columns, all but the first have to move.
            ([10, 900, 10], [1, 0, 2], true),
            ([10, 900, 10], [0, 2, 1], false),
            ([200, 200, 200], [2, 1, 0], false),
        ] {
            let columns = write(&path, widths, places);
            let (was_little, content) = in_order(&path).unwrap();
            assert_eq!(was_little, is_little, "{places:?}");
            std::fs::write(&path, content).unwrap();
            let options = ArrowReaderOptions::new()
                .with_page_index_policy(PageIndexPolicy::Required)
                .with_skip_arrow_metadata(true);
            let reader =
                ParquetRecordBatchReaderBuilder::try_new_with_options(File::open(&path).unwrap(), options).unwrap();
            let metadata = reader.metadata().clone();
            let read: Vec<_> = reader.with_batch_size(3000).build().unwrap().map(|batch| batch.unwrap()).collect();
            let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
            assert_eq!(read.columns(), columns, "{places:?}");
            for (group, offsets) in metadata.row_groups().iter().zip(metadata.offset_index().unwrap()) {
                assert_eq!(out_of_order(group), 3);
                for (chunk, index) in group.columns().iter().zip(offsets) {
                    let (start, length) = place_of(chunk);
                    let pages = index.page_locations();
                    assert_eq!((pages[0].offset as u64, pages.len() > 5), (start, true));
                    let end = pages.iter().map(|page| page.offset as u64 + page.compressed_page_size as u64).max();
                    assert_eq!(end, Some(start + length));
                }
            }
            assert!(in_order(&path).is_none());
        }
    }

    proptest! {
        #[test]
        fn no_index_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..60), by in any::<i64>()) {
            let _ = check_offset_index(&bytes).and_then(|()| moved_pages(&bytes, by));
            let _ = moved_pages(&bytes, by);
        }
    }
}
