//! Settling of the columns of finished Parquet files, without changing their data.
//!
//! An attempt is planned with the columns found in samples. Further columns, and the order of first occurrence of all,
//! are known only when every line has been read. Only the footer depends on them: column chunks are located by offset,
//! and chunks of nulls take a few bytes. The footer is therefore rewritten while the file is still private.
//!
//! Footers come from executors: they are validated before decoding, and compared with the reports.

mod order;
mod shape;

use crate::{AddedColumns, Append};
use millwork_storage::Tail;
pub use order::arranged;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use shape::check_shape;
use std::io;
use std::panic::catch_unwind;
use std::sync::Arc;

/// Length of the trailer of a Parquet file: the footer's length, and the magic bytes, with which the file also begins.
const TAIL_BYTES: usize = 8;
const MAGIC_BYTES: i64 = 4;
const MAGIC: &[u8] = b"PAR1";
/// Metadata key under which a footer contains the manifest's id.
pub const MANIFEST_ID_KEY: &str = "millwork.manifest_id";

/// Source of a column of the settled file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Index in the columns of the file; columns that were added late follow those of the plan.
    At(usize),
    /// The file has no column of this name, so that the column is null.
    Nowhere(String),
}

/// Contents that a file must have, by its task's report and its plan.
pub struct Reported<'a> {
    pub rows: u64,
    pub row_groups: u64,
    pub manifest_id: &'a str,
    /// Names of its top-level columns, each of which may be nested.
    pub columns: &'a [String],
}

/// Checks that the footer at the end of a file agrees with the report, and refers only to data within the file.
pub fn check_footer(tail: &Tail<'_>, reported: &Reported<'_>) -> Result<(), ParquetError> {
    let start = footer_start(tail.bytes)?;
    let metadata = decode(tail.bytes)?;
    let file = metadata.file_metadata();
    check_rows(&metadata, reported.rows, reported.row_groups)?;
    let fields = file.schema_descr().root_schema().get_fields();
    if !fields.iter().map(|field| field.name()).eq(reported.columns) {
        return Err(bad(&format!("its columns are not the {} that were planned", reported.columns.len())));
    }
    let id = file.key_value_metadata().into_iter().flatten().find(|pair| pair.key == MANIFEST_ID_KEY);
    if id.and_then(|pair| pair.value.as_deref()) != Some(reported.manifest_id) {
        return Err(bad(&format!("it is not of manifest `{}`", reported.manifest_id)));
    }
    let data_end = i64::try_from(tail.offset + start as u64).map_err(|_| bad("it is too long"))?;
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns().iter().map(move |chunk| (group, chunk)));
    chunks.into_iter().try_for_each(|(group, chunk)| check_chunk(group, chunk, data_end))
}

/// Checks that a column chunk has a value for each row, and stands in the file's data with its indexes.
fn check_chunk(group: &RowGroupMetaData, chunk: &ColumnChunkMetaData, data_end: i64) -> Result<(), ParquetError> {
    let is_flat = chunk.column_descr().max_rep_level() == 0;
    if is_flat && chunk.num_values() != group.num_rows() {
        return Err(bad("a column has not as many values as there are rows"));
    }
    let first = chunk.dictionary_page_offset().into_iter().fold(chunk.data_page_offset(), i64::min);
    let data = Some((first, chunk.compressed_size()));
    let index = |offset: Option<i64>, length: Option<i32>| match (offset, length) {
        (None, None) => Ok(None),
        (Some(at), Some(length)) => Ok(Some((at, i64::from(length)))),
        _ => Err(bad("an index of a column chunk has a place or a length, and not both")),
    };
    let indexes = [
        index(chunk.column_index_offset(), chunk.column_index_length())?,
        index(chunk.offset_index_offset(), chunk.offset_index_length())?,
    ];
    let is_inside = |(at, length): (i64, i64)| {
        at >= MAGIC_BYTES && length >= 0 && at.checked_add(length).is_some_and(|end| end <= data_end)
    };
    match indexes.into_iter().chain([data]).flatten().all(is_inside) {
        true => Ok(()),
        false => Err(bad("a column chunk or its index stands outside the file's data")),
    }
}

/// Checks the numbers of rows and row groups in a footer.
fn check_rows(metadata: &ParquetMetaData, rows: u64, row_groups: u64) -> Result<(), ParquetError> {
    let of_groups = metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    let found = of_groups.sum::<Option<u64>>();
    if found != Some(rows) || u64::try_from(metadata.file_metadata().num_rows()) != Ok(rows) {
        let in_all = metadata.file_metadata().num_rows();
        return Err(bad(&format!("its footer tells of {in_all} rows, {rows} were reported")));
    }
    if metadata.num_row_groups() as u64 != row_groups {
        let found = metadata.num_row_groups();
        return Err(bad(&format!("its footer tells of {found} row groups, {row_groups} were reported")));
    }
    Ok(())
}

/// Rewrites the end of a file with flat columns, including the footer, so that it has the columns given by `places`.
/// `late` is the footer of added columns, if there are any. The file must have the reported numbers of rows and row
/// groups.
pub fn settle_columns(
    tail: &Tail<'_>,
    late: &[u8],
    places: &[Place],
    (rows, row_groups): (u64, u64),
) -> Result<Vec<u8>, ParquetError> {
    let start = footer_start(tail.bytes)?;
    let metadata = decode(tail.bytes)?;
    check_rows(&metadata, rows, row_groups)?;
    // Page indexes keep their positions, which the metadata of chunks contains.
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

/// The end of a file that is being rewritten.
struct End {
    bytes: Vec<u8>,
    /// Position of these bytes in the file.
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
    /// Appends the page indexes of added columns. Returns their metadata for the footer.
    fn add(&mut self, added: &[u8]) -> Result<ParquetMetaData, ParquetError> {
        let indexes = self.offset() as i64;
        self.append(&added[..footer_start(added)?])?;
        let moved = |chunk: &ColumnChunkMetaData| {
            let (column, offset) = (chunk.column_index_offset(), chunk.offset_index_offset());
            chunk
                .clone()
                .into_builder()
                .set_column_index_offset(column.map(|index| index.saturating_add(indexes)))
                .set_offset_index_offset(offset.map(|index| index.saturating_add(indexes)))
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

/// Names of the columns in a footer, in order; none if there is no footer.
pub fn names_in(footer: &[u8]) -> Result<Vec<String>, ParquetError> {
    if footer.is_empty() {
        return Ok(Vec::new());
    }
    names_of(&decode(footer)?)
}

/// Names of the columns in a footer, like [`names_in`]; the footer must have these numbers of rows and row groups.
pub fn names_in_footer_of(footer: &[u8], rows: u64, row_groups: u64) -> Result<Vec<String>, ParquetError> {
    if footer.is_empty() {
        return Ok(Vec::new());
    }
    let metadata = decode(footer)?;
    check_rows(&metadata, rows, row_groups)?;
    names_of(&metadata)
}

fn names_of(metadata: &ParquetMetaData) -> Result<Vec<String>, ParquetError> {
    Ok(metadata.file_metadata().schema_descr().columns().iter().map(|column| column.name().to_owned()).collect())
}

/// Decodes the footer at the end of these bytes.
fn decode(end: &[u8]) -> Result<ParquetMetaData, ParquetError> {
    let thrift = &end[footer_start(end)?..end.len() - TAIL_BYTES];
    check_shape(thrift)?;
    let decode = || {
        let everything = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
        ParquetMetaDataReader::decode_metadata_with_options(thrift, Some(&everything))
    };
    // A footer of valid structure can still have contents that make the decoder panic.
    catch_unwind(decode).unwrap_or_else(|_| Err(bad("its footer cannot be decoded")))
}

fn footer_start(tail: &[u8]) -> Result<usize, ParquetError> {
    let too_long = || ParquetError::General("the footer is longer than what was read of it".to_owned());
    let end = tail.len().checked_sub(TAIL_BYTES).ok_or_else(too_long)?;
    if !tail.ends_with(MAGIC) {
        return Err(bad("it does not end as Parquet does"));
    }
    let length = tail[end..end + 4].try_into().map(u32::from_le_bytes).map_err(|_| too_long())?;
    end.checked_sub(length as usize).ok_or_else(too_long)
}

/// Metadata of a file with the columns given by `places`: its own ones, added ones, and missing ones, which are last.
fn settle(
    file: &ParquetMetaData,
    added: &[ParquetMetaData],
    places: &[Place],
) -> Result<ParquetMetaData, ParquetError> {
    let old = file.file_metadata();
    let parts: Vec<&ParquetMetaData> = std::iter::once(file).chain(added).collect();
    let fields = |part: &&ParquetMetaData| part.file_metadata().schema_descr().root_schema().get_fields().to_vec();
    let fields = pick(places, &parts.iter().flat_map(fields).collect::<Vec<_>>())?;
    let root = old.schema_descr().root_schema();
    let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let groups = (0..file.num_row_groups()).map(|number| settle_group(&schema, &parts, number, places));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    let (created_by, pairs) = (old.created_by().map(str::to_owned), old.key_value_metadata().cloned());
    // Column orders follow from the types, and are set by the writer.
    let file = FileMetaData::new(old.version(), old.num_rows(), created_by, pairs, schema, None);
    Ok(ParquetMetaData::new(file, groups))
}

/// The metadata of a row group with the columns of these places, from those of the file, which is the first part, and of what was added.
fn settle_group(
    schema: &SchemaDescPtr,
    parts: &[&ParquetMetaData],
    number: usize,
    places: &[Place],
) -> Result<RowGroupMetaData, ParquetError> {
    let lacking = || bad("a row group lacks the added columns");
    let parts = parts.iter().map(|part| part.row_groups().get(number)).collect::<Option<Vec<_>>>();
    let parts = parts.filter(|parts| parts.iter().all(|part| part.num_rows() == parts[0].num_rows()));
    let parts = parts.ok_or_else(lacking)?;
    let group = parts.first().ok_or_else(lacking)?;
    let chunks: Vec<_> = parts.iter().flat_map(|part| part.columns()).cloned().collect();
    let builder = RowGroupMetaData::builder(schema.clone())
        .set_num_rows(group.num_rows())
        .set_total_byte_size(parts.iter().fold(0, |sum, part| part.total_byte_size().saturating_add(sum)))
        .set_column_metadata(pick(places, &chunks)?);
    let builder = group.ordinal().into_iter().fold(builder, |builder, ordinal| builder.set_ordinal(ordinal));
    let builder = group.file_offset().into_iter().fold(builder, |builder, offset| builder.set_file_offset(offset));
    builder.build()
}

impl Place {
    fn missing(&self) -> Option<&String> {
        match self {
            Self::At(_) => None,
            Self::Nowhere(name) => Some(name),
        }
    }
}

/// Reorders all items by their places, each used exactly once; items for missing columns are at the end of `found`.
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

/// Converts the error of a failed rewrite into an I/O error.
pub fn as_io(error: ParquetError) -> io::Error {
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
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::{KeyValue, PageIndexPolicy};
    use parquet::file::properties::WriterProperties;
    use proptest::prelude::*;
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
        // Any end of the file that contains the footer is accepted.
        let content = std::fs::read(&path).unwrap();
        let (data, tail) = content.split_at(content.len() - 3000);
        let offset = data.len() as u64;
        let tail =
            settle_columns(&Tail { file: 0, offset, bytes: tail }, &[], &[2, 0, 1].map(Place::At), (5000, 3)).unwrap();
        std::fs::write(&path, [data, &tail].concat()).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size.abs_diff(before) < 128, "{size} {before}");
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Required);
        let reader =
            ParquetRecordBatchReaderBuilder::try_new_with_options(File::open(&path).unwrap(), options).unwrap();
        let metadata = reader.metadata().clone();
        let batches: Vec<_> = reader.with_batch_size(5000).build().unwrap().map(|b| b.unwrap()).collect();
        let read = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(read.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
        assert_eq!((read.column(0), read.column(1), read.column(2)), (&c, &a, &b));
        assert_eq!(metadata.num_row_groups(), 3);
        assert_eq!(metadata.offset_index().unwrap().len(), 3);
    }

    /// End of a file with two columns, as Millwork writes it except for the manifest's id.
    fn small_file() -> Vec<u8> {
        let a: ArrayRef = Arc::new(StringArray::from_iter_values((0..50).map(|i| format!("v{}", i % 7))));
        let b: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50));
        let batch = RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap();
        let id = KeyValue::new(MANIFEST_ID_KEY.to_owned(), "m".to_owned());
        let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![id]));
        let properties = properties.set_max_row_group_row_count(Some(20)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn checked(file: &[u8], (rows, row_groups): (u64, u64), manifest_id: &str, columns: &[&str]) -> Result<(), String> {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let reported = Reported { rows, row_groups, manifest_id, columns: &columns };
        let tail = Tail { file: 0, offset: 0, bytes: file };
        check_footer(&tail, &reported).map_err(|e| e.to_string())
    }

    #[test]
    fn a_footer_says_what_was_reported() {
        let file = small_file();
        checked(&file, (50, 3), "m", &["a", "b"]).unwrap();
        for (rows, id, columns, why) in [
            ((51, 3), "m", &["a", "b"][..], "tells of 50 rows, 51 were reported"),
            ((50, 2), "m", &["a", "b"], "tells of 3 row groups, 2 were reported"),
            ((50, 3), "n", &["a", "b"], "it is not of manifest `n`"),
            ((50, 3), "m", &["a"], "its columns are not the 1 that were planned"),
            ((50, 3), "m", &["b", "a"], "its columns are not the 2 that were planned"),
        ] {
            let error = checked(&file, rows, id, columns).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        // A footer that refers to more data than precedes it.
        let footer = &file[footer_start(&file).unwrap()..];
        let error = checked(footer, (50, 3), "m", &["a", "b"]).unwrap_err();
        assert!(error.contains("stands outside the file's data"), "{error}");
        for broken in [&file[..file.len() - 1], &[], b"PAR1"] {
            assert!(checked(broken, (50, 3), "m", &["a", "b"]).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn changed_footers_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let mut file = small_file();
            let start = footer_start(&file).unwrap();
            let length = file.len() - start;
            for (at, byte) in changes {
                file[start + at.index(length)] = byte;
            }
            let _ = checked(&file, (50, 3), "m", &["a", "b"]);
            let _ = names_in_footer_of(&file, 50, 3);
            let tail = Tail { file: 0, offset: 0, bytes: &file };
            let places = [Place::At(1), Place::At(0), Place::Nowhere("c".to_owned())];
            if let Ok(settled) = settle_columns(&tail, &[], &places, (50, 3)) {
                prop_assert!(settled.ends_with(MAGIC));
            }
            let _ = settle_columns(&tail, &file, &places[..2], (50, 3));
        }
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
