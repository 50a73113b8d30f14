//! Survey of a manifest's files before an attempt is planned: whether they exist unchanged (for objects in a
//! bucket this can be checked when they are read), which columns they have, where the lines of large files start,
//! and how well rows compress.

mod columns;
mod density;
mod files;
mod look;

use crate::options::ConversionOptions;
use crate::rates::OutputRate;
use crate::report::TaskReport;
pub use columns::Columns;
use columns::keys_of;
use density::Densities;
pub(crate) use files::SPLIT_BYTES;
use files::{check, is_large, is_something_else, split_at_lines};
pub(crate) use look::SampleHalf;
use look::{Look, Sample, expansion, look, looks, sample_half};
use millwork_manifest::{Compression, Failure, FailureClass, FileFault, Manifest, ManifestFile};
use millwork_ndjson::{
    ColumnNames, FileRange, Limits, Position, RowSource, ScanError, Words, failure_of_scan, in_order, merge_keys,
};
use millwork_storage::Storage;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Step between the places of a rough sample: one in five. Coprime to `LONG_LINES_EVERY`, so that places with long
/// lines are represented.
const ROUGH_SAMPLE_STEP: usize = 5;

/// Knowledge of a manifest's files that a plan needs.
#[derive(Debug)]
pub struct Survey {
    /// Ranges of all files, in order.
    pub(crate) ranges: Vec<FileRange>,
    /// Number of lines of each file that was cut into ranges.
    pub(crate) lines: HashMap<u32, u64>,
    /// The files with their stored sizes.
    pub files: Vec<(String, u64)>,
    /// Storage of the files.
    pub(crate) storage: Storage,
    /// Limits of the manifest's conversion.
    pub(crate) limits: Limits,
    /// Columns found so far.
    columns: Columns,
    /// Sampled lines from places all over the manifest, kept until the output rate is known.
    sample: Mutex<Vec<Sample>>,
    rate: OnceCell<OutputRate>,
    /// Bytes of content per stored byte, by compression.
    expansion: HashMap<Compression, f64>,
    densities: Densities,
    /// Keys that the query uses; `None` if it may use all.
    wanted: Option<Words>,
}

/// Surveys the files of a manifest, with one thread per core: reads lines at places all over it, and from all
/// files if those places have not shown all columns.
pub async fn survey(manifest: &Manifest, options: &ConversionOptions) -> Result<Survey, Failure> {
    let (wholes, faults) = check_all(manifest, options).await?;
    let files: Vec<_> = wholes.iter().map(|file| (file.uri.to_string(), file.end)).collect();
    // Cutting is pointless once the attempt is known to fail.
    let (ranges, lines) = match faults.is_empty() {
        true => cut_large(wholes, &options.storage).await?,
        false => (wholes, HashMap::new()),
    };
    let (sample, keys) = look_through(&ranges, options, faults).await?;
    let columns = Columns::of(keys, &files)?;
    let expansion = expansion(&sample);
    let (storage, limits) = (options.storage.clone(), options.limits);
    let densities = Densities::of(&ranges, &sample);
    let (sample, rate, wanted) = (sample.into(), OnceCell::new(), options.query.words());
    Ok(Survey { ranges, lines, files, storage, limits, columns, sample, rate, expansion, densities, wanted })
}

/// Reads lines at places all over, and of all files if need be. Returns the samples, and the first position of each key.
/// Fails with these faults of files and those that turn up.
async fn look_through(
    ranges: &[FileRange],
    options: &ConversionOptions,
    mut faults: Vec<FileFault>,
) -> Result<(Vec<Sample>, HashMap<String, Position>), Failure> {
    // Columns that turn up later can be added only for the default query, so that any other needs the keys of all
    // files.
    let is_first = |is_sample: bool| is_sample || !options.query.is_default();
    let first = looks(ranges, is_first);
    let middle = first.get(first.len() / 2).map_or(0, Look::file);
    let (sample, mut keys, odd) = look_at(first, options).await?;
    faults.extend(odd);
    // All files are read if a column first occurs in the second half of the places, since more columns may be missing
    // then, or if the first file showed no key: the very first column cannot be added later.
    let is_first_known = keys.values().any(|at| at.file == 0);
    if !faults.is_empty() || !is_first_known || keys.values().any(|at| at.file >= middle) {
        let others = looks(ranges, |is_sample| !is_first(is_sample));
        let (_, more, odd) = look_at(others, options).await?;
        merge_keys(&mut keys, in_order(more));
        faults.extend(odd);
    }
    match Failure::of_files(faults) {
        Some(failure) => Err(failure),
        None => Ok((sample, keys)),
    }
}

/// The wholes of a manifest's files, and those files that are at fault.
async fn check_all(
    manifest: &Manifest,
    options: &ConversionOptions,
) -> Result<(Vec<FileRange>, Vec<FileFault>), Failure> {
    let files: Vec<(u32, ManifestFile)> = (0..).zip(manifest.files.iter().cloned()).collect();
    let (mut wholes, mut faults) = (Vec::with_capacity(files.len()), Vec::new());
    // Cutting reads a large file as a whole, so that all files are checked to exist first.
    let is_any_large = manifest.files.iter().any(|file| file.size_bytes.is_none_or(|size| size > SPLIT_BYTES));
    let (storage, places) = (options.storage.clone(), options.input.clone());
    let check = move |files: &[_]| check(&storage, files, is_any_large, places.as_ref());
    for checked in on_all_cores(files, check).await? {
        let (ranges, odd) = checked?;
        wholes.extend(ranges);
        faults.extend(odd);
    }
    Ok((wholes, faults))
}

/// Cuts large files at lines. Returns all ranges, and the number of lines of each file that was cut.
async fn cut_large(wholes: Vec<FileRange>, storage: &Storage) -> Result<(Vec<FileRange>, HashMap<u32, u64>), Failure> {
    let (mut ranges, mut lines) = (Vec::with_capacity(wholes.len()), HashMap::new());
    for file in wholes {
        match is_large(&file) && !is_something_else_blocking(storage, &file).await? {
            true => {
                let (cut, count) = split_at_lines(storage, &file).await?;
                ranges.extend(cut);
                lines.insert(file.file, count);
            }
            false => ranges.push(file),
        }
    }
    Ok((ranges, lines))
}

async fn is_something_else_blocking(storage: &Storage, file: &FileRange) -> Result<bool, Failure> {
    let (storage, file) = (storage.clone(), file.clone());
    let found = tokio::task::spawn_blocking(move || is_something_else(&storage, &file)).await;
    found.map_err(|e| Failure::new(FailureClass::Bug, e))?.map_err(|e| failure_of_scan(&e.into()))
}

/// Reads the planned lines. Returns the samples, the first position of each key, and the files that cannot be
/// converted.
async fn look_at(
    looks: Vec<Look>,
    options: &ConversionOptions,
) -> Result<(Vec<Sample>, HashMap<String, Position>, Vec<FileFault>), Failure> {
    let (mut sample, mut keys, mut faults) = (Vec::new(), HashMap::new(), Vec::new());
    let (names, wanted, limits) = (options.names, options.query.words(), options.limits);
    let storage = options.storage.clone();
    let look = move |looks: &[Look]| look(&storage, looks, (names, wanted.clone()), &limits);
    for looked in on_all_cores(looks, look).await? {
        let seen = looked?;
        sample.extend(seen.samples);
        merge_keys(&mut keys, seen.keys);
        faults.extend(seen.faults);
    }
    Ok((sample, keys, faults))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Works on a list in as many parts as there are cores. Returns the results in order.
pub(crate) async fn on_all_cores<T: Send + 'static, R: Send + 'static>(
    items: Vec<T>,
    work: impl Fn(&[T]) -> R + Clone + Send + 'static,
) -> Result<Vec<R>, Failure> {
    let size = items.len().div_ceil(threads()).max(1);
    let (mut items, mut parts) = (items.into_iter().peekable(), Vec::new());
    while items.peek().is_some() {
        let (part, work): (Vec<T>, _) = (items.by_ref().take(size).collect(), work.clone());
        parts.push(tokio::task::spawn_blocking(move || work(&part)));
    }
    let done = futures::future::join_all(parts).await.into_iter();
    done.map(|part| part.map_err(|e| Failure::new(FailureClass::Bug, e))).collect()
}

impl Survey {
    /// The columns that the first attempt is planned with.
    pub fn columns(&self) -> Columns {
        self.columns.clone()
    }

    /// The columns of every line, by reading all input: for a query that names a column which the samples lack.
    pub async fn all_columns(&self, names: ColumnNames) -> Result<Columns, Failure> {
        let mut keys = HashMap::new();
        let (storage, wanted, limits) = (self.storage.clone(), self.wanted.clone(), self.limits);
        let keys_of = move |ranges: &[FileRange]| keys_of(&storage, ranges, (names, wanted.clone()), &limits);
        for found in on_all_cores(self.ranges.clone(), keys_of).await? {
            merge_keys(&mut keys, found?);
        }
        Columns::of(keys, &self.files)
    }

    /// Refuses rejected lines that exceed the limit of a manifest. Needed because each process counts only those of its
    /// own tasks.
    pub(crate) fn check_rejected(&self, reports: &[TaskReport]) -> Result<(), Failure> {
        let files = reports.iter().flat_map(|report| &report.rejects);
        let limit = self.limits.max_rejected_bytes;
        if files.map(|file| file.size_bytes).fold(0, u64::saturating_add) <= limit {
            return Ok(());
        }
        let ranges = reports.iter().flat_map(|report| &report.ledger);
        let worst = ranges.max_by_key(|range| range.rejected).and_then(|range| self.files.get(range.file as usize));
        let uri = worst.map(|(uri, _)| uri.clone()).unwrap_or_default();
        Err(failure_of_scan(&ScanError::TooManyRejected { uri, limit }))
    }

    /// The output rate, measured by `find` on the first call; the sample is dropped after that.
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

    /// Sampled lines as record batches of all columns, in two halves, each on a thread of its own; from fewer places if
    /// the result need not be precise.
    pub(crate) fn sample_batches(&self, rows: &RowSource, is_precise: bool) -> [SampleHalf; 2] {
        let sample = self.sample();
        let step = if is_precise { 1 } else { ROUGH_SAMPLE_STEP };
        let sample: Vec<&Sample> = sample.iter().step_by(step).collect();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| sample_half(&sample, 1, rows));
            let first = sample_half(&sample, 0, rows);
            [first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
        })
    }

    /// Estimated content of all files, in bytes.
    pub(crate) fn all_content_bytes(&self) -> f64 {
        self.ranges.iter().map(|range| self.content_bytes(range)).sum()
    }

    /// Share of a range in the output, in bytes of content of average density.
    pub(crate) fn weighted_bytes(&self, range: &FileRange) -> f64 {
        self.content_bytes(range) * self.densities.factor(range)
    }

    /// Estimated content of a range, in bytes.
    pub(crate) fn content_bytes(&self, range: &FileRange) -> f64 {
        (range.end - range.start) as f64 * self.expansion.get(&range.compression).copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::look::sampled;
    use super::*;
    use crate::query::Query;
    use millwork_manifest::ObjectUri;

    /// Column names that a survey of 130 files finds, every third of which is sampled. Files listed in `own` have a
    /// line of their own.
    async fn names(own: &[(usize, &str)], query: Query) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let file = |number| {
            let path = root.path().join(format!("2025-12-23-{number:03}.ndjson"));
            let line = own.iter().find(|(of, _)| *of == number).map_or(r#"{"id":1}"#, |(_, line)| line);
            std::fs::write(&path, line).unwrap();
            let uri = ObjectUri::from_path(&path).unwrap();
            ManifestFile { uri, size_bytes: None, etag: None, version_id: None }
        };
        let manifest = Manifest {
            id: "test".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            files: (0..130).map(file).collect(),
            traceparents: Vec::new(),
        };
        survey(&manifest, &ConversionOptions { query, ..Default::default() }).await.unwrap().columns().names()
    }

    #[tokio::test]
    async fn the_rejected_lines_of_all_tasks_have_one_limit() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("2025-12-23-a.ndjson");
        std::fs::write(&path, "{}\n").unwrap();
        let uri = ObjectUri::from_path(&path).unwrap();
        let manifest = Manifest {
            id: "test".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            files: vec![ManifestFile { uri, size_bytes: None, etag: None, version_id: None }],
            traceparents: Vec::new(),
        };
        let limits = Limits { max_rejected_bytes: 10 << 20, ..Limits::default() };
        let survey = survey(&manifest, &ConversionOptions { limits, ..Default::default() }).await.unwrap();
        let report = |sizes: &[u64]| {
            let file = |size: &u64| {
                serde_json::from_value(serde_json::json!({"name": "00000-67e55044-10b1-426f-9247-bb680e5fe0c8.rejected.ndjson", "size_bytes": size})).unwrap()
            };
            let range = millwork_ndjson::RangeLedger { rejected: 1, ..Default::default() };
            TaskReport { rejects: sizes.iter().map(file).collect(), ledger: vec![range], ..TaskReport::default() }
        };
        let most = 10 << 20;
        survey.check_rejected(&[report(&[most - 7, 3]), report(&[]), report(&[4])]).unwrap();
        for sizes in [&[most - 7, 4][..], &[u64::MAX, u64::MAX]] {
            let failure = survey.check_rejected(&[report(sizes), report(&[4])]).unwrap_err();
            assert_eq!((failure.class, failure.file.is_some()), (FailureClass::Input, true));
            for word in ["2025-12-23-a.ndjson", "more than 10 MiB", "--max-rejected-mb"] {
                assert!(failure.message.contains(word), "{failure}");
            }
        }
    }

    #[tokio::test]
    async fn all_files_are_looked_at_where_places_all_over_do_not_show_the_columns() {
        let (a, b) = (r#"{"id":1,"a":2}"#, r#"{"id":1,"b":2}"#);
        let early = sampled(1, 3, 130);
        assert_eq!(names(&[(1, a), (early, b)], Query::default()).await, ["id", "b"]);
        assert_eq!(names(&[(1, a), (129, b)], Query::default()).await, ["id", "a", "b"]);
        // A first file without keys leaves the first column unknown.
        assert_eq!(names(&[(0, ""), (1, r#"{"c":1}"#)], Query::default()).await, ["c", "id"]);
        let query = |sql: &str| Query::new("q".to_owned(), sql.to_owned());
        let all = query("SELECT * FROM read_manifest($manifest) WHERE id IS NOT NULL");
        assert_eq!(names(&[(1, a), (early, b)], all).await, ["id", "a", "b"]);
        let one = query("SELECT id FROM read_manifest($manifest)");
        assert_eq!(names(&[(1, a), (early, b)], one).await, ["id"], "it names what it needs");
    }
}
