//! Reading of a few lines from files, to learn their columns and sample their rows.

use super::threads;
use millwork_manifest::{Compression, Failure, FileFault};
use millwork_ndjson::{
    ColumnNames, Content, FileRange, FileScan, InMemory, Input, InputError, KeyIndex, Limits, NewKey, OtherFormat,
    RejectSink, RowSource, Rows, ScanContext, ScanError, Words, failure_of_scan, fault_of_scan, learn_keys, open_start,
};
use millwork_storage::{Storage, bucket_and_key};
use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::sync::Arc;

/// Bytes of content read from a file to learn its columns: 64 KiB.
const FIRST_BLOCK_BYTES: usize = 64 << 10;
/// Limit of what is read where the first line is longer than that: 4 MiB.
const MAX_FIRST_BLOCK_BYTES: usize = 4 << 20;
/// Divisor of the input size that gives the size of the sample, which is converted in trial, within the bounds below.
/// The sample comes from places all over the input.
const SAMPLE_SHARE: u64 = 200;
const MIN_SAMPLE_BYTES: u64 = 4 << 20;
const MAX_SAMPLE_BYTES: u64 = 24 << 20;
/// Limit of the number of places that the sample comes from.
const SAMPLE_PLACES: usize = 64;
/// Every eighth sampled place accepts a line of up to 4 MiB; the others only lines within their share of the largest
/// sample.
const LONG_LINES_EVERY: usize = 8;
/// Limit of the cells (rows times columns) in half of a sample. A cell takes nearly 200 bytes, even if empty, so that
/// many short lines in many columns would take a thousand times their size as text.
const MAX_SAMPLE_CELLS: usize = 1_000_000;
/// Number of files in a bucket, over all threads, whose requests are sent ahead of reading.
const OPEN_AHEAD: usize = 64;

/// Plan to read the first lines of a range.
#[derive(Clone, Debug)]
pub(super) struct Look {
    range: FileRange,
    /// Bytes to read, and the limit up to which more is read while they hold no whole line.
    bytes: usize,
    max_bytes: usize,
    /// Limit of the sampled lines in bytes: a sample with more is dropped. `None` if the lines serve only to learn
    /// columns.
    sample_bytes: Option<usize>,
}

/// Plans which lines to read: at the start of each file to learn its columns, and at places all over the manifest to
/// sample its rows. `is_wanted` selects among them: its argument is true for a sampled place.
pub(super) fn looks(ranges: &[FileRange], is_wanted: impl Fn(bool) -> bool) -> Vec<Look> {
    let step = ranges.len().div_ceil(SAMPLE_PLACES).max(1);
    let places = ranges.len().div_ceil(step).max(1);
    let input: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let share = (input / SAMPLE_SHARE).clamp(MIN_SAMPLE_BYTES, MAX_SAMPLE_BYTES) as usize / places;
    let largest_share = MAX_SAMPLE_BYTES as usize / places;
    let mut looks = Vec::new();
    for (number, range) in ranges.iter().enumerate() {
        let place = number / step;
        let place = (number == sampled(place, step, ranges.len())).then_some(place);
        let sample_bytes = place.map(|place| match place.is_multiple_of(LONG_LINES_EVERY) {
            true => largest_share.max(MAX_FIRST_BLOCK_BYTES),
            false => largest_share,
        });
        let max_bytes = if range.start == 0 { Some(MAX_FIRST_BLOCK_BYTES) } else { sample_bytes };
        if let Some(max_bytes) = max_bytes.filter(|_| is_wanted(place.is_some())) {
            let bytes = if sample_bytes.is_some() { share.max(FIRST_BLOCK_BYTES) } else { FIRST_BLOCK_BYTES };
            looks.push(Look { range: range.clone(), bytes, max_bytes, sample_bytes });
        }
    }
    looks
}

/// The range that represents a place: pseudo-random within each `step` ranges, since files of different kinds may
/// alternate regularly.
pub(super) fn sampled(place: usize, step: usize, ranges: usize) -> usize {
    let turn = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (place * step + turn as usize % step).min(ranges - 1)
}

/// Results of reading lines from files.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) samples: Vec<Sample>,
    /// Keys of all lines that were read.
    pub(super) keys: Vec<NewKey>,
    /// Files that cannot be converted.
    pub(super) faults: Vec<FileFault>,
}

/// Reads the planned lines. In buckets, several ranges are opened ahead.
pub(super) fn look(
    storage: &Storage,
    looks: &[Look],
    (names, wanted): (ColumnNames, Option<Words>),
    limits: &Limits,
) -> Result<Seen, Failure> {
    let mut index = KeyIndex::learning(names).only(wanted);
    let (mut opened, mut samples, mut faults) = (VecDeque::new(), Vec::new(), Vec::new());
    // A local file opens at once, so that none is opened ahead.
    let is_remote = looks.iter().any(|look| bucket_and_key(&look.range.uri).is_some());
    let open_ahead = if is_remote { OPEN_AHEAD.div_ceil(threads()) } else { 1 };
    for (number, look) in looks.iter().enumerate() {
        let ahead = looks[number + opened.len()..].iter().take(open_ahead - opened.len());
        opened.extend(ahead.map(|look| look.open(storage, limits)));
        let Some(input) = opened.pop_front() else { break };
        let mut seen = match input.and_then(|input| look.lines(input)).map_err(ScanError::from) {
            Ok(seen) => seen,
            Err(error) => {
                faults.push(fault_of_scan(&error).ok_or_else(|| failure_of_scan(&error))?);
                continue;
            }
        };
        learn_keys(&mut index, &seen.range, seen.range.start, &seen.lines).map_err(|e| failure_of_scan(&e))?;
        if let Some(most) = look.sample_bytes {
            if seen.lines.len() > most {
                (seen.lines, seen.stored_bytes) = (Vec::new(), 0);
            }
            samples.push(seen);
        }
    }
    Ok(Seen { samples, keys: index.seen_keys().collect(), faults })
}

impl Look {
    /// The number of the file in the manifest.
    pub(super) fn file(&self) -> u32 {
        self.range.file
    }

    fn open(&self, storage: &Storage, limits: &Limits) -> Result<Input, InputError> {
        open_start(storage, &self.range, limits, self.bytes as u64)
    }

    /// Reads the whole lines within the first bytes.
    fn lines(&self, mut input: Input) -> Result<Sample, InputError> {
        let (mut wanted, mut lines) = (self.bytes, Vec::new());
        loop {
            let missing = (wanted - lines.len()) as u64;
            // Reserves no more than an uncompressed file can have; compressed content grows the buffer as needed.
            let stored = (self.range.end - self.range.start).max(FIRST_BLOCK_BYTES as u64);
            lines.reserve_exact(missing.min(stored) as usize);
            let read = Read::by_ref(&mut input).take(missing).read_to_end(&mut lines).map_err(|e| input.explain(e))?;
            let is_end = (read as u64) < missing;
            if let Some(newline) = memchr::memrchr(b'\n', &lines).filter(|_| !is_end) {
                lines.truncate(newline + 1);
            } else if !is_end && wanted < self.max_bytes {
                wanted = (wanted * 4).min(self.max_bytes);
                continue;
            } else if !is_end {
                lines = Vec::new();
            } else if lines.last().is_some_and(|last| *last != b'\n') {
                lines.push(b'\n');
            }
            // A file of another format has no rows, whatever its lines look like.
            if self.range.start == 0 && OtherFormat::of(&lines).is_some() {
                lines.clear();
            }
            lines.shrink_to_fit();
            return Ok(Sample { range: self.range.clone(), lines, stored_bytes: input.stored_bytes() });
        }
    }
}

/// The first lines of a range.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) range: FileRange,
    pub(super) lines: Vec<u8>,
    /// Stored bytes that were read for the sampled lines.
    stored_bytes: u64,
}

/// Bytes of content per stored byte, by compression.
pub(super) fn expansion(blocks: &[Sample]) -> HashMap<Compression, f64> {
    let mut sums: HashMap<Compression, (u64, u64)> = HashMap::new();
    for block in blocks {
        let sum = sums.entry(block.range.compression).or_default();
        sum.0 += block.lines.len() as u64;
        sum.1 += block.stored_bytes;
    }
    sums.into_iter()
        .map(|(compression, (content, stored))| (compression, content as f64 / stored.max(1) as f64))
        .collect()
}

/// Scans the first or the second half of the lines of each sample.
pub(super) fn sample_half(sample: &[&Sample], wanted: usize, rows: &RowSource) -> SampleHalf {
    let trial = Arc::new(RowSource { staging: None, max_late_columns: 0, ..rows.clone() });
    let mut context = ScanContext::new(trial, RejectSink::nowhere());
    let (mut half, mut cells) = (SampleHalf::default(), 0);
    for (number, Sample { range, lines, .. }) in sample.iter().enumerate() {
        // Each place contributes to both halves, so that they are alike.
        let middle = memchr::memchr(b'\n', &lines[lines.len() / 2..]).map_or(0, |at| lines.len() / 2 + at + 1);
        let (first, second) = lines.split_at(middle);
        let part = if (number + wanted).is_multiple_of(2) { first } else { second };
        if cells > MAX_SAMPLE_CELLS {
            break;
        }
        let mut scan = FileScan::new(&context, range, InMemory::new(part));
        // Defects of the data are left to the real scan, which reports them.
        while let Ok(Some(rows)) = scan.next_rows(&mut context) {
            cells += rows.columns.len();
            half.rows.push(rows);
            if cells > MAX_SAMPLE_CELLS {
                break;
            }
        }
        half.content_bytes += scan.content_bytes();
    }
    half
}

/// Rows of one half of a sample.
#[derive(Default)]
pub(crate) struct SampleHalf {
    pub(crate) rows: Vec<Rows>,
    /// Size of the content that the rows came from, in bytes.
    pub(crate) content_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::files::tests::{file, line};

    /// The lines that are read from a range.
    fn seen(range: &FileRange, max_bytes: usize) -> Vec<u8> {
        let look = Look { range: range.clone(), bytes: 64 << 10, max_bytes, sample_bytes: None };
        look.lines(look.open(&Storage::default(), &Limits::default()).unwrap()).unwrap().lines
    }

    #[test]
    fn a_sample_of_short_lines_in_many_columns_takes_bounded_memory() {
        let keys: Vec<String> = (0..20_000).map(|key| format!("k{key}")).collect();
        let layout = millwork_ndjson::ColumnLayout::new(keys);
        let rows = RowSource {
            manifest_id: "test".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            ingested_at: chrono::DateTime::UNIX_EPOCH,
            names: ColumnNames::Exact,
            output: RowSource::all_columns(&layout),
            layout,
            max_late_columns: 0,
            ignores_others: false,
            limits: Limits::default(),
            plan: 0,
            staging: None,
        };
        let (_root, range) = file(b"{}\n");
        let sample = |lines: Vec<u8>| Sample { range: range.clone(), lines, stored_bytes: 0 };
        let (many, few) = (sample(b"{}\n".repeat(1 << 20)), sample(b"{\"k1\":1}\n".repeat(1000)));
        let half = sample_half(&[&few, &many, &few], 0, &rows);
        let cells: usize = half.rows.iter().map(|rows| rows.columns.len()).sum();
        assert!((MAX_SAMPLE_CELLS..MAX_SAMPLE_CELLS + 30_000).contains(&cells), "{cells}");
        // The content size is roughly that of these rows.
        let lines: usize = half.rows.iter().map(Rows::len).sum();
        assert!((lines as u64 * 3..lines as u64 * 3 + 10_000).contains(&half.content_bytes), "{}", half.content_bytes);
        let half = sample_half(&[&few, &few], 0, &rows);
        let lines: usize = half.rows.iter().map(Rows::len).sum();
        assert_eq!((half.content_bytes, lines), (9000, 1000));
    }

    #[test]
    fn a_look_ends_at_its_limit_and_keeps_no_more_than_lines() {
        let (_root, range) = file(&[line(1 << 20), line(10)].concat());
        let lines = seen(&range, 384 << 10);
        assert_eq!((lines.len(), lines.capacity()), (0, 0));
        assert_eq!(seen(&range, 2 << 20).len(), 1 << 20);
        let (_root, range) = file(&[line(100), line(1 << 20)].concat());
        let lines = seen(&range, 384 << 10);
        assert!(lines.len() == 100 && lines.capacity() < 200);
    }

    #[test]
    fn every_file_is_looked_at_and_some_places_are_sampled() {
        let range = |file: u32, start: u64, end: u64| FileRange {
            file,
            uri: "/a".parse().unwrap(),
            inside: None,
            etag: String::new(),
            size_bytes: 2000,
            start,
            end,
            compression: Compression::None,
            lines_before: 0,
        };
        let wholes: Vec<_> = (0..100).map(|file| range(file, 0, 2000)).collect();
        let seen = looks(&wholes, |_| true);
        assert_eq!(seen.iter().map(|look| look.range.file).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert!(seen.iter().all(|look| look.max_bytes == MAX_FIRST_BLOCK_BYTES));
        let sampled: Vec<_> = seen.iter().filter(|look| look.sample_bytes.is_some()).collect();
        assert_eq!(sampled.len(), 50);
        assert!(sampled.iter().all(|look| look.bytes == MIN_SAMPLE_BYTES as usize / 50));
        // A file in several ranges is read at its start, and at sampled places in the middle.
        let parts: Vec<_> = (0..100).map(|part| range(0, part * 20, part * 20 + 20)).collect();
        let seen = looks(&parts, |_| true);
        let places: Vec<_> = seen.iter().map(|look| look.range.start / 40).collect();
        assert_eq!(places, (0..50).collect::<Vec<_>>());
        assert_eq!(seen[0].range.start, 0);
        let odd = seen.iter().filter(|look| look.range.start % 40 == 20).count();
        assert!((10..40).contains(&odd), "{odd}");
        // The whole sample may come from one large file.
        let seen = looks(&[range(0, 0, 2 << 30)], |_| true);
        assert!(seen[0].sample_bytes >= Some(seen[0].bytes), "{seen:?}");
        assert!(looks(&[], |_| true).is_empty());
    }
}
