//! Opening of a file in a manifest: reads the byte range, decompresses it, and verifies that it is the planned object.

mod decoders;
mod error;

use crate::limits::Limits;
use crate::range::FileRange;
use decoders::{decompressed, is_about_start, is_about_window, is_no_frame};
pub use error::InputError;
use millwork_manifest::{Compression, ObjectUri};
use millwork_storage::{ObjectReader, Storage, StorageError, bucket_and_key, identity, open_inside, path_of};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An open byte range of a file.
pub struct Input {
    uri: ObjectUri,
    compression: Compression,
    content: Box<dyn Read + Send>,
    /// Local file, to detect changes; `None` in a bucket, where a conditional read excludes them.
    file: Option<File>,
    etag: String,
    /// True once there is something to read without waiting; `None` means always.
    has_arrived: Option<Arc<AtomicBool>>,
    /// Bytes of content handed out.
    bytes: u64,
    most: MostContent,
    /// Limit of the window of a zstd frame, in bytes.
    window_bytes: u64,
    stored: Arc<Stored>,
}

/// Limit of the content of a file, and the values it was derived from.
#[derive(Clone, Copy)]
struct MostContent {
    bytes: u64,
    stored_bytes: u64,
    times: u64,
}

impl MostContent {
    /// Limit for a file of this stored size. Uncompressed files need none.
    fn of(compression: Compression, stored_bytes: u64, limits: &Limits) -> Self {
        let bytes = match compression {
            Compression::None => u64::MAX,
            Compression::Gzip | Compression::Zstd => limits.content_bytes(stored_bytes),
        };
        Self { bytes, stored_bytes, times: limits.max_expansion }
    }
}

/// State of reading the stored object.
#[derive(Default)]
struct Stored {
    /// Bytes consumed.
    bytes: AtomicU64,
    /// True once a read has failed: errors of the decoder then say nothing about the content.
    has_failed: AtomicBool,
}

/// Opens a range of a stored object. A compressed file can only be read as a whole.
pub fn open_range(storage: &Storage, range: &FileRange, limits: &Limits) -> Result<Input, InputError> {
    let bytes = range.start..range.end;
    open(range, limits, || ObjectReader::open(storage, &range.uri, &range.etag, bytes, range.size_bytes))
}

/// Opens a range like [`open_range`], for a caller that may need only the first bytes.
pub fn open_start(
    storage: &Storage,
    range: &FileRange,
    limits: &Limits,
    first_bytes: u64,
) -> Result<Input, InputError> {
    let FileRange { uri, etag, start, end, size_bytes, .. } = range;
    open(range, limits, || ObjectReader::open_start(storage, uri, etag, *start..*end, *size_bytes, first_bytes))
}

fn open(
    range: &FileRange,
    limits: &Limits,
    reader: impl FnOnce() -> io::Result<ObjectReader>,
) -> Result<Input, InputError> {
    let FileRange { uri, etag, start, end, compression, .. } = range;
    let fail = |e: io::Error| unread(uri, e);
    let stored = Arc::new(Stored::default());
    let mut has_arrived = None;
    let (bytes, file): (Box<dyn Read + Send>, _) = match bucket_and_key(uri) {
        Some(_) => {
            let reader = reader().map_err(fail)?;
            has_arrived = Some(reader.has_arrived());
            (Box::new(reader), None)
        }
        None => {
            let mut file = open_local(range)?;
            file.seek(SeekFrom::Start(*start)).map_err(fail)?;
            (Box::new(file.try_clone().map_err(fail)?.take(end - start)), Some(file))
        }
    };
    let observed = Observed { inner: bytes, stored: stored.clone() };
    let content: Box<dyn Read + Send> = match compression {
        // An empty object is an empty file in any format.
        _ if start >= end => Box::new(io::empty()),
        _ => decompressed(observed, *compression, limits.zstd_window_log()),
    };
    let (uri, etag, compression) = (uri.clone(), etag.clone(), *compression);
    let most = MostContent::of(compression, range.size_bytes, limits);
    let window_bytes = 1 << limits.zstd_window_log();
    Ok(Input { uri, compression, content, file, etag, has_arrived, bytes: 0, most, window_bytes, stored })
}

/// The error of a file that cannot be opened.
fn unread(uri: &ObjectUri, error: io::Error) -> InputError {
    match error.kind() {
        ErrorKind::NotFound => InputError::Missing(uri.clone()),
        _ => InputError::Unreadable(StorageError { operation: "read", object: uri.to_string(), source: error }),
    }
}

/// A local file, if it is the one that was planned.
fn open_local(range: &FileRange) -> Result<File, InputError> {
    let FileRange { uri, inside, etag, .. } = range;
    let file = match open_inside(uri, inside.as_deref()) {
        Err(e) if e.is_not_found() => return Err(InputError::Missing(uri.clone())),
        file => file?,
    };
    match identity(&file.metadata().map_err(|e| unread(uri, e))?) == *etag {
        true => Ok(file),
        false => Err(InputError::Changed(uri.clone())),
    }
}

impl Input {
    /// Tells whether there is something to read without waiting.
    pub fn has_arrived(&self) -> bool {
        self.has_arrived.as_ref().is_none_or(|has_arrived| has_arrived.load(Ordering::Relaxed))
    }
}

/// Decompressed content of a byte range, with the state of the object.
pub trait Content: Read {
    /// Number of bytes of the stored object consumed so far.
    fn stored_bytes(&self) -> u64;
    /// Converts the error of a failed read into one that describes the defect of the object.
    fn explain(&self, source: io::Error) -> InputError;
    /// Checks, after everything was read, that the object has not changed since it was opened.
    fn check_unchanged(&self) -> Result<(), InputError>;
}

impl Content for Input {
    fn stored_bytes(&self) -> u64 {
        self.stored.bytes.load(Ordering::Relaxed)
    }

    fn explain(&self, source: io::Error) -> InputError {
        let (uri, bytes) = (self.uri.clone(), self.bytes);
        let format = self.compression.name();
        match self.compression {
            _ if bytes > self.most.bytes => {
                let MostContent { bytes: limit, stored_bytes, times } = self.most;
                InputError::Expands { uri, format, limit, stored_bytes, times }
            }
            _ if source.kind() == ErrorKind::StaleNetworkFileHandle => InputError::Changed(uri),
            _ if self.file.is_none() && source.kind() == ErrorKind::NotFound => InputError::Missing(uri),
            _ if self.file.is_none() && source.kind() == ErrorKind::PermissionDenied => {
                InputError::Unreadable(StorageError::on_read(&self.uri)(source))
            }
            _ if self.stored.has_failed.load(Ordering::Relaxed) => InputError::Broken { uri, bytes, source },
            Compression::None => InputError::Broken { uri, bytes, source },
            Compression::Zstd if is_about_window(&source) => {
                InputError::Window { uri, bytes, limit: self.window_bytes }
            }
            Compression::Zstd if bytes > 0 && is_no_frame(&source) => InputError::Trailing { uri, bytes },
            // A truncated file may well begin correctly.
            _ if bytes == 0 && source.kind() != ErrorKind::UnexpectedEof && is_about_start(&source) => {
                InputError::Other { uri, format }
            }
            _ if source.kind() == ErrorKind::UnexpectedEof => InputError::Cut { uri, format, bytes },
            Compression::Gzip | Compression::Zstd => InputError::Corrupt { uri, format, bytes, source },
        }
    }

    fn check_unchanged(&self) -> Result<(), InputError> {
        let Some(file) = &self.file else { return Ok(()) };
        let read = StorageError::on_read(&self.uri);
        let open = file.metadata().map_err(&read)?;
        let there = match std::fs::metadata(path_of(&self.uri)?) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(InputError::Missing(self.uri.clone())),
            Err(e) => return Err(read(e).into()),
        };
        let is_same = identity(&open) == self.etag && identity(&there) == self.etag;
        if is_same { Ok(()) } else { Err(InputError::Changed(self.uri.clone())) }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.bytes += read as u64;
        if self.bytes > self.most.bytes {
            return Err(io::Error::other("more content than the file may have"));
        }
        Ok(read)
    }
}

struct Observed<R> {
    inner: R,
    stored: Arc<Stored>,
}

impl<R: Read> Read for Observed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        match &read {
            Ok(bytes) => drop(self.stored.bytes.fetch_add(*bytes as u64, Ordering::Relaxed)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.stored.has_failed.store(true, Ordering::Relaxed),
        }
        read
    }
}

/// Content in memory.
pub struct InMemory<'a>(io::Cursor<&'a [u8]>);

impl<'a> InMemory<'a> {
    pub fn new(content: &'a [u8]) -> Self {
        Self(io::Cursor::new(content))
    }
}

impl Read for InMemory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Content for InMemory<'_> {
    fn stored_bytes(&self) -> u64 {
        self.0.position()
    }

    fn explain(&self, source: io::Error) -> InputError {
        InputError::Unreadable(StorageError { operation: "read", object: "a sample".to_owned(), source })
    }

    fn check_unchanged(&self) -> Result<(), InputError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::failure_of_scan;
    use crate::limits::MIN_CONTENT_BYTES;
    use millwork_manifest::FailureClass;
    use std::io::Write;

    /// Reader of bytes, followed by an error if there is one.
    struct Failing(io::Cursor<Vec<u8>>, Option<ErrorKind>);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match (self.0.read(buffer)?, self.1) {
                (0, Some(kind)) => Err(kind.into()),
                (read, _) => Ok(read),
            }
        }
    }

    fn failure_of(bytes: &[u8], kind: Option<ErrorKind>, compression: Compression) -> FailureClass {
        let stored = Arc::new(Stored::default());
        let observed = Observed { inner: Failing(io::Cursor::new(bytes.to_vec()), kind), stored: stored.clone() };
        let content = decompressed(observed, compression, 27);
        let uri = "file:///2025-12-23.ndjson.gz".parse().unwrap();
        let most = MostContent::of(compression, bytes.len() as u64, &Limits::default());
        let (file, etag, has_arrived) = (None, String::new(), None);
        let mut input =
            Input { uri, compression, content, file, etag, has_arrived, bytes: 0, most, window_bytes: 0, stored };
        let error = input.read_to_end(&mut Vec::new()).unwrap_err();
        failure_of_scan(&input.explain(error).into()).class
    }

    /// Reads a file with these stored bytes. Returns the size of its content, or the failure.
    fn read(name: &str, stored: &[u8], limits: &Limits) -> Result<u64, millwork_manifest::Failure> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        std::fs::write(&path, stored).unwrap();
        let (size_bytes, uri) = (stored.len() as u64, ObjectUri::from_path(&path).unwrap());
        let range = FileRange {
            file: 0,
            inside: None,
            etag: identity(&std::fs::metadata(&path).unwrap()),
            size_bytes,
            start: 0,
            end: size_bytes,
            compression: Compression::of_key(uri.as_str()).unwrap(),
            uri,
            lines_before: 0,
        };
        let mut input = open_range(&Storage::default(), &range, limits).unwrap();
        io::copy(&mut input, &mut io::sink()).map_err(|e| failure_of_scan(&input.explain(e).into()))
    }

    #[test]
    fn content_may_be_as_much_as_the_limit_and_no_byte_more() {
        let limits = Limits { max_expansion: 2, ..Limits::default() };
        for (name, extra, is_read) in [("a.ndjson.gz", 0, true), ("a.ndjson.zst", 0, true), ("a.ndjson.zst", 1, false)]
        {
            let content = io::repeat(b'\n').take(MIN_CONTENT_BYTES + extra);
            let stored = if name.ends_with("gz") {
                let mut encoder = flate2::read::GzEncoder::new(content, flate2::Compression::fast());
                let mut stored = Vec::new();
                encoder.read_to_end(&mut stored).unwrap();
                stored
            } else {
                zstd::encode_all(content, 1).unwrap()
            };
            let read = read(name, &stored, &limits);
            assert_eq!(read.as_ref().ok(), is_read.then_some(&MIN_CONTENT_BYTES), "{read:?}");
            let Err(failure) = read else { continue };
            assert_eq!(failure.class, FailureClass::Input);
            assert!(failure.file.is_some_and(|file| file.ends_with(name)));
            for word in [name, "more than 1073741824 bytes", "2 times", "--max-expansion", "MAX_EXPANSION"] {
                assert!(failure.message.contains(word), "{}", failure.message);
            }
        }
    }

    #[test]
    fn a_file_that_ends_in_the_middle_is_told_so() {
        let text = b"{\"a\": 1}\n".repeat(10_000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).unwrap();
        for (name, stored) in
            [("a.ndjson.gz", gzip.finish().unwrap()), ("a.ndjson.zst", zstd::encode_all(text.as_slice(), 1).unwrap())]
        {
            assert_eq!(read(name, &stored, &Limits::default()).unwrap(), text.len() as u64);
            for end in [stored.len() / 2, stored.len() - 1] {
                let failure = read(name, &stored[..end], &Limits::default()).unwrap_err();
                assert_eq!(failure.class, FailureClass::Input);
                assert!(failure.message.ends_with("it ends in the middle; write it again"), "{}", failure.message);
            }
            let mut damaged = stored.clone();
            let middle = stored.len() / 2;
            damaged[middle..middle + 8].fill(0xff);
            let failure = read(name, &damaged, &Limits::default()).unwrap_err();
            assert!(failure.message.contains("cannot be decompressed"), "{}", failure.message);
        }
    }

    #[test]
    fn what_is_not_compressed_has_no_limit_but_its_size() {
        let limits = Limits { max_expansion: 0, ..Limits::default() };
        assert_eq!(MostContent::of(Compression::None, 1, &limits).bytes, u64::MAX);
        assert_eq!(MostContent::of(Compression::Gzip, 1, &limits).bytes, MIN_CONTENT_BYTES);
        let many = Limits { max_expansion: 3, ..Limits::default() };
        assert_eq!(MostContent::of(Compression::Zstd, MIN_CONTENT_BYTES, &many).bytes, 3 * MIN_CONTENT_BYTES);
    }

    #[test]
    fn a_window_may_be_as_large_as_the_limit() {
        let stored = |window_log: u32| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.long_distance_matching(true).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.include_contentsize(false).unwrap();
            encoder.write_all(b"{}\n").unwrap();
            encoder.finish().unwrap()
        };
        let limits = |window_mb: u64| Limits { max_zstd_window_bytes: window_mb << 20, ..Limits::default() };
        assert_eq!(read("a.ndjson.zst", &stored(27), &Limits::default()).unwrap(), 3);
        for (limits, log, bytes) in [(Limits::default(), 28, "128 MiB"), (limits(63), 26, "32 MiB")] {
            let failure = read("a.ndjson.zst", &stored(log), &limits).unwrap_err();
            assert_eq!(failure.class, FailureClass::Input);
            for word in ["a.ndjson.zst", bytes, "--max-zstd-window-mb (MAX_ZSTD_WINDOW_MB)", "zstd --long=27"] {
                assert!(failure.message.contains(word), "{}", failure.message);
            }
        }
        for log in [28, 30, 31] {
            assert_eq!(read("a.ndjson.zst", &stored(log), &limits(2048)).unwrap(), 3);
        }
    }

    #[test]
    fn a_file_of_another_format_than_its_name_says_is_named() {
        for (name, stored) in [
            ("a.ndjson.gz", &b"{\"a\":1}\n{\"a\":2}\n"[..]),
            ("a.ndjson.zst", b"{\"a\":1}\n{\"a\":2}\n"),
            ("a.ndjson.gz", b"PK\x03\x04 and more of it"),
        ] {
            let failure = read(name, stored, &Limits::default()).unwrap_err();
            assert_eq!(failure.class, FailureClass::Input);
            assert!(failure.message.contains(", by its first bytes: name it by what it is"), "{failure}");
        }
    }

    #[test]
    fn what_follows_the_last_frame_is_named() {
        let stored = [zstd::encode_all(&b"{}\n"[..], 1).unwrap(), b"{}\n{}\n".to_vec()].concat();
        let failure = read("a.ndjson.zst", &stored, &Limits::default()).unwrap_err();
        assert!(failure.message.contains("bytes that are no zstd stand after its last frame"), "{failure}");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"{}\n").unwrap();
        let stored = gzip.finish().unwrap();
        assert_eq!(read("a.ndjson.gz", &[&*stored, &[0; 512]].concat(), &Limits::default()).unwrap(), 3);
        let failure = read("a.ndjson.gz", &[&*stored, b"{}\n"].concat(), &Limits::default()).unwrap_err();
        assert!(failure.message.contains("bytes that are no gzip stand after its last member"), "{failure}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_now_may_be_later() {
        for (kind, class) in [
            (ErrorKind::PermissionDenied, FailureClass::Input),
            (ErrorKind::TimedOut, FailureClass::Storage),
            (ErrorKind::Other, FailureClass::Storage),
            (ErrorKind::OutOfMemory, FailureClass::Resources),
        ] {
            let error = StorageError { operation: "read", object: "a".to_owned(), source: kind.into() };
            assert_eq!(failure_of_scan(&InputError::Unreadable(error).into()).class, class, "{kind}");
        }
    }

    #[test]
    fn what_keeps_a_file_from_being_read_is_not_its_content() {
        let text = b"{}\n".repeat(10_000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        for (bytes, compression) in [(gzip, Compression::Gzip), (zstd, Compression::Zstd)] {
            let part = &bytes[..bytes.len() / 2];
            for kind in [ErrorKind::Other, ErrorKind::TimedOut, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof] {
                assert_eq!(failure_of(part, Some(kind), compression), FailureClass::Storage, "{kind}");
            }
            assert_eq!(failure_of(part, None, compression), FailureClass::Input);
            // Buckets refuse access at reading, not at opening.
            assert_eq!(failure_of(part, Some(ErrorKind::PermissionDenied), compression), FailureClass::Input);
            let mut damaged = bytes.clone();
            damaged[0] ^= 0xff;
            assert_eq!(failure_of(&damaged, None, compression), FailureClass::Input);
        }
    }
}
