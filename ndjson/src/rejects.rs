//! Rejected lines, written as NDJSON to a private file of the attempt.
//!
//! One record a line: `source_file`, `line` (1-based), `offset` (bytes, in the decompressed file), `length` (bytes),
//! `reason` ([`RejectReason`]), `message`, and the line itself as
//! `raw`, or, where it is not UTF-8 or would grow too much by escapes, as `raw_base64`. Of a line above [`MAX_RAW_BYTES`] these are the
//! first bytes, and `sha256` is that of all of them.
//!
//! Whatever a line holds, its record takes little more than twice [`MAX_RAW_BYTES`], in memory and on disk; and the records of all
//! tasks of a plan in a session of an executor have one room, beyond which nothing is written.

use crate::reason::RejectReason;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millwork_storage::{StagedFile, StagingArea, StagingWriter, StorageResult};
use ring::digest::{Context, SHA256, digest};
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Limit of a rejected line in its record: 1 MiB, which suffices to see the defect, and to find the line in its file.
pub(crate) const MAX_RAW_BYTES: usize = 1 << 20;
/// Limit of the factor by which escapes may lengthen a line. Beyond it base64 is used, which adds a third to any line.
const MAX_ESCAPED_GROWTH: usize = 2;
/// Additional bytes that escapes may add, so that short lines stay readable.
const SPARED_BYTES: usize = 64;
/// Number of the newest plans whose limits are tracked in a session of an executor. An older plan, and one that goes on in
/// a new session, starts again from zero, which the judgement of the attempt detects.
const REMEMBERED_PLANS: usize = 1024;

/// Description of a rejected line, written before the line itself.
#[derive(Serialize)]
pub struct Rejection<'a> {
    pub source_file: &'a str,
    pub line: u64,
    pub offset: u64,
    pub length: u64,
    pub reason: RejectReason,
    pub message: String,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    rejection: &'a Rejection<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

/// Reason why a rejected line could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RejectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The limit for rejected lines, in bytes, is exceeded.
    #[error("more than {0} bytes of rejected lines")]
    NoRoom(u64),
}

/// Remaining bytes for the rejected lines of a plan, shared by its tasks in an executor.
#[derive(Clone, Debug)]
pub struct RejectRoom(Arc<Room>);

#[derive(Debug)]
struct Room {
    limit: u64,
    taken: AtomicU64,
}

/// Remaining bytes of the newest plans of an executor, by their numbers.
#[derive(Debug, Default)]
pub struct RejectRooms(Mutex<VecDeque<(u64, RejectRoom)>>);

impl RejectRooms {
    /// Remaining bytes of a plan; `limit` is that of a plan not seen before.
    pub fn of(&self, plan: u64, limit: u64) -> RejectRoom {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, room)) = rooms.iter().find(|(known, _)| *known == plan) {
            return room.clone();
        }
        let room = RejectRoom::new(limit);
        if rooms.len() >= REMEMBERED_PLANS {
            rooms.pop_front();
        }
        rooms.push_back((plan, room.clone()));
        room
    }
}

impl RejectRoom {
    /// A limit of bytes, of which none are taken.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Room { limit, taken: AtomicU64::new(0) }))
    }

    /// Reserves bytes, before anything is written.
    fn take(&self, bytes: usize) -> Result<(), RejectError> {
        let before = self.0.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) > self.0.limit {
            return Err(RejectError::NoRoom(self.0.limit));
        }
        Ok(())
    }
}

/// Writer of rejected lines; the file is created with the first one.
///
/// Without a staging directory, lines are discarded.
pub struct RejectSink {
    to: Option<(StagingArea, RejectRoom)>,
    /// Number of the task that rejects the lines.
    task: usize,
    writer: Option<BufWriter<StagingWriter>>,
    /// Buffer for the current record.
    record: Vec<u8>,
}

impl RejectSink {
    pub fn new(to: Option<(StagingArea, RejectRoom)>, task: usize) -> Self {
        Self { to, task, writer: None, record: Vec::new() }
    }

    /// Creates a sink that discards lines.
    pub fn nowhere() -> Self {
        Self::new(None, 0)
    }

    /// Tells whether rejected lines are kept.
    pub fn is_kept(&self) -> bool {
        self.to.is_some()
    }

    /// Writes a line that is in memory.
    pub fn write(&mut self, rejection: &Rejection<'_>, line: &[u8]) -> Result<(), RejectError> {
        if line.len() <= MAX_RAW_BYTES || !self.is_kept() {
            return self.put(rejection, line, None);
        }
        self.put(rejection, &line[..MAX_RAW_BYTES], Some(hex(digest(&SHA256, line).as_ref())))
    }

    /// Writes a line that was read in pieces.
    pub fn write_long(&mut self, rejection: &Rejection<'_>, line: LongLine) -> Result<(), RejectError> {
        self.put(rejection, &line.start, Some(hex(line.digest.finish().as_ref())))
    }

    fn put(&mut self, rejection: &Rejection<'_>, kept: &[u8], sha256: Option<String>) -> Result<(), RejectError> {
        let Some((staging, room)) = &self.to else { return Ok(()) };
        let raw = as_text(kept, sha256.is_some()).filter(|text| !grows_too_much(text));
        let raw_base64 = raw.is_none().then(|| STANDARD.encode(kept));
        self.record.clear();
        serde_json::to_writer(&mut self.record, &Record { rejection, sha256, raw, raw_base64 })
            .map_err(io::Error::from)?;
        self.record.push(b'\n');
        room.take(self.record.len())?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let file = staging.create_rejects(self.task).map_err(|e| io::Error::new(e.source.kind(), e))?;
                none.insert(BufWriter::new(file))
            }
        };
        Ok(writer.write_all(&self.record)?)
    }

    /// Finishes the file; `None` if no line was rejected.
    pub fn finish(self) -> StorageResult<Option<StagedFile>> {
        let Some(writer) = self.writer else { return Ok(None) };
        let closed = writer.into_inner().map_err(|e| millwork_storage::StorageError {
            operation: "write",
            object: format!("the rejected lines of task {}", self.task),
            source: e.into_error(),
        })?;
        closed.finish().map(Some)
    }
}

/// A line that is read in pieces: its beginning, and a digest of the whole.
pub struct LongLine {
    start: Vec<u8>,
    digest: Context,
}

impl Default for LongLine {
    fn default() -> Self {
        Self { start: Vec::new(), digest: Context::new(&SHA256) }
    }
}

impl LongLine {
    pub fn piece(&mut self, bytes: &[u8]) {
        let room = MAX_RAW_BYTES - self.start.len();
        self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.digest.update(bytes);
    }
}

/// The bytes as text, if they are valid UTF-8. If the line was cut, its last character may be incomplete.
fn as_text(bytes: &[u8], is_cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(e) if is_cut && e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// Tells whether escaping lengthens the text so much that base64 is preferable.
fn grows_too_much(text: &str) -> bool {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x8 | 0xc => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    let bytes: usize = text.bytes().map(escaped).sum();
    bytes > text.len() * MAX_ESCAPED_GROWTH + SPARED_BYTES
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::ObjectUri;
    use millwork_storage::{Location, Staging, Storage};
    use std::path::Path;

    fn written_with(
        root: &Path,
        room: RejectRoom,
        write: impl FnOnce(&mut RejectSink),
    ) -> (u64, Vec<serde_json::Value>) {
        let place = Staging::new(&Location::Local(root.to_owned()), "m", 1, "");
        let staging = Storage::default().staging(place);
        staging.prepare().unwrap();
        let mut sink = RejectSink::new(Some((staging.clone(), room)), 0);
        write(&mut sink);
        let Some(file) = sink.finish().unwrap() else { return (0, Vec::new()) };
        let (size, to) = (file.size_bytes, root.join("published"));
        staging.publish(&[(file, ObjectUri::from_path(&to).unwrap())]).unwrap().unwrap();
        let text = std::fs::read_to_string(to).unwrap();
        (size, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn written(root: &Path, write: impl FnOnce(&mut RejectSink)) -> Vec<serde_json::Value> {
        written_with(root, RejectRoom::new(u64::MAX), write).1
    }

    fn rejection(length: usize) -> Rejection<'static> {
        let (reason, message) = (RejectReason::Malformed, "expected `,}`".to_owned());
        Rejection { source_file: "file:///a", line: 3, offset: 17, length: length as u64, reason, message }
    }

    #[test]
    fn the_raw_line_survives_whatever_it_holds() {
        let root = tempfile::tempdir().unwrap();
        let records = written(root.path(), |sink| {
            sink.write(&rejection(5), "a\"\u{1}é".as_bytes()).unwrap();
            sink.write(&rejection(2), b"\xff\xfe").unwrap();
            let mut long = LongLine::default();
            for piece in [b"abcd".as_slice(), b"e", b"fg"] {
                long.piece(piece);
            }
            sink.write_long(&rejection(7), long).unwrap();
        });
        assert_eq!(records[0]["raw"], "a\"\u{1}é");
        assert_eq!((&records[0]["offset"], &records[0]["sha256"]), (&17.into(), &serde_json::Value::Null));
        assert_eq!(records[1]["raw_base64"], STANDARD.encode(b"\xff\xfe"));
        assert_eq!((&records[2]["raw"], &records[2]["length"]), (&"abcdefg".into(), &7.into()));
        // Hash computed by sha256sum.
        assert_eq!(records[2]["sha256"], "7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a");
        assert_eq!(records[2]["message"], "expected `,}`");
    }

    #[test]
    fn a_line_keeps_a_mebibyte_and_the_digest_of_all() {
        let root = tempfile::tempdir().unwrap();
        let [whole, cut] = [0, 1].map(|more| "x".repeat(MAX_RAW_BYTES + more));
        // The limit falls inside the character é.
        let character = ["x".repeat(MAX_RAW_BYTES - 1), "é".repeat(9)].concat();
        let records = written(root.path(), |sink| {
            for line in [&whole, &cut, &character] {
                sink.write(&rejection(line.len()), line.as_bytes()).unwrap();
            }
            let mut long = LongLine::default();
            cut.as_bytes().chunks(1000).for_each(|piece| long.piece(piece));
            sink.write_long(&rejection(cut.len()), long).unwrap();
        });
        assert_eq!((records[0]["raw"].as_str(), &records[0]["sha256"]), (Some(&*whole), &serde_json::Value::Null));
        for record in [&records[1], &records[3]] {
            assert_eq!((record["raw"].as_str(), &record["length"]), (Some(&*whole), &(MAX_RAW_BYTES + 1).into()));
            assert_eq!(record["sha256"], hex(digest(&SHA256, cut.as_bytes()).as_ref()));
        }
        assert_eq!(records[2]["raw"], character[..MAX_RAW_BYTES - 1]);
    }

    #[test]
    fn escapes_do_not_multiply_a_line() {
        let root = tempfile::tempdir().unwrap();
        let lines = ["\0".repeat(MAX_RAW_BYTES), "\"".repeat(MAX_RAW_BYTES), "\0".repeat(12), "\0".repeat(20)];
        let (size, records) = written_with(root.path(), RejectRoom::new(u64::MAX), |sink| {
            for line in &lines {
                sink.write(&rejection(line.len()), line.as_bytes()).unwrap();
            }
        });
        let is_text: Vec<_> = records.iter().map(|record| record["raw"].is_string()).collect();
        assert_eq!(is_text, [false, true, true, false]);
        assert!(size < 4 * MAX_RAW_BYTES as u64, "{size}");
        assert_eq!(records[0]["raw_base64"].as_str().map(str::len), Some(MAX_RAW_BYTES.div_ceil(3) * 4));
    }

    #[test]
    fn the_room_of_a_plan_is_one_and_nothing_is_written_beyond_it() {
        let root = tempfile::tempdir().unwrap();
        let (size, _) = written_with(root.path(), RejectRoom::new(u64::MAX), |sink| {
            sink.write(&rejection(3), b"abc").unwrap();
        });
        // Two records, by two sinks, use up the limit for a third.
        let rooms = RejectRooms::default();
        for expected in [size, size, 0] {
            let (size, _) = written_with(root.path(), rooms.of(3, 2 * size), |sink| {
                let written = sink.write(&rejection(3), b"abc");
                assert_eq!(written.is_ok(), expected > 0, "{written:?}");
            });
            assert_eq!(size, expected);
            let _ = std::fs::remove_file(root.path().join("published"));
        }
        // Limit of a byte less than a record needs.
        written_with(root.path(), RejectRoom::new(size - 1), |sink| {
            let full = sink.write(&rejection(3), b"abc");
            assert!(matches!(full, Err(RejectError::NoRoom(limit)) if limit == size - 1));
        });
    }

    #[test]
    fn rooms_are_not_remembered_without_end() {
        let rooms = RejectRooms::default();
        for plan in 0..2 * REMEMBERED_PLANS as u64 {
            rooms.of(plan, 1);
        }
        assert_eq!(rooms.0.lock().unwrap().len(), REMEMBERED_PLANS);
    }

    #[test]
    fn without_a_rejected_line_there_is_no_file() {
        let root = tempfile::tempdir().unwrap();
        let place = Staging::new(&Location::Local(root.path().to_owned()), "m", 1, "");
        let staging = Storage::default().staging(place);
        let sink = RejectSink::new(Some((staging, RejectRoom::new(0))), 0);
        assert!(sink.finish().unwrap().is_none());
        let mut nowhere = RejectSink::nowhere();
        nowhere.write(&rejection(2), b"ab").unwrap();
        assert!(nowhere.finish().unwrap().is_none());
    }
}
