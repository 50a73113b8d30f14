//! Settling the columns of finished Parquet files, without touching their data.
//!
//! An attempt is planned with the columns that samples show. Which others there are, and in which order all of them first appear,
//! is known only when every line has been read. That is a matter of the footer alone: column chunks are found by offset, and those
//! of a column without a value are a few bytes. So the footer is written anew, while the file is still private.

use crate::encode::{at, null_chunk, text_columns};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use datafusion::parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use millwork_storage::Tail;
use std::io;
use std::sync::Arc;

/// The length of what ends a Parquet file: the footer's length, and the magic bytes.
const TAIL_BYTES: usize = 8;

/// Where a column of the settled file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its place among the columns of the file, and those that turned up after them.
    At(usize),
    /// The file has no column of this name: it has no value.
    Nowhere(String),
}

/// Rewrites the end of a file with flat columns, footer included, so that it has the columns of these places. `late` is the footer
/// of the columns that turned up, if there are any.
pub(crate) fn settle_columns(tail: &Tail<'_>, late: &[u8], places: &[Place]) -> Result<Vec<u8>, ParquetError> {
    let start = footer_start(tail.bytes)?;
    let metadata = decode(&tail.bytes[start..])?;
    let late = if late.is_empty() { None } else { Some(decode(late)?) };
    // The page indexes stay where they are: the chunks' metadata says where.
    let mut rewritten = tail.bytes[..start].to_vec();
    let settled = settle(&metadata, late.as_ref(), places, (&mut rewritten, tail.offset))?;
    ParquetMetaDataWriter::new(&mut rewritten, &settled).finish()?;
    Ok(rewritten)
}

/// The names of the columns that a footer tells of, in order.
pub(crate) fn names_in(footer: &[u8]) -> Result<Vec<String>, ParquetError> {
    if footer.is_empty() {
        return Ok(Vec::new());
    }
    let metadata = decode(footer)?;
    Ok(metadata.file_metadata().schema_descr().columns().iter().map(|column| column.name().to_owned()).collect())
}

fn decode(footer: &[u8]) -> Result<ParquetMetaData, ParquetError> {
    let everything = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
    let thrift = &footer[..footer.len().saturating_sub(TAIL_BYTES)];
    ParquetMetaDataReader::decode_metadata_with_options(thrift, Some(&everything))
}

fn footer_start(tail: &[u8]) -> Result<usize, ParquetError> {
    let too_long = || ParquetError::General("the footer is longer than what was read of it".to_owned());
    let end = tail.len().checked_sub(TAIL_BYTES).ok_or_else(too_long)?;
    let length = tail[end..end + 4].try_into().map(u32::from_le_bytes).map_err(|_| too_long())?;
    end.checked_sub(length as usize).ok_or_else(too_long)
}

/// The settled metadata. Chunks of nulls that it needs are added to `bytes`, which stand at an offset of the file.
fn settle(
    file: &ParquetMetaData,
    late: Option<&ParquetMetaData>,
    places: &[Place],
    (bytes, offset): (&mut Vec<u8>, u64),
) -> Result<ParquetMetaData, ParquetError> {
    let old = file.file_metadata();
    let missing: Vec<&String> = places.iter().filter_map(Place::missing).collect();
    let nulls = text_columns(missing.iter().copied())?;
    let late_fields = late.into_iter().flat_map(|late| fields(late.file_metadata().schema_descr()));
    let found: Vec<TypePtr> = fields(old.schema_descr()).chain(late_fields).collect();
    let root = old.schema_descr().root_schema();
    let picked = pick(places, &found, fields(&nulls))?;
    let root = Type::group_type_builder(root.name()).with_fields(picked).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let mut groups = Vec::with_capacity(file.num_row_groups());
    for (number, group) in file.row_groups().iter().enumerate() {
        let late = late.map(|late| late.row_groups().get(number).ok_or_else(|| bad("a row group has no late columns")));
        let late = late.transpose()?;
        let mut null_chunks = Vec::with_capacity(missing.len());
        for column in nulls.columns() {
            let (pages, chunk) = null_chunk(column.clone(), group.num_rows() as usize)?;
            null_chunks.push(at(chunk, offset + bytes.len() as u64)?);
            pages.iter().for_each(|page| bytes.extend_from_slice(page));
        }
        let late_bytes = late.map_or(0, RowGroupMetaData::total_byte_size);
        let null_bytes: i64 = null_chunks.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
        let found: Vec<ColumnChunkMetaData> =
            group.columns().iter().chain(late.into_iter().flat_map(RowGroupMetaData::columns)).cloned().collect();
        let builder = RowGroupMetaData::builder(schema.clone())
            .set_num_rows(group.num_rows())
            .set_total_byte_size(group.total_byte_size() + late_bytes + null_bytes)
            .set_column_metadata(pick(places, &found, null_chunks.into_iter())?);
        let builder = group.ordinal().into_iter().fold(builder, |builder, ordinal| builder.set_ordinal(ordinal));
        let builder = group.file_offset().into_iter().fold(builder, |builder, offset| builder.set_file_offset(offset));
        groups.push(builder.build()?);
    }
    let (created_by, pairs) = (old.created_by().map(str::to_owned), old.key_value_metadata().cloned());
    // Orders are those of the types, which the writer knows.
    let file = FileMetaData::new(old.version(), old.num_rows(), created_by, pairs, schema, None);
    Ok(ParquetMetaData::new(file, groups))
}

impl Place {
    fn missing(&self) -> Option<&String> {
        match self {
            Self::At(_) => None,
            Self::Nowhere(name) => Some(name),
        }
    }
}

fn fields(schema: &SchemaDescriptor) -> impl Iterator<Item = TypePtr> {
    schema.root_schema().get_fields().iter().cloned()
}

/// What stands in these places: each of `found` once, and of `missing` what there is nowhere.
fn pick<T: Clone>(places: &[Place], found: &[T], mut missing: impl Iterator<Item = T>) -> Result<Vec<T>, ParquetError> {
    let is_there = |place: &&Place| matches!(place, Place::At(_));
    if places.iter().filter(is_there).count() != found.len() {
        return Err(bad(&format!("{} places for {} columns", places.len(), found.len())));
    }
    let place = |place: &Place| match place {
        Place::At(at) => found.get(*at).cloned(),
        Place::Nowhere(_) => missing.next(),
    };
    places.iter().map(place).map(|found| found.ok_or_else(|| bad("a place without a column"))).collect()
}

fn bad(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// What a failed rewrite is, as an I/O error.
pub(crate) fn as_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(io) => *io,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use datafusion::parquet::file::metadata::PageIndexPolicy;
    use datafusion::parquet::file::properties::WriterProperties;
    use std::fs::File;

    #[test]
    fn only_the_order_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.parquet");
        let names: Vec<String> = (0..5000).map(|i| format!("n{}", i % 97)).collect();
        let a: ArrayRef = Arc::new(StringArray::from(names));
        let b: ArrayRef = Arc::new(Int64Array::from_iter((0..5000).map(|i| (i % 3 > 0).then_some(i))));
        let c: ArrayRef = Arc::new(StringArray::from(vec![Some("c"); 5000]));
        let batch = RecordBatch::try_from_iter([("a", a.clone()), ("b", b.clone()), ("c", c.clone())]).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2000)).build();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        // Any end of the file will do that has the footer in it.
        let content = std::fs::read(&path).unwrap();
        let (data, tail) = content.split_at(content.len() - 3000);
        let offset = data.len() as u64;
        let tail = settle_columns(&Tail { file: 0, offset, bytes: tail }, &[], &[2, 0, 1].map(Place::At)).unwrap();
        std::fs::write(&path, [data, &tail].concat()).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size.abs_diff(before) < 128, "{size} {before}");
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Required);
        let reader =
            ParquetRecordBatchReaderBuilder::try_new_with_options(File::open(&path).unwrap(), options).unwrap();
        let metadata = reader.metadata().clone();
        let batches: Vec<_> = reader.with_batch_size(5000).build().unwrap().map(|b| b.unwrap()).collect();
        let read = datafusion::arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(read.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
        assert_eq!((read.column(0), read.column(1), read.column(2)), (&c, &a, &b));
        assert_eq!(metadata.num_row_groups(), 3);
        assert_eq!(metadata.offset_index().unwrap().len(), 3);
    }

    #[test]
    fn an_order_of_other_columns_is_refused() {
        let pick = |places: &[Place], found: &[u32]| pick(places, found, [7].into_iter());
        let nowhere = || Place::Nowhere("x".to_owned());
        assert_eq!(pick(&[Place::At(1), nowhere(), Place::At(0)], &[1, 2]).unwrap(), [2, 7, 1]);
        assert!(pick(&[Place::At(0)], &[1, 2]).is_err());
        assert!(pick(&[Place::At(0), Place::At(2)], &[1, 2]).is_err());
        assert!(pick(&[Place::At(0), Place::At(1), nowhere(), nowhere()], &[1, 2]).is_err());
    }
}
