//! Files of a manifest as stored, and the ranges in which large ones are read.

use super::threads;
use millwork_manifest::{Compression, Failure, FailureClass, FileFault, ManifestFile};
use millwork_ndjson::{Content, FileRange, InputError, Limits, OtherFormat, failure_of_scan, open_range, open_start};
use millwork_storage::{Located, Places, Storage, StorageResult, bucket_and_key};
use std::io::Read;
use std::path::PathBuf;

/// Size of the ranges in which large files are read: 16 MiB. Files of up to one and a half times as much are read whole.
pub(crate) const SPLIT_BYTES: u64 = 16 << 20;

/// Bytes at the start of a large file that decide whether it is NDJSON: 256 KiB, as in the scan.
const FORMAT_BYTES: u64 = 256 << 10;

/// Checks each file: inside the input places, and unchanged since the manifest. Returns a range over each whole file,
/// and the files at fault.
pub(super) fn check(
    storage: &Storage,
    files: &[(u32, ManifestFile)],
    is_any_large: bool,
    places: Option<&Places>,
) -> Result<(Vec<FileRange>, Vec<FileFault>), Failure> {
    let unreadable = |e| failure_of_scan(&InputError::Unreadable(e).into());
    if let Some(places) = places {
        files.iter().try_for_each(|(_, file)| places.admit(&file.uri)).map_err(unreadable)?;
    }
    let unknown = files.iter().map(|(_, file)| file).filter(|file| known(file, is_any_large).is_none());
    let objects = storage.heads_blocking(unknown.map(|file| file.uri.clone()).collect(), places);
    let objects = objects.map_err(unreadable)?;
    let mut objects = objects.into_iter();
    let (mut ranges, mut faults) = (Vec::with_capacity(files.len()), Vec::new());
    for (number, file) in files {
        let whole = whole_of(*number, file, known(file, is_any_large), &mut objects);
        match whole.map_err(Failure::into_own_fault) {
            Ok(range) => ranges.push(range),
            Err(Ok(fault)) => faults.push(fault),
            Err(Err(failure)) => return Err(failure),
        }
    }
    Ok((ranges, faults))
}

/// The whole of a file, if it is as the manifest says: by what is known of it, or else by the next of the objects that were looked for.
fn whole_of(
    number: u32,
    file: &ManifestFile,
    known: Option<(String, u64)>,
    objects: &mut impl Iterator<Item = StorageResult<Located>>,
) -> Result<FileRange, Failure> {
    // The object is taken whatever the file's name is: the next one belongs to the next file.
    let looked = if known.is_none() { objects.next() } else { None };
    let Some(compression) = Compression::of_key(file.uri.as_str()) else {
        let message = format!("input file `{}` is not .ndjson, .ndjson.gz or .ndjson.zst", file.uri);
        return Err(Failure::new(FailureClass::Input, message).of_file(&file.uri));
    };
    let known = known.map(|(etag, end)| Ok((etag, end, None)));
    let known = known.or_else(|| looked.map(|found| found_of(file, found)));
    let bug = || Err(Failure::new(FailureClass::Bug, "a file was not looked for"));
    let (etag, end, inside) = known.unwrap_or_else(bug)?;
    let (file, uri) = (number, file.uri.clone());
    Ok(FileRange { file, uri, inside, etag, size_bytes: end, start: 0, end, compression, lines_before: 0 })
}

/// Entity tag and size from the manifest, if the object will be read on the condition of that tag, so that no request
/// is needed beforehand.
fn known(file: &ManifestFile, is_any_large: bool) -> Option<(String, u64)> {
    let is_read_on_condition = bucket_and_key(&file.uri).is_some() && !is_any_large;
    let etag = file.etag.clone().filter(|etag| is_read_on_condition && !etag.is_empty())?;
    Some((etag, file.size_bytes.filter(|size| *size > 0)?))
}

/// Entity tag and size of a file that was found, and the directory that it must be in. Fails if the manifest states
/// others.
fn found_of(file: &ManifestFile, found: StorageResult<Located>) -> Result<(String, u64, Option<PathBuf>), Failure> {
    let Located { object, inside } = found.map_err(|e| match e.is_not_found() {
        true => failure_of_scan(&InputError::Missing(file.uri.clone()).into()),
        false => failure_of_scan(&InputError::Unreadable(e).into()),
    })?;
    if let Some(size) = file.size_bytes.filter(|size| *size != object.size_bytes) {
        let found = object.size_bytes;
        let message = format!("input file `{}` changed: {found} bytes, the manifest says {size}", file.uri);
        return Err(Failure::new(FailureClass::Input, message).of_file(&file.uri));
    }
    if file.etag.as_ref().is_some_and(|etag| *etag != object.etag) {
        return Err(failure_of_scan(&InputError::Changed(file.uri.clone()).into()));
    }
    Ok((object.etag, object.size_bytes, inside))
}

/// Tells whether a file is read in ranges: above the split size, and not compressed.
pub(super) fn is_large(range: &FileRange) -> bool {
    range.compression.is_splittable() && range.end > SPLIT_BYTES * 3 / 2
}

/// Tells whether the start of a file shows another format than NDJSON. Such a file is read as a whole.
pub(super) fn is_something_else(storage: &Storage, range: &FileRange) -> Result<bool, InputError> {
    let mut input = open_start(storage, range, &Limits::default(), FORMAT_BYTES)?;
    let mut start = Vec::new();
    let read = Read::by_ref(&mut input).take(FORMAT_BYTES).read_to_end(&mut start);
    read.map_err(|e| input.explain(e))?;
    Ok(OtherFormat::of(&start).is_some())
}

/// Cuts a large file into ranges at line starts. Returns the ranges, each with the number of lines before it, and the
/// total number of lines.
pub(super) async fn split_at_lines(storage: &Storage, file: &FileRange) -> Result<(Vec<FileRange>, u64), Failure> {
    let windows: Vec<u64> = (0..file.end.div_ceil(SPLIT_BYTES)).map(|i| i * SPLIT_BYTES).collect();
    let count = |start: u64| {
        let (storage, file) = (storage.clone(), file.clone());
        tokio::task::spawn_blocking(move || count_newlines(&storage, &file, start))
    };
    let mut ranges: Vec<FileRange> = vec![file.clone()];
    let (mut lines, mut is_ended) = (0, true);
    let threads = threads();
    for batch in windows.chunks(threads) {
        let counts = futures::future::join_all(batch.iter().map(|start| count(*start))).await;
        for (start, counted) in batch.iter().zip(counts) {
            let (newlines, first, last) =
                counted.map_err(|e| Failure::new(FailureClass::Bug, e))?.map_err(|e| failure_of_scan(&e.into()))?;
            if let (Some(first), true) = (first.filter(|first| first + 1 < file.end), *start > 0) {
                let next = FileRange { start: first + 1, lines_before: lines + 1, ..file.clone() };
                if let Some(last) = ranges.last_mut() {
                    last.end = next.start;
                }
                ranges.push(next);
            }
            lines += newlines;
            is_ended = last.map_or(is_ended, |last| last == b'\n');
        }
    }
    Ok((ranges, lines + u64::from(!is_ended)))
}

/// Counts the newlines in a window of a file, and finds the first newline and the last byte.
///
/// The windows start one byte early, so that a line that starts exactly at a multiple of the split size is found by the
/// newline before it.
fn count_newlines(
    storage: &Storage,
    file: &FileRange,
    start: u64,
) -> Result<(u64, Option<u64>, Option<u8>), InputError> {
    let (from, to) = (start.saturating_sub(1), (start + SPLIT_BYTES).min(file.end + 1) - 1);
    // Only uncompressed files are cut, so that limits on decompressed content do not apply.
    let mut input = open_range(storage, &FileRange { start: from, end: to, ..file.clone() }, &Limits::default())?;
    let mut buffer = vec![0; 256 << 10];
    let (mut newlines, mut first, mut last, mut at) = (0, None, None, from);
    loop {
        let read = input.read(&mut buffer).map_err(|e| input.explain(e))?;
        if read == 0 {
            return Ok((newlines, first, last));
        }
        let block = &buffer[..read];
        if first.is_none() {
            first = memchr::memchr(b'\n', block).map(|newline| at + newline as u64);
        }
        last = block.last().copied();
        newlines += memchr::memchr_iter(b'\n', block).count() as u64;
        at += read as u64;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use millwork_manifest::ObjectUri;

    pub(in crate::survey) fn file(content: &[u8]) -> (tempfile::TempDir, FileRange) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("2025-12-23-a.ndjson");
        std::fs::write(&path, content).unwrap();
        let uri = ObjectUri::from_path(&path).unwrap();
        let file = ManifestFile { uri, size_bytes: None, etag: None, version_id: None };
        (root, check(&Storage::default(), &[(0, file)], false, None).unwrap().0.remove(0))
    }

    /// Makes a line of `length` bytes, newline included.
    pub(in crate::survey) fn line(length: usize) -> Vec<u8> {
        let mut line = vec![b'x'; length];
        line[length - 1] = b'\n';
        line
    }

    fn split(content: &[u8]) -> Vec<(u64, u64, u64)> {
        let (_root, range) = file(content);
        let (ranges, _) = futures::executor::block_on(async {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            std::thread::spawn(move || runtime.block_on(split_at_lines(&Storage::default(), &range)))
                .join()
                .unwrap()
                .unwrap()
        });
        ranges.iter().map(|range| (range.start, range.end, range.lines_before)).collect()
    }

    #[test]
    fn files_that_are_gone_are_all_named() {
        let root = tempfile::tempdir().unwrap();
        let missing = |name: &str| {
            let uri = ObjectUri::from_path(&root.path().join(name)).unwrap();
            ManifestFile { uri, size_bytes: None, etag: None, version_id: None }
        };
        let (_root, there) = file(b"{}\n");
        let there = ManifestFile { uri: there.uri, size_bytes: None, etag: None, version_id: None };
        let changed = ManifestFile { etag: Some("another".to_owned()), ..there.clone() };
        let files = (0..9).map(|number| missing(&format!("a{number}.ndjson"))).chain([there, changed]);
        let (ranges, faults) = check(&Storage::default(), &(0..).zip(files).collect::<Vec<_>>(), false, None).unwrap();
        assert_eq!((ranges.len(), faults.len()), (1, 10));
        assert!(faults[8].file.ends_with("a8.ndjson") && faults[8].message.contains("a8.ndjson"), "{faults:?}");
        assert!(faults[9].message.contains("changed"), "{faults:?}");
    }

    #[test]
    fn a_name_that_is_refused_costs_no_other_file_anything() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = root.path().join(name);
            if !content.is_empty() {
                std::fs::write(&path, content).unwrap();
            }
            let size_bytes = Some(content.len() as u64);
            ManifestFile { uri: ObjectUri::from_path(&path).unwrap(), size_bytes, etag: None, version_id: None }
        };
        for csv in ["a,b\n", ""] {
            let files = [file("a.csv", csv), file("b.ndjson", "{\"a\": 1}\n"), file("c.ndjson", "{\"a\": 12}\n")];
            let files: Vec<_> = (0..).zip(files).collect();
            let (ranges, faults) = check(&Storage::default(), &files, false, None).unwrap();
            assert_eq!((ranges.len(), faults.len()), (2, 1), "{faults:?}");
            assert!(faults[0].file.ends_with("a.csv") && faults[0].message.contains("is not .ndjson"), "{faults:?}");
        }
    }

    #[test]
    fn ranges_start_at_lines_and_know_their_numbers() {
        let split_bytes = SPLIT_BYTES as usize;
        // Lines that start exactly at the boundary, that cross it, and that cover a whole window.
        let exact = [line(split_bytes - 10), line(10), line(20), line(split_bytes)].concat();
        let at = SPLIT_BYTES;
        assert_eq!(split(&exact), [(0, at, 0), (at, 2 * at + 20, 2)]);
        let crossing = [line(10), line(split_bytes), line(10), line(split_bytes)].concat();
        assert_eq!(split(&crossing), [(0, at + 10, 0), (at + 10, 2 * at + 20, 2)]);
        let covering = [line(10), line(2 * split_bytes + 50), line(60)].concat();
        assert_eq!(split(&covering), [(0, 2 * at + 60, 0), (2 * at + 60, 2 * at + 120, 2)]);
    }
}
