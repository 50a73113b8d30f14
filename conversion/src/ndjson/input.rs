//! Opening a file of a manifest: the byte range, decompressed, and proof that it is the object that was planned.

use crate::source::FileRange;
use flate2::read::MultiGzDecoder;
use millwork_manifest::{Compression, ObjectUri};
use millwork_storage::{ObjectReader, StorageError, bucket_and_key, identity, open_inside, path_of};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why a file could not be read through. Each names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("input file `{0}` does not exist")]
    Missing(ObjectUri),
    #[error(transparent)]
    Unreadable(#[from] StorageError),
    #[error("input file `{0}` changed: it has another size, entity tag or time of change than when it was listed")]
    Changed(ObjectUri),
    #[error("input file `{uri}` cannot be decompressed as {format}, after {bytes} bytes of content: {source}")]
    Corrupt { uri: ObjectUri, format: &'static str, bytes: u64, source: io::Error },
    #[error("cannot read input file `{uri}`, after {bytes} bytes of content: {source}")]
    Broken { uri: ObjectUri, bytes: u64, source: io::Error },
}

impl InputError {
    /// The file.
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Missing(uri) | Self::Changed(uri) | Self::Corrupt { uri, .. } | Self::Broken { uri, .. } => {
                uri.to_string()
            }
            Self::Unreadable(error) => error.object.clone(),
        }
    }
}

/// An open byte range of a file.
pub(crate) struct Input {
    uri: ObjectUri,
    compression: Compression,
    content: Box<dyn Read + Send>,
    /// The file, if it is a local one: what is read from a bucket cannot change on the way.
    file: Option<File>,
    etag: String,
    /// Whether there is something to read without waiting; None: always.
    has_arrived: Option<Arc<AtomicBool>>,
    /// Bytes of content handed out.
    bytes: u64,
    stored: Arc<Stored>,
}

/// How the reading of the stored object goes.
#[derive(Default)]
struct Stored {
    /// Bytes consumed.
    bytes: AtomicU64,
    /// Whether a read has failed: that says nothing of the content.
    has_failed: AtomicBool,
}

/// Opens a range of a stored object. Only the whole of a compressed file can be read.
pub(crate) fn open_range(range: &FileRange) -> Result<Input, InputError> {
    open(range, || ObjectReader::open(&range.uri, &range.etag, range.start..range.end, range.size_bytes))
}

/// The same, for a caller that may need no more than the first bytes.
pub(crate) fn open_start(range: &FileRange, first_bytes: u64) -> Result<Input, InputError> {
    let bytes = range.start..range.end;
    open(range, || ObjectReader::open_start(&range.uri, &range.etag, bytes, range.size_bytes, first_bytes))
}

fn open(range: &FileRange, reader: impl FnOnce() -> io::Result<ObjectReader>) -> Result<Input, InputError> {
    let FileRange { uri, inside, etag, start, end, compression, .. } = range;
    let fail = |e: io::Error| match e.kind() {
        ErrorKind::NotFound => InputError::Missing(uri.clone()),
        _ => InputError::Unreadable(StorageError { operation: "read", object: uri.to_string(), source: e }),
    };
    let stored = Arc::new(Stored::default());
    let mut has_arrived = None;
    let (bytes, file): (Box<dyn Read + Send>, _) = match bucket_and_key(uri) {
        Some(_) => {
            let reader = reader().map_err(fail)?;
            has_arrived = Some(reader.has_arrived());
            (Box::new(reader), None)
        }
        None => {
            let mut file = match open_inside(uri, inside.as_deref()) {
                Err(e) if e.is_not_found() => return Err(InputError::Missing(uri.clone())),
                file => file?,
            };
            if identity(&file.metadata().map_err(fail)?) != *etag {
                return Err(InputError::Changed(uri.clone()));
            }
            file.seek(SeekFrom::Start(*start)).map_err(fail)?;
            (Box::new(file.try_clone().map_err(fail)?.take(end - start)), Some(file))
        }
    };
    let observed = Observed { inner: bytes, stored: stored.clone() };
    let content: Box<dyn Read + Send> = match compression {
        // An object without a single byte is an empty file in any format.
        _ if start >= end => Box::new(io::empty()),
        _ => decompressed(observed, *compression),
    };
    let (uri, etag, compression) = (uri.clone(), etag.clone(), *compression);
    Ok(Input { uri, compression, content, file, etag, has_arrived, bytes: 0, stored })
}

impl Input {
    /// Whether there is something to read without waiting for it.
    pub(crate) fn has_arrived(&self) -> bool {
        self.has_arrived.as_ref().is_none_or(|has_arrived| has_arrived.load(Ordering::Relaxed))
    }
}

fn decompressed(stored: impl Read + Send + 'static, compression: Compression) -> Box<dyn Read + Send> {
    match compression {
        Compression::None => Box::new(stored),
        Compression::Gzip => Box::new(Late::Stored(Some(stored), |stored| Ok(MultiGzDecoder::new(stored)))),
        Compression::Zstd => Box::new(Late::Stored(Some(stored), zstd::stream::read::Decoder::new)),
    }
}

/// A decoder that is made when it is first read: some read from their input as soon as they are made, and what is opened ahead must not
/// wait.
enum Late<R, D> {
    Stored(Option<R>, fn(R) -> io::Result<D>),
    Decoder(D),
}

impl<R, D: Read> Read for Late<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Self::Decoder(decoder) => return decoder.read(buffer),
                Self::Stored(stored, make) => {
                    let stored = stored.take().ok_or_else(|| io::Error::other("its decoder could not be made"))?;
                    *self = Self::Decoder(make(stored)?);
                }
            }
        }
    }
}

/// The decompressed content of a byte range, and what is known of the object behind it.
pub(crate) trait Content: Read {
    /// Bytes of the stored object consumed so far.
    fn stored_bytes(&self) -> u64;
    /// What a failed read means.
    fn explain(&self, source: io::Error) -> InputError;
    /// Checks, once all is read, that the object is still the one that was opened.
    fn check_unchanged(&self) -> Result<(), InputError>;
}

impl Content for Input {
    fn stored_bytes(&self) -> u64 {
        self.stored.bytes.load(Ordering::Relaxed)
    }

    fn explain(&self, source: io::Error) -> InputError {
        let (uri, bytes) = (self.uri.clone(), self.bytes);
        match self.compression {
            _ if source.kind() == ErrorKind::StaleNetworkFileHandle => InputError::Changed(uri),
            _ if self.file.is_none() && source.kind() == ErrorKind::NotFound => InputError::Missing(uri),
            _ if self.file.is_none() && source.kind() == ErrorKind::PermissionDenied => {
                InputError::Unreadable(StorageError::on_read(&self.uri)(source))
            }
            _ if self.stored.has_failed.load(Ordering::Relaxed) => InputError::Broken { uri, bytes, source },
            Compression::None => InputError::Broken { uri, bytes, source },
            Compression::Gzip => InputError::Corrupt { uri, format: "gzip", bytes, source },
            Compression::Zstd => InputError::Corrupt { uri, format: "zstd", bytes, source },
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

/// Content that is at hand.
pub(crate) struct InMemory<'a>(io::Cursor<&'a [u8]>);

impl<'a> InMemory<'a> {
    pub(crate) fn new(content: &'a [u8]) -> Self {
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
    use crate::report::failure_of_scan;
    use millwork_manifest::FailureClass;
    use std::io::Write;

    /// Bytes, and then, if there is one, an error.
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
        let content = decompressed(observed, compression);
        let uri = "file:///2025-12-23.ndjson.gz".parse().unwrap();
        let mut input =
            Input { uri, compression, content, file: None, etag: String::new(), has_arrived: None, bytes: 0, stored };
        let error = input.read_to_end(&mut Vec::new()).unwrap_err();
        failure_of_scan(&input.explain(error).into()).class
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
            // A bucket refuses when it is read, not when it is opened.
            assert_eq!(failure_of(part, Some(ErrorKind::PermissionDenied), compression), FailureClass::Input);
            let mut damaged = bytes.clone();
            damaged[0] ^= 0xff;
            assert_eq!(failure_of(&damaged, None, compression), FailureClass::Input);
        }
    }
}
