//! What has to be known of a manifest's files before an attempt can be planned: that they are there and unchanged,
//! which columns their first lines have, where the lines of large files start, and how small the rows will get.

use crate::ndjson::METADATA_COLUMNS;
use crate::ndjson::{
    Blocks, ColumnLayout, ColumnNames, Content, FileScan, InMemory, Input, InputError, KeyIndex, MAX_COLUMNS, NewKey,
    Next, Position, RawPlaces, RejectSink, ScanContext, ScanError, Scanned, open_range, open_start, scan_fields,
};
use crate::report::failure_of_scan;
use crate::source::{FileRange, RowSource};
use datafusion::arrow::array::RecordBatch;
use millwork_manifest::{Compression, Failure, FailureClass, Manifest, ManifestFile, ObjectUri};
use millwork_storage::{StorageError, bucket_and_key, heads_blocking};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Files above this size are read in ranges of about this size.
pub(crate) const SPLIT_BYTES: u64 = 16 << 20;
/// How much of each file is looked at for its columns.
const FIRST_BLOCK_BYTES: usize = 64 << 10;
/// How far a look goes where the first line is longer than what is looked at.
const MAX_FIRST_BLOCK_BYTES: usize = 4 << 20;
/// How much content is converted in trial: this share of the input, within bounds, from places all over it.
const SAMPLE_SHARE: u64 = 200;
const MIN_SAMPLE_BYTES: u64 = 4 << 20;
const MAX_SAMPLE_BYTES: u64 = 24 << 20;
/// From how many places.
const SAMPLE_PLACES: usize = 64;
/// One of so many places gives a line of any length that is looked at; others, lines within their share of the largest sample.
const LONG_LINES_EVERY: usize = 8;
/// How many files of a bucket are open ahead of those that are looked at: their requests are on their way.
const OPEN_AHEAD: usize = 64;

/// What is known of a manifest's files.
#[derive(Debug)]
pub struct Survey {
    /// Every file's ranges, in order.
    pub(crate) ranges: Vec<FileRange>,
    /// The files with their stored sizes.
    pub files: Vec<(String, u64)>,
    /// The columns seen.
    columns: Columns,
    /// Lines from places all over the manifest, until the rate of output is known.
    sample: Mutex<Vec<Sample>>,
    rate: OnceCell<OutputRate>,
    /// Bytes of content for each stored byte, by compression.
    expansion: HashMap<Compression, f64>,
}

/// How much output there is for some content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputRate {
    /// Bytes for each byte of content.
    pub(crate) ratio: f64,
    /// Bytes that a row group has beyond that: dictionaries, and its part of the footer.
    pub(crate) row_group_bytes: f64,
}

/// The first lines of a range.
#[derive(Clone, Debug)]
struct Sample {
    range: FileRange,
    lines: Vec<u8>,
    /// Stored bytes that were read for them.
    stored_bytes: u64,
}

/// Looks at every file of a manifest, on as many threads as there are cores.
pub async fn survey(manifest: &Manifest, names: ColumnNames) -> Result<Survey, Failure> {
    let files: Vec<(u32, ManifestFile)> = (0..).zip(manifest.files.iter().cloned()).collect();
    let mut wholes = Vec::with_capacity(files.len());
    // A large file is read whole to be cut: all must be known to be there before.
    let is_any_large = manifest.files.iter().any(|file| file.size_bytes.is_some_and(|size| size > SPLIT_BYTES));
    for checked in on_all_cores(files, move |files| check(files, is_any_large)).await? {
        wholes.extend(checked?);
    }
    let mut ranges = Vec::with_capacity(wholes.len());
    for file in &wholes {
        match is_to_be_split(file) {
            true => ranges.extend(split_at_lines(file).await?),
            false => ranges.push(file.clone()),
        }
    }
    let (mut sample, mut keys) = (Vec::new(), HashMap::new());
    for looked in on_all_cores(looks(&ranges, &wholes), move |looks| look(looks, names)).await? {
        let (samples, new_keys) = looked?;
        sample.extend(samples);
        merge_keys(&mut keys, new_keys);
    }
    let files: Vec<_> = wholes.iter().map(|file| (file.uri.to_string(), file.end)).collect();
    let columns = Columns::of(keys, &files)?;
    let expansion = expansion(&sample);
    Ok(Survey { ranges, files, columns, sample: sample.into(), rate: OnceCell::new(), expansion })
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Works on as many parts of a list as there are cores. Returns what comes of each, in order.
async fn on_all_cores<T: Clone + Send + 'static, R: Send + 'static>(
    items: Vec<T>,
    work: impl Fn(&[T]) -> R + Clone + Send + 'static,
) -> Result<Vec<R>, Failure> {
    let threads = threads();
    let parts = items.chunks(items.len().div_ceil(threads).max(1)).map(|part| {
        let (part, work) = (part.to_vec(), work.clone());
        tokio::task::spawn_blocking(move || work(&part))
    });
    let done = futures::future::join_all(parts).await.into_iter();
    done.map(|part| part.map_err(|e| Failure::new(FailureClass::Bug, e))).collect()
}

/// A look at the start of a range.
#[derive(Clone)]
struct Look {
    range: FileRange,
    /// How much is looked at, and how far it goes where that is not even one line.
    bytes: usize,
    max_bytes: usize,
    /// The size of the file, if this is its start.
    size_bytes: Option<u64>,
    /// If the lines are to be converted in trial: unless they are more than this.
    sample_bytes: Option<usize>,
}

/// What is to be looked at: the start of each file for its columns, and places all over the manifest for what its rows are like.
fn looks(ranges: &[FileRange], wholes: &[FileRange]) -> Vec<Look> {
    let step = ranges.len().div_ceil(SAMPLE_PLACES).max(1);
    let places = ranges.len().div_ceil(step).max(1);
    let input: u64 = wholes.iter().map(|file| file.end).sum();
    let share = (input / SAMPLE_SHARE).clamp(MIN_SAMPLE_BYTES, MAX_SAMPLE_BYTES) as usize / places;
    let largest_share = MAX_SAMPLE_BYTES as usize / places;
    let mut looks = Vec::with_capacity(wholes.len());
    for (number, range) in ranges.iter().enumerate() {
        let place = number.is_multiple_of(step).then_some(number / step);
        let sample_bytes = place.map(|place| match place.is_multiple_of(LONG_LINES_EVERY) {
            true => MAX_FIRST_BLOCK_BYTES,
            false => largest_share,
        });
        let size_bytes = wholes.get(range.file as usize).filter(|_| range.start == 0).map(|file| file.end);
        let max_bytes = if size_bytes.is_some() { Some(MAX_FIRST_BLOCK_BYTES) } else { sample_bytes };
        if let Some(max_bytes) = max_bytes {
            let bytes = if sample_bytes.is_some() { share.max(FIRST_BLOCK_BYTES) } else { FIRST_BLOCK_BYTES };
            looks.push(Look { range: range.clone(), bytes, max_bytes, size_bytes, sample_bytes });
        }
    }
    looks
}

/// Looks at ranges, some of which are open ahead. Returns the samples, and the keys of all lines.
fn look(looks: &[Look], names: ColumnNames) -> Result<(Vec<Sample>, Vec<NewKey>), Failure> {
    let mut index = KeyIndex::learning(names);
    let (mut opened, mut samples) = (VecDeque::new(), Vec::new());
    // A local file is opened in no time.
    let is_remote = looks.iter().any(|look| bucket_and_key(&look.range.uri).is_some());
    let open_ahead = if is_remote { OPEN_AHEAD.div_ceil(threads()) } else { 1 };
    for (number, look) in looks.iter().enumerate() {
        let ahead = looks[number + opened.len()..].iter().take(open_ahead - opened.len());
        opened.extend(ahead.map(Look::open));
        let Some(input) = opened.pop_front() else { break };
        let mut seen = input.and_then(|input| look.lines(input)).map_err(|e| match e {
            InputError::Changed(uri) if look.size_bytes.is_some() => changed(&uri),
            e => failure_of_scan(&e.into()),
        })?;
        learn_keys(&mut index, &seen.range, seen.range.start, &seen.lines)?;
        if let Some(most) = look.sample_bytes {
            if seen.lines.len() > most {
                (seen.lines, seen.stored_bytes) = (Vec::new(), 0);
            }
            samples.push(seen);
        }
    }
    Ok((samples, index.seen_keys().collect()))
}

impl Look {
    fn open(&self) -> Result<Input, InputError> {
        let Self { range, bytes, size_bytes, .. } = self;
        let all = range.start..range.end;
        open_start(&range.uri, &range.etag, all, range.compression, *bytes as u64, *size_bytes)
    }

    /// The lines that the first bytes hold whole.
    fn lines(&self, mut input: Input) -> Result<Sample, InputError> {
        let (mut wanted, mut lines) = (self.bytes, Vec::new());
        loop {
            let missing = (wanted - lines.len()) as u64;
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
            lines.shrink_to_fit();
            return Ok(Sample { range: self.range.clone(), lines, stored_bytes: input.stored_bytes() });
        }
    }
}

fn is_to_be_split(range: &FileRange) -> bool {
    range.compression.is_splittable() && range.end > SPLIT_BYTES * 3 / 2
}

/// Adds keys, each with its first place.
pub(crate) fn merge_keys(into: &mut HashMap<String, Position>, keys: impl IntoIterator<Item = NewKey>) {
    for NewKey { key, at } in keys {
        let first = into.entry(key).or_insert(at);
        *first = at.min(*first);
    }
}

/// Keys in order of first appearance.
pub(crate) fn in_order(keys: HashMap<String, Position>) -> Vec<NewKey> {
    let mut keys: Vec<_> = keys.into_iter().map(|(key, at)| NewKey { key, at }).collect();
    keys.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
    keys
}

/// The wholes of files, if they are still what the manifest lists. Where an object will be read on the condition that it is, that is
/// not asked before.
fn check(files: &[(u32, ManifestFile)], is_any_large: bool) -> Result<Vec<FileRange>, Failure> {
    let is_known = |file: &ManifestFile| {
        let has_etag = file.etag.as_ref().is_some_and(|etag| !etag.is_empty());
        let is_object = bucket_and_key(&file.uri).is_some();
        !is_any_large && is_object && has_etag && file.size_bytes.is_some_and(|size| size > 0)
    };
    let unknown = files.iter().map(|(_, file)| file).filter(|file| !is_known(file));
    let objects = heads_blocking(unknown.map(|file| file.uri.clone()).collect());
    let mut objects = objects.map_err(|e| failure_of_scan(&InputError::Unreadable(e).into()))?.into_iter();
    let check = |(number, file): &(u32, ManifestFile)| {
        let input = |message: String| Failure::new(FailureClass::Input, message).of_file(&file.uri);
        let Some(compression) = Compression::of_key(file.uri.as_str()) else {
            return Err(input(format!("input file `{}` is not .ndjson, .ndjson.gz or .ndjson.zst", file.uri)));
        };
        let object = if is_known(file) { None } else { objects.next() }.transpose();
        let object = object.map_err(|e: StorageError| match e.is_not_found() {
            true => failure_of_scan(&InputError::Missing(file.uri.clone()).into()),
            false => failure_of_scan(&InputError::Unreadable(e).into()),
        })?;
        let (etag, size) = match object {
            None => (file.etag.clone().unwrap_or_default(), file.size_bytes.unwrap_or_default()),
            Some(object) => {
                if let Some(size) = file.size_bytes.filter(|size| *size != object.size_bytes) {
                    let found = object.size_bytes;
                    let message = format!("changed: {found} bytes, the manifest says {size}");
                    return Err(input(format!("input file `{}` {message}", file.uri)));
                }
                if file.etag.as_ref().is_some_and(|etag| *etag != object.etag) {
                    return Err(changed(&file.uri));
                }
                (object.etag, object.size_bytes)
            }
        };
        let uri = file.uri.clone();
        Ok(FileRange { file: *number, uri, etag, start: 0, end: size, compression, lines_before: 0 })
    };
    files.iter().map(check).collect()
}

fn changed(uri: &ObjectUri) -> Failure {
    let message = format!("input file `{uri}` changed: it is not the one the manifest lists");
    Failure::new(FailureClass::Input, message).of_file(uri)
}

/// Notes the keys of whole lines, the first of which stands at `offset` of the file's content.
pub(crate) fn learn_keys(index: &mut KeyIndex, range: &FileRange, offset: u64, lines: &[u8]) -> Result<(), Failure> {
    let mut fields = Vec::new();
    let text = match simdutf8::basic::from_utf8(lines) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(lines),
    };
    let mut places = RawPlaces::new(lines);
    let bytes = text.as_bytes();
    let mut start = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while start < bytes.len() {
        let newline = start + memchr::memchr(b'\n', &bytes[start..]).unwrap_or(bytes.len() - start);
        if let Ok((Scanned::Object, _)) = scan_fields(bytes, start, &mut fields, index) {
            let position = |at| Position { file: range.file, offset: offset + places.of(at) };
            index.settle(bytes, &mut fields, &mut 0, position);
            if index.has_too_many_columns() {
                return Err(failure_of_scan(&ScanError::TooManyColumns(range.uri.to_string())));
            }
        }
        start = newline + 1;
    }
    Ok(())
}

/// The keys of every line of some ranges.
fn keys_of(ranges: &[FileRange], names: ColumnNames) -> Result<Vec<NewKey>, Failure> {
    let fail = |e: InputError| failure_of_scan(&e.into());
    let mut index = KeyIndex::learning(names);
    for range in ranges {
        let input = open_range(&range.uri, &range.etag, range.start..range.end, range.compression).map_err(fail)?;
        let mut blocks = Blocks::new(input, range.start);
        loop {
            match blocks.next().map_err(|e| fail(blocks.input().explain(e)))? {
                Next::End => break,
                Next::Lines => learn_keys(&mut index, range, blocks.offset(), blocks.lines())?,
                Next::LongLine => {
                    let skipped = blocks.skip_long_line(|_| Ok::<_, io::Error>(()));
                    skipped.map_err(|e| fail(blocks.input().explain(e)))?;
                }
            }
        }
    }
    Ok(index.seen_keys().collect())
}

fn expansion(blocks: &[Sample]) -> HashMap<Compression, f64> {
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

/// The ranges of a large file, cut where lines start, each with the number of lines before it.
async fn split_at_lines(file: &FileRange) -> Result<Vec<FileRange>, Failure> {
    let windows: Vec<u64> = (0..file.end.div_ceil(SPLIT_BYTES)).map(|i| i * SPLIT_BYTES).collect();
    let count = |start: u64| {
        let file = file.clone();
        tokio::task::spawn_blocking(move || count_newlines(&file, start))
    };
    let mut ranges: Vec<FileRange> = vec![file.clone()];
    let mut lines = 0;
    let threads = threads();
    for batch in windows.chunks(threads) {
        let counts = futures::future::join_all(batch.iter().map(|start| count(*start))).await;
        for (start, counted) in batch.iter().zip(counts) {
            let (newlines, first) =
                counted.map_err(|e| Failure::new(FailureClass::Bug, e))?.map_err(|e| failure_of_scan(&e.into()))?;
            if let (Some(first), true) = (first.filter(|first| first + 1 < file.end), *start > 0) {
                let next = FileRange { start: first + 1, lines_before: lines + 1, ..file.clone() };
                if let Some(last) = ranges.last_mut() {
                    last.end = next.start;
                }
                ranges.push(next);
            }
            lines += newlines;
        }
    }
    Ok(ranges)
}

/// Counts the newlines of a window of a file, and finds the first.
///
/// The windows start one byte early, so that a line that starts right at a multiple of the split size is found by the
/// newline before it.
fn count_newlines(file: &FileRange, start: u64) -> Result<(u64, Option<u64>), InputError> {
    let (from, to) = (start.saturating_sub(1), (start + SPLIT_BYTES).min(file.end + 1) - 1);
    let mut input = open_range(&file.uri, &file.etag, from..to, Compression::None)?;
    let mut buffer = vec![0; 256 << 10];
    let (mut newlines, mut first, mut at) = (0, None, from);
    loop {
        let read = input.read(&mut buffer).map_err(|e| input.explain(e))?;
        if read == 0 {
            return Ok((newlines, first));
        }
        let block = &buffer[..read];
        if first.is_none() {
            first = memchr::memchr(b'\n', block).map(|newline| at + newline as u64);
        }
        newlines += memchr::memchr_iter(b'\n', block).count() as u64;
        at += read as u64;
    }
}

impl Survey {
    /// The columns of the first attempt.
    pub fn columns(&self) -> Columns {
        self.columns.clone()
    }

    /// The columns of every line, from a pass over all of the input: for a query that names one which samples lack.
    pub async fn all_columns(&self, names: ColumnNames) -> Result<Columns, Failure> {
        let threads = threads();
        let chunks = self.ranges.chunks(self.ranges.len().div_ceil(threads).max(1)).map(|ranges| {
            let ranges = ranges.to_vec();
            tokio::task::spawn_blocking(move || keys_of(&ranges, names))
        });
        let mut keys = HashMap::new();
        for chunk in futures::future::join_all(chunks).await {
            merge_keys(&mut keys, chunk.map_err(|e| Failure::new(FailureClass::Bug, e))??);
        }
        Columns::of(keys, &self.files)
    }

    /// The rate of output, found out from the sample once, which is given up then.
    pub(crate) async fn rate<F>(&self, find: impl FnOnce() -> F) -> Result<OutputRate, Failure>
    where
        F: Future<Output = Result<OutputRate, Failure>>,
    {
        let rate = *self.rate.get_or_try_init(find).await?;
        self.sample().clear();
        self.sample().shrink_to_fit();
        Ok(rate)
    }

    fn sample(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines from all over the manifest, as record batches of all columns, in two halves, each on a thread of its own.
    pub(crate) fn sample_batches(&self, rows: &RowSource) -> [SampleHalf; 2] {
        let sample = self.sample();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| sample_half(&sample, 1, rows));
            let first = sample_half(&sample, 0, rows);
            [first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
        })
    }

    /// The expected content of a range, in bytes.
    pub(crate) fn content_bytes(&self, range: &FileRange) -> f64 {
        (range.end - range.start) as f64 * self.expansion.get(&range.compression).copied().unwrap_or(1.0)
    }
}

fn sample_half(sample: &[Sample], wanted: usize, rows: &RowSource) -> SampleHalf {
    let trial = Arc::new(RowSource { staging: None, ..rows.clone() });
    let mut context = ScanContext::new(trial, rows.full_schema(), RejectSink::new(None, String::new()));
    let mut half = SampleHalf::default();
    for (number, Sample { range, lines, .. }) in sample.iter().enumerate() {
        // Each place gives to both halves, so that they are alike.
        let middle = memchr::memchr(b'\n', &lines[lines.len() / 2..]).map_or(0, |at| lines.len() / 2 + at + 1);
        let (first, second) = lines.split_at(middle);
        let part = if (number + wanted).is_multiple_of(2) { first } else { second };
        half.content_bytes += part.len() as u64;
        let mut scan = FileScan::new(&context, range, InMemory::new(part));
        // What is wrong with the data is found, and told, by the real scan.
        while let Ok(Some(batch)) = scan.next_batch(&mut context) {
            half.batches.push(batch);
        }
    }
    half
}

/// One half of a sample.
#[derive(Default)]
pub(crate) struct SampleHalf {
    pub(crate) batches: Vec<RecordBatch>,
    /// What the batches were made of.
    pub(crate) content_bytes: u64,
}

/// The columns that an attempt is planned with, and where each came first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<NewKey>);

impl Columns {
    /// The columns of these keys, in order of first appearance, if there are not too many of them for the manifest with these
    /// files.
    fn of(keys: HashMap<String, Position>, files: &[(String, u64)]) -> Result<Self, Failure> {
        let keys = in_order(keys);
        let Some(first) = keys.get(MAX_COLUMNS) else { return Ok(Self(keys)) };
        let uri = files.get(first.at.file as usize).map(|(uri, _)| uri.clone());
        Err(failure_of_scan(&ScanError::TooManyColumns(uri.unwrap_or_default())))
    }

    pub(crate) fn layout(&self) -> ColumnLayout {
        ColumnLayout::new(self.0.iter().map(|new| new.key.clone()).collect())
    }

    /// The columns of a manifest with these files, with what the tasks of an attempt found.
    pub(crate) fn after(
        &self,
        first_seen: impl Iterator<Item = (usize, Position)>,
        new_keys: impl Iterator<Item = NewKey>,
        files: &[(String, u64)],
    ) -> Result<Self, Failure> {
        let mut keys: HashMap<String, Position> = self.0.iter().map(|new| (new.key.clone(), new.at)).collect();
        let seen =
            first_seen.filter_map(|(column, at)| self.0.get(column).map(|new| NewKey { key: new.key.clone(), at }));
        merge_keys(&mut keys, seen);
        merge_keys(&mut keys, new_keys);
        Self::of(keys, files)
    }

    /// Where the output columns that these would give stand among those of `self`, if not in the same places.
    pub(crate) fn places_of(&self, settled: &Self) -> Option<Vec<usize>> {
        let (old, new) = (self.names(), settled.names());
        let at: HashMap<&str, usize> = old.iter().zip(0..).map(|(name, place)| (name.as_str(), place)).collect();
        let places = new.iter().filter_map(|name| at.get(name.as_str()).copied());
        let metadata = old.len()..old.len() + METADATA_COLUMNS.len();
        (old != new).then(|| places.chain(metadata).collect())
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.layout().names
    }

    /// The keys that got another name, since theirs is a metadata column's.
    pub fn renamed(&self) -> Vec<(String, String)> {
        self.layout().renamed().map(|(key, name)| (key.to_owned(), name.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, FileRange) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("2025-12-23-a.ndjson");
        std::fs::write(&path, content).unwrap();
        let uri = ObjectUri::from_path(&path).unwrap();
        let file = ManifestFile { uri, size_bytes: None, etag: None, version_id: None };
        (root, check(&[(0, file)], false).unwrap().remove(0))
    }

    /// A line of `length` bytes with its newline.
    fn line(length: usize) -> Vec<u8> {
        let mut line = vec![b'x'; length];
        line[length - 1] = b'\n';
        line
    }

    fn split(content: &[u8]) -> Vec<(u64, u64, u64)> {
        let (_root, range) = file(content);
        let ranges = futures::executor::block_on(async {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            std::thread::spawn(move || runtime.block_on(split_at_lines(&range))).join().unwrap().unwrap()
        });
        ranges.iter().map(|range| (range.start, range.end, range.lines_before)).collect()
    }

    #[test]
    fn ranges_start_at_lines_and_know_their_numbers() {
        let split_bytes = SPLIT_BYTES as usize;
        // A line that starts exactly at the boundary, one that crosses it, and one that covers a whole window.
        let exact = [line(split_bytes - 10), line(10), line(20), line(split_bytes)].concat();
        let at = SPLIT_BYTES;
        assert_eq!(split(&exact), [(0, at, 0), (at, 2 * at + 20, 2)]);
        let crossing = [line(10), line(split_bytes), line(10), line(split_bytes)].concat();
        assert_eq!(split(&crossing), [(0, at + 10, 0), (at + 10, 2 * at + 20, 2)]);
        let covering = [line(10), line(2 * split_bytes + 50), line(60)].concat();
        assert_eq!(split(&covering), [(0, 2 * at + 60, 0), (2 * at + 60, 2 * at + 120, 2)]);
    }

    /// The lines that a look sees.
    fn seen(range: &FileRange, max_bytes: usize) -> Vec<u8> {
        let look = Look { range: range.clone(), bytes: 64 << 10, max_bytes, size_bytes: None, sample_bytes: None };
        look.lines(look.open().unwrap()).unwrap().lines
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
            etag: String::new(),
            start,
            end,
            compression: Compression::None,
            lines_before: 0,
        };
        let wholes: Vec<_> = (0..100).map(|file| range(file, 0, 2000)).collect();
        let seen = looks(&wholes, &wholes);
        assert_eq!(seen.iter().map(|look| look.range.file).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert!(seen.iter().all(|look| look.size_bytes == Some(2000) && look.max_bytes == MAX_FIRST_BLOCK_BYTES));
        let sampled: Vec<_> = seen.iter().filter(|look| look.sample_bytes.is_some()).collect();
        assert_eq!(sampled.len(), 50);
        assert!(sampled.iter().all(|look| look.bytes == MIN_SAMPLE_BYTES as usize / 50));
        // Of a file in ranges, too: its start, and places in the middle.
        let parts: Vec<_> = (0..100).map(|part| range(0, part * 20, part * 20 + 20)).collect();
        let seen = looks(&parts, &wholes[..1]);
        assert_eq!(
            seen.iter().map(|look| look.range.start).collect::<Vec<_>>(),
            (0..50).map(|n| n * 40).collect::<Vec<_>>()
        );
        assert_eq!(seen.iter().filter(|look| look.size_bytes == Some(2000)).count(), 1);
        assert!(looks(&[], &[]).is_empty());
    }

    #[test]
    fn keys_after_invalid_bytes_are_where_they_stand() {
        let lines = [b"{\"a\":\"".as_slice(), &[0xff; 100], b"\",\"z\":1}\n{\"b\":1}\n"].concat();
        let (_root, range) = file(&lines);
        let mut index = KeyIndex::learning(ColumnNames::Exact);
        learn_keys(&mut index, &range, 0, &lines).unwrap();
        let mut keys = HashMap::new();
        merge_keys(&mut keys, index.seen_keys());
        let found: Vec<_> = in_order(keys).into_iter().map(|new| (new.key, new.at.offset)).collect();
        assert_eq!(found, [("a".to_owned(), 2), ("z".to_owned(), 109), ("b".to_owned(), 117)]);
    }

    proptest! {
        #[test]
        fn first_places_order_the_columns(places in prop::collection::vec((0u32..5, 0u64..100), 1..30)) {
            let mut keys = HashMap::new();
            let new = |(i, (file, offset)): (usize, &(u32, u64))| {
                NewKey { key: format!("k{}", i % 7), at: Position { file: *file, offset: *offset } }
            };
            merge_keys(&mut keys, places.iter().enumerate().map(new));
            let ordered = in_order(keys);
            prop_assert!(ordered.windows(2).all(|pair| pair[0].at <= pair[1].at));
        }
    }
}
