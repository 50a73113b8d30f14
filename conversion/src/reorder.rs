//! Putting the columns of finished Parquet files in another order, without touching their data.
//!
//! An attempt is planned with the columns that samples show; in which order they first appear is known only when every
//! line has been read. The order is a matter of the footer alone: column chunks are found by offset. So the footer is
//! written anew, while the file is still private.

use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use datafusion::parquet::schema::types::{SchemaDescriptor, Type};
use std::io;
use std::sync::Arc;

/// The length of what ends a Parquet file: the footer's length, and the magic bytes.
const TAIL_BYTES: usize = 8;

/// Rewrites the end of a file with flat columns, footer included: the column that was at `order[i]` will be at `i`.
pub(crate) fn reorder_columns(tail: &[u8], order: &[usize]) -> Result<Vec<u8>, ParquetError> {
    let footer = footer_start(tail)?;
    let everything = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
    let thrift = &tail[footer..tail.len() - TAIL_BYTES];
    let metadata = ParquetMetaDataReader::decode_metadata_with_options(thrift, Some(&everything))?;
    // The page indexes stay where they are: the chunks' metadata says where.
    let mut rewritten = tail[..footer].to_vec();
    ParquetMetaDataWriter::new(&mut rewritten, &reorder(&metadata, order)?).finish()?;
    Ok(rewritten)
}

fn footer_start(tail: &[u8]) -> Result<usize, ParquetError> {
    let too_long = || ParquetError::General("the footer is longer than what was read of it".to_owned());
    let end = tail.len().checked_sub(TAIL_BYTES).ok_or_else(too_long)?;
    let length = tail[end..end + 4].try_into().map(u32::from_le_bytes).map_err(|_| too_long())?;
    end.checked_sub(length as usize).ok_or_else(too_long)
}

fn reorder(metadata: &ParquetMetaData, order: &[usize]) -> Result<ParquetMetaData, ParquetError> {
    let old = metadata.file_metadata();
    let root = old.schema_descr().root_schema();
    let fields = pick(root.get_fields(), order)?;
    let new_root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(new_root)));
    let orders = old.column_orders().map(|orders| pick(orders, order)).transpose()?;
    let file = FileMetaData::new(
        old.version(),
        old.num_rows(),
        old.created_by().map(str::to_owned),
        old.key_value_metadata().cloned(),
        schema.clone(),
        orders,
    );
    let group = |group: &RowGroupMetaData| {
        let builder = RowGroupMetaData::builder(schema.clone())
            .set_num_rows(group.num_rows())
            .set_total_byte_size(group.total_byte_size())
            .set_column_metadata(pick(group.columns(), order)?);
        let builder = group.ordinal().into_iter().fold(builder, |builder, ordinal| builder.set_ordinal(ordinal));
        let builder = group.file_offset().into_iter().fold(builder, |builder, offset| builder.set_file_offset(offset));
        builder.build()
    };
    let groups = metadata.row_groups().iter().map(group).collect::<Result<Vec<_>, ParquetError>>()?;
    Ok(ParquetMetaData::new(file, groups))
}

fn pick<T: Clone>(of: &[T], order: &[usize]) -> Result<Vec<T>, ParquetError> {
    let bad = || ParquetError::General(format!("{} places for {} columns", order.len(), of.len()));
    if of.len() != order.len() {
        return Err(bad());
    }
    order.iter().map(|at| of.get(*at).cloned().ok_or_else(bad)).collect()
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
        let tail = reorder_columns(tail, &[2, 0, 1]).unwrap();
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
        assert!(pick(&[1, 2], &[0]).is_err());
        assert!(pick(&[1, 2], &[0, 2]).is_err());
    }
}
