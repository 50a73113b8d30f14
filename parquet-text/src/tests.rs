//! Comparison of the text encoder with the `parquet` crate: its reader, and the statistics of its writer.

use super::*;
use crate::footer::{Place, names_in, settle_columns};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow::compute::{cast, concat_batches};
use millwork_storage::Tail;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{BoundaryOrder, Compression, ZstdLevel};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

type Values = Vec<Option<String>>;

fn properties(compression: Compression) -> WriterPropertiesPtr {
    Arc::new(WriterProperties::builder().set_compression(compression).build())
}

fn batches_of(columns: &[Values], rows_per_batch: usize) -> Vec<RecordBatch> {
    let rows = columns[0].len();
    let starts = (0..rows).step_by(rows_per_batch);
    let batch = |start: usize| {
        let end = rows.min(start + rows_per_batch);
        let text = columns.iter().enumerate().map(|(i, column)| {
            let array: ArrayRef = Arc::new(StringArray::from(column[start..end].to_vec()));
            (format!("c{i}"), array, true)
        });
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(start as i64..end as i64));
        let constant: ArrayRef = Arc::new(StringViewArray::from(vec!["the same in every row"; end - start]));
        let all = text.chain([("n".to_owned(), numbers, false), ("k".to_owned(), constant, false)]);
        RecordBatch::try_from_iter_with_nullable(all).unwrap()
    };
    starts.map(batch).collect()
}

/// Writes row groups of these batches with the encoder.
fn encode(groups: &[Vec<RecordBatch>], compression: Compression) -> Vec<u8> {
    let shared = Arc::new(RowGroups::new(groups[0][0].schema(), properties(compression)).unwrap());
    let mut file = shared.start_file(Vec::new()).unwrap();
    let mut encoder = RowGroupEncoder::new(shared.clone()).unwrap();
    for group in groups {
        group.iter().for_each(|batch| encoder.write(&Rows::from_batch(batch).unwrap()).unwrap());
        let mut writer = file.next_row_group().unwrap();
        for chunk in encoder.close().unwrap().chunks {
            chunk.append_to(&mut writer).unwrap();
        }
        writer.close().unwrap();
    }
    file.into_inner().unwrap()
}

/// Writes row groups of these batches with the `parquet` crate's writer.
fn encode_with_arrow(groups: &[Vec<RecordBatch>]) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), groups[0][0].schema(), Some(properties)).unwrap();
    for group in groups {
        group.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

fn read(file: Vec<u8>) -> (RecordBatch, Arc<ParquetMetaData>) {
    let options =
        ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Required);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes::Bytes::from(file), options).unwrap();
    let metadata = reader.metadata().clone();
    let batches: Vec<_> = reader.with_batch_size(1000).build().unwrap().map(|batch| batch.unwrap()).collect();
    (concat_batches(&batches[0].schema(), &batches).unwrap(), metadata)
}

/// Writes the columns with both writers, and compares values and statistics.
fn check(columns: &[Values], rows_per_batch: usize, compression: Compression) -> Arc<ParquetMetaData> {
    let batches = batches_of(columns, rows_per_batch);
    let half = batches.len() / 2;
    let groups: Vec<_> =
        [&batches[..half], &batches[half..]].into_iter().filter(|g| !g.is_empty()).map(<[_]>::to_vec).collect();
    let (ours, metadata) = read(encode(&groups, compression));
    let (theirs, their_metadata) = read(encode_with_arrow(&groups));
    assert_eq!(ours, theirs);
    assert_eq!(metadata.num_row_groups(), groups.len());
    for (group, their_group) in metadata.row_groups().iter().zip(their_metadata.row_groups()) {
        for (chunk, their_chunk) in group.columns().iter().zip(their_group.columns()) {
            let path = chunk.column_path();
            assert_eq!(chunk.statistics(), their_chunk.statistics(), "{path}");
            assert_eq!(chunk.definition_level_histogram(), their_chunk.definition_level_histogram());
            assert_eq!(chunk.unencoded_byte_array_data_bytes(), their_chunk.unencoded_byte_array_data_bytes());
            assert_eq!(chunk.num_values(), their_chunk.num_values());
        }
    }
    check_page_index(&metadata, columns);
    metadata
}

/// Checks the page index against the values.
fn check_page_index(metadata: &ParquetMetaData, columns: &[Values]) {
    let (indexes, offsets) = (metadata.column_index().unwrap(), metadata.offset_index().unwrap());
    let mut group_start = 0;
    for (group, rows) in metadata.row_groups().iter().map(|group| group.num_rows() as usize).enumerate() {
        for (column, values) in columns.iter().enumerate() {
            let ColumnIndexMetaData::BYTE_ARRAY(index) = &indexes[group][column] else { panic!("no column index") };
            let pages = offsets[group][column].page_locations();
            for (page, location) in pages.iter().enumerate() {
                let first = location.first_row_index as usize;
                let next = pages.get(page + 1).map_or(rows, |next| next.first_row_index as usize);
                let values = &values[group_start + first..group_start + next];
                assert_eq!(index.null_count(page), Some(values.iter().filter(|v| v.is_none()).count() as i64));
                let (min, max) = (values.iter().flatten().min(), values.iter().flatten().max());
                assert_eq!(index.is_null_page(page), min.is_none());
                if let (Some(min), Some(max)) = (min, max) {
                    let (low, high) = (index.min_value(page).unwrap(), index.max_value(page).unwrap());
                    assert!(low <= min.as_bytes() && high >= max.as_bytes());
                    assert!(min.len() > 64 || low == min.as_bytes());
                    assert!(max.len() > 64 || high == max.as_bytes());
                }
            }
        }
        group_start += rows;
    }
}

fn column(rows: usize, value: impl Fn(usize) -> Option<String>) -> Values {
    (0..rows).map(value).collect()
}

/// A pseudo-random number.
fn scrambled(i: usize) -> u64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 1
}

#[test]
fn every_way_a_chunk_can_go_is_read_back() {
    let rows = 50_000;
    let columns = [
        column(rows, |_| None),
        column(rows, |i| Some(format!("{:x}", scrambled(i)))),
        column(rows, |i| Some(["a", "", "true", "a longer value"][i % 4].to_owned())),
        column(rows, |i| (i % 7 == 0).then(|| format!("{}", scrambled(i) % 10_000))),
        // The dictionary saves space, and overflows.
        column(rows, |i| Some(format!("{:0300}", scrambled(i) % 7000))),
        // Only nulls in the first pages, then distinct values.
        column(rows, |i| (i > 30_000).then(|| format!("{:x}", scrambled(i)))),
        // Repeated values at first, then distinct ones.
        column(rows, |i| Some(if i < 9_000 { "same".to_owned() } else { format!("{:x}", scrambled(i)) })),
        column(rows, |i| (i < 3).then(|| "few".to_owned())),
        column(rows, |_| Some(String::new())),
        column(rows, |i| Some(format!("{i:09}"))),
    ];
    for (compression, rows_per_batch) in [
        (Compression::SNAPPY, 843),
        (Compression::ZSTD(ZstdLevel::default()), 20_000),
        (Compression::UNCOMPRESSED, rows),
    ] {
        let metadata = check(&columns, rows_per_batch, compression);
        let pages = metadata.offset_index().unwrap()[0].iter().map(|index| index.page_locations().len());
        assert!(pages.max() > Some(2));
    }
}

#[test]
fn huge_values_have_pages_of_their_own() {
    let value = |i: usize| match i % 5 {
        0 => Some("x".repeat(3_000_000 + i)),
        1 => None,
        2 => Some("é".repeat(700_000)),
        _ => Some(format!("{i}")),
    };
    let metadata = check(&[column(23, value)], 9, Compression::SNAPPY);
    assert!(metadata.offset_index().unwrap()[1][0].page_locations().len() > 3);
}

/// Pages compressed piece by piece, with values that compress well or not at all, after a dictionary that saves space.
#[test]
fn values_of_many_megabytes_are_read_back_whatever_the_compression() {
    let noise: String = (0..900_000).map(|i| format!("{:08x}", scrambled(i) as u32)).collect();
    let value = |i: usize| match i {
        9_000 => Some("x".repeat(9 << 20)),
        9_500 => Some(noise.clone()),
        i if i % 7 == 0 => None,
        i => Some(format!("value {}", i % 10)),
    };
    for compression in [Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default()), Compression::UNCOMPRESSED] {
        let metadata = check(&[column(10_000, value)], 1000, compression);
        let sizes = metadata.row_groups().iter().map(|group| group.column(0).compressed_size()).sum::<i64>();
        assert!((3 << 20..20 << 20).contains(&sizes), "{compression}: {sizes}");
    }
}

#[test]
fn a_dictionary_costs_nothing_where_it_does_not_pay() {
    let unique = column(60_000, |i| Some(format!("{:x}", scrambled(i))));
    let metadata = check(&[unique], 1000, Compression::UNCOMPRESSED);
    assert!(metadata.row_group(0).column(0).dictionary_page_offset().is_none());
    let few = column(60_000, |i| Some(format!("{}", scrambled(i) % 10_000)));
    let metadata = check(&[few], 1000, Compression::UNCOMPRESSED);
    assert!(metadata.row_group(0).column(0).dictionary_page_offset().is_some());
}

#[test]
fn a_dictionary_is_kept_where_values_come_again_however_long_they_are() {
    let long = |i: usize| format!("{i:04}").repeat(500);
    let few_long = column(12_000, |i| Some(long(scrambled(i) as usize % 10)));
    let one_long = column(12_000, |_| Some(long(7)));
    let in_turns = column(60_000, |i| Some(format!("{:036}", i % 6_000)));
    for values in [few_long, one_long, in_turns] {
        let rows = values.len();
        let metadata = check(&[values], 1000, Compression::SNAPPY);
        let chunk = metadata.row_group(0).column(0);
        assert!(chunk.dictionary_page_offset().is_some());
        assert!((chunk.uncompressed_size() as usize) < 20 * rows, "{}", chunk.uncompressed_size());
    }
}

#[test]
fn values_that_collide_end_a_dictionary_wherever_they_stand() {
    let colliding = dictionary::colliding();
    let rows = 2 * colliding.len();
    for before in [0, 5, 25_000] {
        // With or without a finished page before, and with null rows between.
        let value = |row: usize| match row.checked_sub(before) {
            None => Some("often".to_owned()),
            Some(row) if row % 2 == 1 => colliding.get(row / 2).cloned(),
            Some(_) => None,
        };
        for rows_per_batch in [7, 1000, 50_000] {
            check(&[column(before + rows, value)], rows_per_batch, Compression::SNAPPY);
        }
    }
}

#[test]
fn long_runs_of_one_value_end_pages_too() {
    let text: ArrayRef = Arc::new(StringViewArray::from(vec!["long enough to be a view"; 70_001]));
    let batch = RecordBatch::try_from_iter_with_nullable([("k", text, true)]).unwrap();
    let (read, metadata) = read(encode(&[vec![batch.clone()]], Compression::SNAPPY));
    let expected = cast(batch.column(0), &DataType::Utf8).unwrap();
    assert_eq!(read.column(0), &expected);
    assert_eq!(metadata.offset_index().unwrap()[0][0].page_locations().len(), 4);
}

/// Writes one column with the encoder.
fn encode_column(values: Vec<Option<String>>) -> Vec<u8> {
    let array: ArrayRef = Arc::new(StringArray::from(values));
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap();
    encode(&[vec![batch]], Compression::UNCOMPRESSED)
}

#[test]
fn no_value_is_put_whole_into_the_footer() {
    for last in ['\u{7f}', '\u{7ff}', '\u{d7ff}', '\u{ffff}', '\u{10ffff}'] {
        let value = last.to_string().repeat(1 << 20);
        let file = encode_column(vec![Some(value.clone()), Some("a".to_owned()), None]);
        let footer = file.len() - value.len();
        assert!(footer < 2000, "{last:?}: {footer}");
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes::Bytes::from(file), options).unwrap();
        let metadata = reader.metadata().clone();
        let statistics = metadata.row_group(0).column(0).statistics().unwrap();
        assert_eq!(statistics.min_bytes_opt(), Some(b"a".as_slice()));
        let index = metadata.column_index().map(|groups| &groups[0][0]);
        if last == char::MAX {
            assert_eq!(statistics.max_bytes_opt(), None);
            assert!(matches!(index, None | Some(ColumnIndexMetaData::NONE)), "{index:?}");
        } else {
            let max = statistics.max_bytes_opt().unwrap();
            assert!(max > value.as_bytes() && max.len() <= 64 && !statistics.max_is_exact(), "{last:?}");
            let Some(ColumnIndexMetaData::BYTE_ARRAY(index)) = index else { panic!("no column index") };
            assert!(index.max_value(0).unwrap() > value.as_bytes());
        }
        let batches: Vec<_> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
        assert_eq!(batches[0].column(0).as_string::<i32>().value(0), value);
    }
}

#[test]
fn the_order_of_pages_is_that_of_the_bounds_that_stand_in_the_index() {
    let start = "a".repeat(62);
    // The second one is larger, but has to be truncated before its last character.
    let minima = [format!("{start}zz"), format!("{start}\u{10000}")];
    let large = ["b", "c"].map(|letter| letter.repeat(1 << 20));
    let values = minima.into_iter().zip(large).flat_map(|(min, max)| [Some(min), Some(max)]);
    let (_, metadata) = read(encode_column(values.collect()));
    let ColumnIndexMetaData::BYTE_ARRAY(index) = &metadata.column_index().unwrap()[0][0] else { panic!("no index") };
    assert_eq!(index.num_pages(), 2);
    assert_eq!(index.min_value(1), Some(start.as_bytes()));
    let order = metadata.column_index().unwrap()[0][0].get_boundary_order();
    assert_eq!(order, Some(BoundaryOrder::UNORDERED));
}

fn values() -> impl Strategy<Value = Values> {
    let value = prop_oneof![
        3 => Just(None),
        3 => "[ab]{0,3}".prop_map(Some),
        2 => "[a-zé\u{10ffff}]{0,80}".prop_map(Some),
        1 => (0usize..20_000).prop_map(|n| Some("z".repeat(n))),
    ];
    prop::collection::vec(value, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_values_are_read_back(values in values(), copies in 1usize..60, rows_per_batch in 1usize..3000) {
        let column: Values = values.iter().cycle().take(values.len() * copies).cloned().collect();
        check(&[column], rows_per_batch, Compression::SNAPPY);
    }
}

/// Rows of a batch whose columns after the first are added ones.
fn late_of(batch: &RecordBatch) -> Rows {
    let late = batch.schema().fields()[1..].iter().map(|field| field.name().clone()).collect();
    Rows { late, ..Rows::from_batch(batch).unwrap() }
}

/// Writes row groups whose batches have added columns, and settles the columns of the file to these names, in order.
fn encode_late(groups: &[Vec<RecordBatch>], settled: &[&str]) -> Vec<u8> {
    let known = Arc::new(groups[0][0].schema().project(&[0]).unwrap());
    let shared = Arc::new(RowGroups::new(known, properties(Compression::SNAPPY)).unwrap());
    let (mut file, mut late) = (shared.start_file(Vec::new()).unwrap(), AddedColumns::default());
    let mut encoder = RowGroupEncoder::new(shared.clone()).unwrap();
    for (number, group) in groups.iter().enumerate() {
        group.iter().for_each(|batch| encoder.write(&late_of(batch)).unwrap());
        let encoded = encoder.close().unwrap();
        let mut writer = file.next_row_group().unwrap();
        encoded.chunks.into_iter().for_each(|chunk| chunk.append_to(&mut writer).unwrap());
        writer.close().unwrap();
        late.append(encoded.late, number, &mut file).unwrap();
    }
    let rows: Vec<_> = file.flushed_row_groups().iter().map(|group| group.num_rows()).collect();
    let footer = late.finish(&rows, &mut file).unwrap();
    let names = [vec![groups[0][0].schema().field(0).name().clone()], names_in(&footer).unwrap()].concat();
    let place =
        |name: &&str| names.iter().position(|found| found == name).map_or(Place::Nowhere(name.to_string()), Place::At);
    let places: Vec<_> = settled.iter().map(place).collect();
    let file = file.into_inner().unwrap();
    let (body, tail) = file.split_at(4);
    let tail = Tail { file: 0, offset: body.len() as u64, bytes: tail };
    let reported = (rows.iter().sum::<i64>() as u64, rows.len() as u64);
    [body, &settle_columns(&tail, &footer, &places, reported).unwrap()].concat()
}

#[test]
fn a_column_that_turns_up_may_have_no_column_index() {
    // The largest possible text, which is too long for an index.
    let large = char::MAX.to_string().repeat(1000);
    let texts = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
    let columns = [("known", texts(vec![Some("a"), Some("b")])), ("x", texts(vec![None, Some(&large)]))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = bytes::Bytes::from(encode_late(&[vec![batch.clone()]], &["known", "x"]));
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let chunk = reader.metadata().row_group(0).column(1).clone();
    assert!(chunk.column_index_offset().is_none() && chunk.offset_index_offset().is_some());
    let read: Vec<_> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
    assert_eq!(read[0].column(1), batch.column(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn columns_that_turn_up_are_read_back(
        seed in values(),
        copies in 1usize..60,
        rows_per_batch in 1usize..3000,
        first in prop::collection::vec(0.0f64..1.3, 3),
        batches_per_group in 1usize..40,
    ) {
        // Each added column has values from a random row on, which may be beyond the end; batches contain it from then
        // on, in any order.
        let values: Values = seed.iter().cycle().take(seed.len() * copies).cloned().collect();
        let starts: Vec<usize> = first.iter().map(|share| (share * values.len() as f64) as usize).collect();
        let late: Vec<Values> = starts.iter().map(|start| {
            column(values.len(), |row| values[row].clone().filter(|_| row >= *start && (row + start) % 3 > 0))
        }).collect();
        let batch = |from: usize| {
            let to = values.len().min(from + rows_per_batch);
            let array = |column: &Values| Arc::new(StringArray::from(column[from..to].to_vec())) as ArrayRef;
            let mut columns = vec![("known", array(&values), true)];
            let mut here: Vec<_> = (0..3).filter(|at| starts[*at] < to).collect();
            let turn = from % here.len().max(1);
            here.rotate_left(turn);
            columns.extend(here.into_iter().map(|at| (["x", "y", "z"][at], array(&late[at]), true)));
            RecordBatch::try_from_iter_with_nullable(columns).unwrap()
        };
        let batches: Vec<_> = (0..values.len()).step_by(rows_per_batch).map(batch).collect();
        let groups: Vec<_> = batches.chunks(batches_per_group).map(<[_]>::to_vec).collect();
        let (read, metadata) = read(encode_late(&groups, &["z", "never", "x", "known", "y"]));
        let never = column(values.len(), |_| None);
        for (at, expected) in [&late[2], &never, &late[0], &values, &late[1]].into_iter().enumerate() {
            prop_assert_eq!(read.column(at).as_string::<i32>(), &StringArray::from(expected.clone()));
            let nulls = |statistics: Option<&Statistics>| statistics.and_then(Statistics::null_count_opt);
            let counted: u64 = metadata.row_groups().iter().filter_map(|group| nulls(group.column(at).statistics())).sum();
            prop_assert_eq!(counted, expected.iter().filter(|value| value.is_none()).count() as u64);
        }
        check_page_index(&metadata, &[late[2].clone(), never, late[0].clone(), values.clone(), late[1].clone()]);
        for group in metadata.row_groups() {
            prop_assert_eq!(group.total_byte_size(), group.columns().iter().map(|c| c.uncompressed_size()).sum::<i64>());
        }
    }
}
