//! Columns that turn up on the way. Only the row groups that have values for them have chunks of them at first, behind those of
//! all other columns; the rows before the first value are null. When a file ends, the other row groups get chunks of nulls, and
//! what a footer would say of them all goes into one of its own, which becomes part of the file's before the commit.

use super::chunk::{EncodedText, TextChunk};
use super::pages::{Compressor, SpareBlocks};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowSchemaConverter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use datafusion::parquet::file::properties::WriterPropertiesPtr;
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::types::{ColumnDescPtr, SchemaDescPtr};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

/// The late columns of the row group that is being encoded, by name: in the same order whichever lane met them first.
#[derive(Default)]
pub(super) struct LateChunks(BTreeMap<String, LateChunk>);

struct LateChunk {
    text: TextChunk,
    /// The rows so far; none as long as the row group has no value.
    rows: usize,
}

/// A finished chunk of a late column.
pub(crate) struct EncodedLate {
    name: String,
    text: EncodedText,
}

impl LateChunks {
    /// About how many bytes they would have if they ended now.
    pub(super) fn estimated_bytes(&self) -> usize {
        self.0.values().filter(|chunk| chunk.rows > 0).map(|chunk| chunk.text.estimated_bytes()).sum()
    }

    /// Adds a batch, whose late columns are those from the place `known` on, after so many rows of the row group.
    pub(super) fn write(
        &mut self,
        batch: &RecordBatch,
        (known, rows): (usize, usize),
        (properties, spare): (&WriterPropertiesPtr, &SpareBlocks),
        compressor: &mut Compressor,
    ) -> Result<(), ParquetError> {
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()).skip(known) {
            if array.null_count() == array.len() {
                continue;
            }
            let chunk = match self.0.get_mut(field.name()) {
                Some(chunk) => chunk,
                None => {
                    let column = text_columns([field.name()])?.column(0);
                    let compression = properties.compression(column.path());
                    let chunk = LateChunk { text: TextChunk::new(column, compression, spare.clone()), rows: 0 };
                    self.0.entry(field.name().clone()).or_insert(chunk)
                }
            };
            chunk.text.write_nulls(rows - chunk.rows, compressor)?;
            super::write_text(&mut chunk.text, array, compressor)?;
            chunk.rows = rows + array.len();
        }
        Ok(())
    }

    /// Ends the row group, which has so many rows.
    pub(super) fn close(&mut self, rows: usize, compressor: &mut Compressor) -> Result<Vec<EncodedLate>, ParquetError> {
        let begun = self.0.iter_mut().filter(|(_, chunk)| chunk.rows > 0);
        let close = |(name, chunk): (&String, &mut LateChunk)| {
            chunk.text.write_nulls(rows - chunk.rows, compressor)?;
            chunk.rows = 0;
            Ok(EncodedLate { name: name.clone(), text: chunk.text.close(compressor)? })
        };
        begun.map(close).collect()
    }
}

impl EncodedLate {
    /// Its size in the file, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.text.close.bytes_written
    }
}

/// The schema of some text columns, as that of all others.
pub(crate) fn text_columns<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<SchemaDescPtr, ParquetError> {
    let fields: Vec<Field> = names.into_iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    Ok(Arc::new(ArrowSchemaConverter::new().convert(&Schema::new(fields))?))
}

/// A chunk of so many nulls, and what a footer says of it if it stands at the start of a file.
pub(crate) fn null_chunk(
    column: ColumnDescPtr,
    rows: usize,
) -> Result<(Arc<[Bytes]>, ColumnChunkMetaData), ParquetError> {
    let mut text = TextChunk::new(column, Compression::UNCOMPRESSED, SpareBlocks::default());
    let mut compressor = Compressor::new(Compression::UNCOMPRESSED)?;
    text.write_nulls(rows, &mut compressor)?;
    let EncodedText { pages, close } = text.close(&mut compressor)?;
    Ok((pages.into_bytes(), close.metadata))
}

/// What a footer says of a chunk that stands so many bytes after the start of the file.
pub(crate) fn at(chunk: ColumnChunkMetaData, offset: u64) -> Result<ColumnChunkMetaData, ParquetError> {
    let offset = offset as i64;
    let (data, dictionary) = (chunk.data_page_offset() + offset, chunk.dictionary_page_offset());
    chunk
        .into_builder()
        .set_data_page_offset(data)
        .set_dictionary_page_offset(dictionary.map(|page| page + offset))
        .build()
}

/// The late columns of a file that is being written.
#[derive(Default)]
pub(crate) struct LateColumns {
    /// In the order in which row groups have them.
    names: Vec<String>,
    places: HashMap<String, usize>,
    /// The chunks there are, by row group and column.
    chunks: HashMap<(usize, usize), ColumnChunkMetaData>,
}

impl LateColumns {
    /// Writes chunks after the other columns of the last row group.
    pub(crate) fn append<W: Write + Send>(
        &mut self,
        late: Vec<EncodedLate>,
        to: &mut SerializedFileWriter<W>,
    ) -> Result<(), ParquetError> {
        let row_group = to.flushed_row_groups().len().saturating_sub(1);
        for EncodedLate { name, text: EncodedText { pages, close } } in late {
            let column = *self.places.entry(name).or_insert_with_key(|name| {
                self.names.push(name.clone());
                self.names.len() - 1
            });
            let chunk = write_chunk(&pages.into_bytes(), close.metadata, to)?;
            self.chunks.insert((row_group, column), chunk);
        }
        Ok(())
    }

    /// Gives chunks of nulls to row groups that lack columns. Returns the names of the columns, and their footer; nothing if there
    /// are none.
    pub(crate) fn finish<W: Write + Send>(mut self, to: &mut SerializedFileWriter<W>) -> Result<Vec<u8>, ParquetError> {
        if self.names.is_empty() {
            return Ok(Vec::new());
        }
        let schema = text_columns(&self.names)?;
        let rows: Vec<i64> = to.flushed_row_groups().iter().map(RowGroupMetaData::num_rows).collect();
        let mut row_groups = Vec::with_capacity(rows.len());
        for (row_group, rows) in rows.iter().enumerate() {
            let mut chunks = Vec::with_capacity(self.names.len());
            for column in 0..self.names.len() {
                chunks.push(match self.chunks.remove(&(row_group, column)) {
                    Some(chunk) => chunk,
                    None => {
                        let (pages, chunk) = null_chunk(schema.column(column), *rows as usize)?;
                        write_chunk(&pages, chunk, to)?
                    }
                });
            }
            let bytes = chunks.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
            let row_group = RowGroupMetaData::builder(schema.clone()).set_num_rows(*rows).set_total_byte_size(bytes);
            row_groups.push(row_group.set_column_metadata(chunks).build()?);
        }
        let file = FileMetaData::new(1, rows.iter().sum(), None, None, schema, None);
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &ParquetMetaData::new(file, row_groups)).finish()?;
        Ok(footer)
    }
}

fn write_chunk<W: Write + Send>(
    pages: &[Bytes],
    chunk: ColumnChunkMetaData,
    to: &mut SerializedFileWriter<W>,
) -> Result<ColumnChunkMetaData, ParquetError> {
    let chunk = at(chunk, to.bytes_written() as u64)?;
    for page in pages {
        to.write_all(page).map_err(|e| ParquetError::External(Box::new(e)))?;
    }
    Ok(chunk)
}
