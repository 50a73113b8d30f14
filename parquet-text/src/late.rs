//! Columns that are added during a conversion. At first only row groups with values for them have their chunks,
//! after those of all other columns; rows before the first value are null. When a file ends, the other row groups get
//! chunks of nulls. Their page indexes and metadata are kept separately, and merged into the file's footer before the
//! commit.

use super::chunk::{EncodedText, Share, TextChunk};
use super::pages::{Compressor, SpareBlocks};
use arrow::datatypes::{DataType, Field, Schema};
use millwork_ndjson::{Column, MAX_LATE_COLUMNS, Rows};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::Compression;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

/// Added columns of the current row group, sorted by name, so that the order does not depend on the lanes.
#[derive(Default)]
pub(super) struct LateChunks(BTreeMap<String, LateChunk>);

struct LateChunk {
    text: TextChunk,
    /// Number of rows so far; 0 while the row group has no value.
    rows: usize,
}

/// A finished chunk of an added column.
pub struct EncodedLate {
    name: String,
    text: EncodedText,
}

impl LateChunks {
    /// Approximate size of the columns in the file if they ended now, in bytes.
    pub(super) fn estimated_bytes(&self) -> usize {
        self.0.values().filter(|chunk| chunk.rows > 0).map(|chunk| chunk.text.estimated_bytes()).sum()
    }

    /// Appends rows to a row group that has `before` rows already.
    pub(super) fn write(
        &mut self,
        rows: &Rows,
        before: usize,
        (properties, spare): (&WriterPropertiesPtr, &SpareBlocks),
        compressor: &mut Compressor,
    ) -> Result<(), ParquetError> {
        let known = rows.columns.len() - rows.late.len();
        for (name, column) in rows.late.iter().zip(&rows.columns[known..]) {
            if matches!(column, Column::Nulls) {
                continue;
            }
            let chunk = match self.0.get_mut(name) {
                Some(chunk) => chunk,
                None => {
                    let descriptor = text_columns([name])?.column(0);
                    let compression = properties.compression(descriptor.path());
                    let share = Share::of_one_in(MAX_LATE_COLUMNS);
                    let text = TextChunk::new(descriptor, compression, share, spare.clone());
                    let chunk = LateChunk { text, rows: 0 };
                    self.0.entry(name.clone()).or_insert(chunk)
                }
            };
            chunk.text.write_nulls(before - chunk.rows, compressor)?;
            super::write_text(&mut chunk.text, column, rows.count, compressor)?;
            chunk.rows = before + rows.count;
        }
        Ok(())
    }

    /// Ends the row group, which has this number of rows.
    pub(super) fn close(&mut self, rows: usize, compressor: &mut Compressor) -> Result<Vec<EncodedLate>, ParquetError> {
        // A column without a value in this row group may never occur again.
        self.0.retain(|_, chunk| chunk.rows > 0);
        let close = |(name, chunk): (&String, &mut LateChunk)| {
            chunk.text.write_nulls(rows - chunk.rows, compressor)?;
            chunk.rows = 0;
            Ok(EncodedLate { name: name.clone(), text: chunk.text.close(compressor)? })
        };
        self.0.iter_mut().map(close).collect()
    }
}

impl EncodedLate {
    /// Size of the chunk in the file, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.text.close.bytes_written
    }
}

/// Schema of text columns, with the same properties as all others.
pub(crate) fn text_columns<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<SchemaDescPtr, ParquetError> {
    let fields: Vec<Field> = names.into_iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    Ok(Arc::new(ArrowSchemaConverter::new().convert(&Schema::new(fields))?))
}

/// File to which the chunks of added columns are appended.
pub trait Append {
    /// Position of the next byte in the file.
    fn offset(&self) -> u64;
    fn append(&mut self, bytes: &[u8]) -> Result<(), ParquetError>;
}

impl<W: Write + Send> Append for SerializedFileWriter<W> {
    fn offset(&self) -> u64 {
        self.bytes_written() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), ParquetError> {
        self.write_all(bytes).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// Columns that are added to a file, after all others.
#[derive(Default)]
pub struct AddedColumns {
    /// Names of the columns, in the order of their chunks in row groups.
    names: Vec<String>,
    places: HashMap<String, usize>,
    /// Existing chunks, by row group and column.
    chunks: HashMap<(usize, usize), ColumnCloseResult>,
}

impl AddedColumns {
    /// Creates columns without any values.
    pub fn of_nulls(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Appends the chunks of a row group.
    pub fn append(
        &mut self,
        late: Vec<EncodedLate>,
        row_group: usize,
        to: &mut impl Append,
    ) -> Result<(), ParquetError> {
        for EncodedLate { name, text } in late {
            let column = *self.places.entry(name).or_insert_with_key(|name| {
                self.names.push(name.clone());
                self.names.len() - 1
            });
            self.chunks.insert((row_group, column), append_chunk(text, to)?);
        }
        Ok(())
    }

    /// Appends chunks of nulls to row groups that lack columns; `rows` has the number of rows of each group. Returns
    /// the metadata of the columns, as page indexes and footer of a file with only these; empty if there are none.
    pub fn finish(mut self, rows: &[i64], to: &mut impl Append) -> Result<Vec<u8>, ParquetError> {
        if self.names.is_empty() {
            return Ok(Vec::new());
        }
        let schema = text_columns(&self.names)?;
        let (mut row_groups, mut column_indexes, mut offset_indexes) = (Vec::new(), Vec::new(), Vec::new());
        for (row_group, rows) in rows.iter().enumerate() {
            let mut chunks = Vec::with_capacity(self.names.len());
            for column in 0..self.names.len() {
                chunks.push(match self.chunks.remove(&(row_group, column)) {
                    Some(chunk) => chunk,
                    None => append_chunk(null_chunk(schema.column(column), *rows as usize)?, to)?,
                });
            }
            let column_index = |chunk: &mut ColumnCloseResult| chunk.column_index.take();
            column_indexes
                .push(chunks.iter_mut().map(|c| column_index(c).unwrap_or(ColumnIndexMetaData::NONE)).collect());
            offset_indexes.push(chunks.iter_mut().filter_map(|chunk| chunk.offset_index.take()).collect());
            let chunks: Vec<_> = chunks.into_iter().map(|chunk| chunk.metadata).collect();
            let bytes = chunks.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
            let row_group = RowGroupMetaData::builder(schema.clone()).set_num_rows(*rows).set_total_byte_size(bytes);
            row_groups.push(row_group.set_column_metadata(chunks).build()?);
        }
        let file = FileMetaData::new(1, rows.iter().sum(), None, None, schema, None);
        let metadata = ParquetMetaDataBuilder::new(file)
            .set_row_groups(row_groups)
            .set_column_index(Some(column_indexes))
            .set_offset_index(Some(offset_indexes))
            .build();
        footer_alone(&metadata)
    }
}

/// The page indexes and the footer of a file, without its data.
fn footer_alone(metadata: &ParquetMetaData) -> Result<Vec<u8>, ParquetError> {
    let mut said = Vec::new();
    ParquetMetaDataWriter::new(&mut said, metadata).finish()?;
    Ok(said)
}

/// A column chunk with only nulls.
fn null_chunk(column: ColumnDescPtr, rows: usize) -> Result<EncodedText, ParquetError> {
    let mut text = TextChunk::new(column, Compression::UNCOMPRESSED, Share::of_one_in(1), SpareBlocks::default());
    let mut compressor = Compressor::new(Compression::UNCOMPRESSED)?;
    text.write_nulls(rows, &mut compressor)?;
    text.close(&mut compressor)
}

/// Appends a chunk. Returns its metadata at that position.
fn append_chunk(text: EncodedText, to: &mut impl Append) -> Result<ColumnCloseResult, ParquetError> {
    let EncodedText { pages, mut close } = text;
    let start = to.offset() as i64;
    pages.into_bytes().iter().try_for_each(|page| to.append(page))?;
    let written = to.offset() as i64 - start;
    if written != close.metadata.compressed_size() {
        let expected = close.metadata.compressed_size();
        return Err(ParquetError::General(format!("a column chunk has {written} bytes instead of {expected}")));
    }
    let (data, dictionary) = (close.metadata.data_page_offset(), close.metadata.dictionary_page_offset());
    let builder = close.metadata.into_builder().set_data_page_offset(start + data);
    close.metadata = builder.set_dictionary_page_offset(dictionary.map(|page| start + page)).build()?;
    for page in close.offset_index.iter_mut().flat_map(|index| &mut index.page_locations) {
        page.offset += start;
    }
    Ok(close)
}
