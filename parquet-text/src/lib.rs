//! Parquet files of text columns: encoding of rows into row groups, and rewriting of footers once all columns are
//! known. Independent of DataFusion.
//!
//! Text columns, the main part of conversions, have a specialised encoder (`chunk.rs`), which takes a column as
//! contiguous values and a bitmap. Columns of other types, which a query may produce, are encoded by the `parquet`
//! crate.

mod chunk;
mod dictionary;
pub mod footer;
mod hybrid;
mod late;
mod levels;
mod pages;
mod prefetch;
mod snappy;
mod statistics;
#[cfg(test)]
mod tests;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chunk::{EncodedText, Share, TextChunk};
use late::LateChunks;
pub use late::{AddedColumns, Append, EncodedLate};
use millwork_ndjson::{Column, Rows};
use pages::{Compressor, SpareBlocks};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{SchemaDescPtr, TypePtr};
use std::io::Write;
use std::sync::Arc;

/// Schema, properties and memory shared by the row groups of a file.
pub struct RowGroups {
    schema: SchemaRef,
    descriptor: SchemaDescPtr,
    properties: WriterPropertiesPtr,
    /// Factory of writers for columns that are not text.
    others: ArrowRowGroupWriterFactory,
    /// Reusable memory of written pages, for all row groups.
    spare: SpareBlocks,
}

impl RowGroups {
    /// Refuses properties that the encoder of text columns does not carry out: Bloom filters.
    pub fn new(schema: SchemaRef, properties: WriterPropertiesPtr) -> Result<Self, ParquetError> {
        let descriptor = Arc::new(ArrowSchemaConverter::new().convert(&schema)?);
        if let Some(column) =
            descriptor.columns().iter().find(|column| properties.bloom_filter_properties(column.path()).is_some())
        {
            return Err(ParquetError::NYI(format!("a Bloom filter, which column `{}` is to have", column.path())));
        }
        let others = schema.fields().iter().filter(|field| !is_text(field)).cloned();
        let others = Arc::new(Schema::new(others.collect::<Vec<_>>()));
        let root = ArrowSchemaConverter::new().convert(&others)?.root_schema_ptr();
        let template = SerializedFileWriter::new(Vec::new(), root, properties.clone())?;
        let others = ArrowRowGroupWriterFactory::new(&template, others);
        Ok(Self { schema, descriptor, properties, others, spare: SpareBlocks::default() })
    }

    /// Starts a file for the row groups of this encoder.
    pub fn start_file<W: Write + Send>(&self, to: W) -> Result<SerializedFileWriter<W>, ParquetError> {
        let root: TypePtr = self.descriptor.root_schema_ptr();
        SerializedFileWriter::new(to, root, self.properties.clone())
    }

    fn field_of(&self, leaf: usize) -> &Field {
        self.schema.field(self.descriptor.get_column_root_idx(leaf))
    }
}

fn is_text(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View)
}

/// Encoder of row groups, one after another.
pub struct RowGroupEncoder {
    groups: Arc<RowGroups>,
    texts: Vec<TextChunk>,
    /// Writers for other columns, in the current row group.
    others: Vec<ArrowColumnWriter>,
    late: LateChunks,
    compressor: Compressor,
    rows: usize,
}

/// A finished row group.
pub struct EncodedRowGroup {
    /// Chunks of the schema's columns, in order.
    pub chunks: Vec<EncodedChunk>,
    /// Chunks of added columns.
    pub late: Vec<EncodedLate>,
}

/// A finished column chunk.
pub enum EncodedChunk {
    Text(Box<EncodedText>),
    Other(Box<ArrowColumnChunk>),
}

impl RowGroupEncoder {
    pub fn new(groups: Arc<RowGroups>) -> Result<Self, ParquetError> {
        let leaves = (0..groups.descriptor.num_columns()).filter(|leaf| is_text(groups.field_of(*leaf)));
        let compression = |leaf: usize| groups.properties.compression(groups.descriptor.column(leaf).path());
        let compressor = Compressor::new(compression(0))?;
        let share = Share::of_one_in(groups.descriptor.num_columns());
        let text = |leaf: usize| {
            TextChunk::new(groups.descriptor.column(leaf), compression(leaf), share, groups.spare.clone())
        };
        let texts = leaves.map(text).collect();
        Ok(Self { texts, others: Vec::new(), late: LateChunks::default(), compressor, rows: 0, groups })
    }

    /// Number of rows of the current row group.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Approximate size of the row group in the file if it ended now, in bytes.
    pub fn estimated_bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(TextChunk::estimated_bytes).sum();
        let others: usize = self.others.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum();
        texts + others + self.late.estimated_bytes()
    }

    /// Approximate memory of open pages and dictionaries, in bytes: a multiple of [`Self::estimated_bytes`] where many
    /// columns have short distinct values. Depends only on the rows, so that the same rows make the same row groups.
    pub fn open_bytes(&self) -> usize {
        self.texts.iter().map(TextChunk::open_bytes).sum()
    }

    /// Appends rows, which have the columns of the schema and perhaps added ones.
    pub fn write(&mut self, rows: &Rows) -> Result<(), ParquetError> {
        let known = rows.columns.len() - rows.late.len();
        if known != self.groups.schema.fields().len() || rows.columns.iter().any(|column| !column.has(rows.count)) {
            return Err(ParquetError::General(format!("{known} columns do not match those of the file")));
        }
        if self.rows == 0 {
            self.others = self.groups.others.create_column_writers(0)?;
        }
        let (mut texts, mut others) = (self.texts.iter_mut(), self.others.iter_mut());
        for (field, column) in self.groups.schema.fields().iter().zip(&rows.columns) {
            if is_text(field) {
                texts.next().map_or(Ok(()), |text| write_text(text, column, rows.count, &mut self.compressor))?;
            } else if let Column::Other(array) = column {
                for leaf in compute_leaves(field, array)? {
                    others.next().map_or(Ok(()), |other| other.write(&leaf))?;
                }
            } else {
                return Err(ParquetError::General(format!("the column `{}` is no text", field.name())));
            }
        }
        if !rows.late.is_empty() {
            let shared = (&self.groups.properties, &self.groups.spare);
            self.late.write(rows, self.rows, shared, &mut self.compressor)?;
        }
        self.rows += rows.count;
        Ok(())
    }

    /// Ends the row group, and begins the next.
    pub fn close(&mut self) -> Result<EncodedRowGroup, ParquetError> {
        let late = self.late.close(std::mem::take(&mut self.rows), &mut self.compressor)?;
        let (mut texts, mut others) = (self.texts.iter_mut(), std::mem::take(&mut self.others).into_iter());
        let mut chunks = Vec::with_capacity(self.groups.descriptor.num_columns());
        for leaf in 0..self.groups.descriptor.num_columns() {
            if is_text(self.groups.field_of(leaf)) {
                let text = texts.next().map(|text| text.close(&mut self.compressor)).transpose()?;
                chunks.extend(text.map(|text| EncodedChunk::Text(Box::new(text))));
            } else {
                let other = others.next().map(ArrowColumnWriter::close).transpose()?;
                chunks.extend(other.map(|other| EncodedChunk::Other(Box::new(other))));
            }
        }
        Ok(EncodedRowGroup { chunks, late })
    }
}

impl EncodedRowGroup {
    /// Size of the row group in the file, in bytes.
    pub fn bytes(&self) -> u64 {
        let late: u64 = self.late.iter().map(EncodedLate::bytes).sum();
        self.chunks.iter().map(EncodedChunk::bytes).sum::<u64>() + late
    }
}

fn write_text(
    text: &mut TextChunk,
    column: &Column,
    rows: usize,
    compressor: &mut Compressor,
) -> Result<(), ParquetError> {
    match column {
        Column::Nulls => text.write_nulls(rows, compressor),
        Column::Text(values) => text.write(values, compressor),
        Column::Constant(value) => text.write_run(value, rows, compressor),
        Column::Other(array) => Err(ParquetError::General(format!("{} is no text", array.data_type()))),
    }
}

impl EncodedChunk {
    /// Size of the chunk in the file, in bytes.
    fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.close.bytes_written,
            Self::Other(other) => other.close().bytes_written,
        }
    }

    /// Writes the chunk as the next column of a row group.
    pub fn append_to<W: Write + Send>(self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        match self {
            Self::Text(text) => group.append_column(&text.pages, text.close),
            Self::Other(other) => other.append_to_row_group(group),
        }
    }
}
