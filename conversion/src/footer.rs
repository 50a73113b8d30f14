//! Settling the columns of finished Parquet files, without touching their data.
//!
//! An attempt is planned with the columns that samples show. Which others there are, and in which order all of them first appear,
//! is known only when every line has been read. That is a matter of the footer alone: column chunks are found by offset, and those
//! of a column without a value are a few bytes. So the footer is written anew, while the file is still private.

use crate::encode::{AddedColumns, Append};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use datafusion::parquet::schema::types::{SchemaDescriptor, Type};
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

/// Rewrites the end of a file with flat columns, footer included, so that it has the columns of these places. `late` is what is to be
/// said of the columns that turned up, if there are any.
pub(crate) fn settle_columns(tail: &Tail<'_>, late: &[u8], places: &[Place]) -> Result<Vec<u8>, ParquetError> {
    let start = footer_start(tail.bytes)?;
    let metadata = decode(tail.bytes)?;
    // The page indexes stay where they are: the chunks' metadata says where.
    let mut end = End { bytes: tail.bytes[..start].to_vec(), offset: tail.offset };
    let rows: Vec<i64> = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).collect();
    let missing: Vec<String> = places.iter().filter_map(Place::missing).cloned().collect();
    let nulls = AddedColumns::of_nulls(missing).finish(&rows, &mut end)?;
    let added = [late, &nulls].into_iter().filter(|added| !added.is_empty());
    let added = added.map(|added| end.add(added)).collect::<Result<Vec<_>, _>>()?;
    let settled = settle(&metadata, &added, places)?;
    ParquetMetaDataWriter::new(&mut end.bytes, &settled).finish()?;
    Ok(end.bytes)
}

/// The end of a file that is being written anew.
struct End {
    bytes: Vec<u8>,
    /// Where in the file it starts.
    offset: u64,
}

impl Append for End {
    fn offset(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), ParquetError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl End {
    /// Appends the page indexes of added columns. Returns what the footer is to say of these.
    fn add(&mut self, added: &[u8]) -> Result<ParquetMetaData, ParquetError> {
        let indexes = self.offset() as i64;
        self.append(&added[..footer_start(added)?])?;
        let moved = |chunk: &ColumnChunkMetaData| {
            let (column, offset) = (chunk.column_index_offset(), chunk.offset_index_offset());
            chunk
                .clone()
                .into_builder()
                .set_column_index_offset(column.map(|index| index + indexes))
                .set_offset_index_offset(offset.map(|index| index + indexes))
                .build()
        };
        let metadata = decode(added)?;
        let group = |group: &RowGroupMetaData| {
            let chunks = group.columns().iter().map(moved).collect::<Result<Vec<_>, _>>()?;
            group.clone().into_builder().set_column_metadata(chunks).build()
        };
        let groups = metadata.row_groups().iter().map(group).collect::<Result<Vec<_>, _>>()?;
        Ok(ParquetMetaData::new(metadata.file_metadata().clone(), groups))
    }
}

/// The names of the columns that a footer tells of, in order; none if there is no footer.
pub(crate) fn names_in(footer: &[u8]) -> Result<Vec<String>, ParquetError> {
    if footer.is_empty() {
        return Ok(Vec::new());
    }
    let metadata = decode(footer)?;
    Ok(metadata.file_metadata().schema_descr().columns().iter().map(|column| column.name().to_owned()).collect())
}

/// What the footer says at the end of these bytes.
fn decode(end: &[u8]) -> Result<ParquetMetaData, ParquetError> {
    let everything = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
    let thrift = &end[footer_start(end)?..end.len() - TAIL_BYTES];
    ParquetMetaDataReader::decode_metadata_with_options(thrift, Some(&everything))
}

fn footer_start(tail: &[u8]) -> Result<usize, ParquetError> {
    let too_long = || ParquetError::General("the footer is longer than what was read of it".to_owned());
    let end = tail.len().checked_sub(TAIL_BYTES).ok_or_else(too_long)?;
    let length = tail[end..end + 4].try_into().map(u32::from_le_bytes).map_err(|_| too_long())?;
    end.checked_sub(length as usize).ok_or_else(too_long)
}

/// The metadata of a file with the columns of these places: its own, and those that were added, with missing ones last.
fn settle(
    file: &ParquetMetaData,
    added: &[ParquetMetaData],
    places: &[Place],
) -> Result<ParquetMetaData, ParquetError> {
    let old = file.file_metadata();
    let parts = || std::iter::once(file).chain(added);
    let fields = |part: &ParquetMetaData| part.file_metadata().schema_descr().root_schema().get_fields().to_vec();
    let fields = pick(places, &parts().flat_map(fields).collect::<Vec<_>>())?;
    let root = old.schema_descr().root_schema();
    let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let mut groups = Vec::with_capacity(file.num_row_groups());
    for (number, group) in file.row_groups().iter().enumerate() {
        let parts = parts().map(|part| part.row_groups().get(number)).collect::<Option<Vec<_>>>();
        let parts = parts.ok_or_else(|| bad("a row group lacks the added columns"))?;
        let chunks: Vec<_> = parts.iter().flat_map(|part| part.columns()).cloned().collect();
        let builder = RowGroupMetaData::builder(schema.clone())
            .set_num_rows(group.num_rows())
            .set_total_byte_size(parts.iter().map(|part| part.total_byte_size()).sum())
            .set_column_metadata(pick(places, &chunks)?);
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

/// Puts what was found in these places, all of it, once each; what was missing before stands at the end of it.
fn pick<T: Clone>(places: &[Place], found: &[T]) -> Result<Vec<T>, ParquetError> {
    let missing = places.iter().filter_map(Place::missing).count();
    let mut missing = found.len().saturating_sub(missing)..found.len();
    let mut is_taken = vec![false; found.len()];
    let mut take = |place: &Place| {
        let at = match place {
            Place::At(at) => *at,
            Place::Nowhere(_) => missing.next()?,
        };
        let is_first = !std::mem::replace(is_taken.get_mut(at)?, true);
        found.get(at).filter(|_| is_first).cloned()
    };
    let picked: Option<Vec<T>> = places.iter().map(&mut take).collect();
    let no_match = || bad(&format!("{} places do not match {} columns", places.len(), found.len()));
    picked.filter(|picked| picked.len() == found.len()).ok_or_else(no_match)
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
        let at = |places: &[usize]| places.iter().map(|at| Place::At(*at)).collect::<Vec<_>>();
        let nowhere = || Place::Nowhere("x".to_owned());
        assert_eq!(pick(&[Place::At(1), nowhere(), Place::At(0)], &[1, 2, 7]).unwrap(), [2, 7, 1]);
        for places in [at(&[0]), at(&[0, 2]), at(&[0, 0]), at(&[0, 1, 1]), [at(&[0, 1]), vec![nowhere()]].concat()] {
            assert!(pick(&places, &[1, 2]).is_err(), "{places:?}");
        }
    }
}
