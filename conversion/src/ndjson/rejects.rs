//! Rejected lines, written as NDJSON to a private file of the attempt.
//!
//! One record a line: `source_file`, `line` (1-based), `offset` (bytes, in the decompressed file), `length` (bytes),
//! `reason` (`malformed`, `not-an-object`, `too-deep`, `too-long`), `message`, and the line itself as `raw`, or, where
//! it is not UTF-8 or too long to be held, as `raw_base64`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millwork_storage::{StagedFile, Staging, StagingWriter, StorageResult};
use serde::Serialize;
use std::io::{self, BufWriter, Write};

/// What is said of a rejected line, before the line itself.
#[derive(Serialize)]
pub(crate) struct Rejection<'a> {
    pub(crate) source_file: &'a str,
    pub(crate) line: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) reason: &'a str,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct WithRaw<'a> {
    #[serde(flatten)]
    rejection: &'a Rejection<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

/// Writes rejected lines; the file appears with the first of them.
///
/// Without a staging directory nothing is kept.
pub(crate) struct RejectSink {
    staging: Option<Staging>,
    /// The number of the task that rejects them.
    task: usize,
    writer: Option<BufWriter<StagingWriter>>,
    nowhere: io::Sink,
}

impl RejectSink {
    pub(crate) fn new(staging: Option<Staging>, task: usize) -> Self {
        Self { staging, task, writer: None, nowhere: io::sink() }
    }

    fn writer(&mut self) -> io::Result<&mut dyn Write> {
        let Some(staging) = &self.staging else { return Ok(&mut self.nowhere) };
        if self.writer.is_none() {
            self.writer = Some(BufWriter::new(
                staging.create_rejects(self.task).map_err(|e| io::Error::new(e.source.kind(), e))?,
            ));
        }
        match &mut self.writer {
            Some(writer) => Ok(writer),
            None => Ok(&mut self.nowhere),
        }
    }

    /// Writes a line that is at hand.
    pub(crate) fn write(&mut self, rejection: &Rejection<'_>, line: &[u8]) -> io::Result<()> {
        let raw = std::str::from_utf8(line).ok();
        let raw_base64 = raw.is_none().then(|| STANDARD.encode(line));
        let writer = self.writer()?;
        serde_json::to_writer(&mut *writer, &WithRaw { rejection, raw, raw_base64 })?;
        writer.write_all(b"\n")
    }

    /// Starts the record of a line that comes in pieces. The length comes last, when it is known.
    pub(crate) fn write_long<'a>(&'a mut self, rejection: &Rejection<'_>) -> io::Result<LongRejection<'a>> {
        let writer = self.writer()?;
        let mut head = serde_json::to_value(rejection)?;
        if let Some(fields) = head.as_object_mut() {
            fields.shift_remove("length");
        }
        let head = head.to_string();
        write!(writer, "{},\"raw_base64\":\"", head.trim_end_matches('}'))?;
        Ok(LongRejection { writer, pending: Vec::new() })
    }

    /// The finished file, if any line was rejected.
    pub(crate) fn finish(self) -> StorageResult<Option<StagedFile>> {
        let Some(writer) = self.writer else { return Ok(None) };
        let closed = writer.into_inner().map_err(|e| millwork_storage::StorageError {
            operation: "write",
            object: format!("the rejected lines of task {}", self.task),
            source: e.into_error(),
        })?;
        closed.finish().map(Some)
    }
}

/// The record of a line that comes in pieces.
pub(crate) struct LongRejection<'a> {
    writer: &'a mut dyn Write,
    /// Up to two bytes that wait for a third: base64 takes three at a time.
    pending: Vec<u8>,
}

impl LongRejection<'_> {
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(48 << 10) {
            self.pending.extend_from_slice(chunk);
            let whole = self.pending.len() / 3 * 3;
            self.writer.write_all(STANDARD.encode(&self.pending[..whole]).as_bytes())?;
            self.pending.drain(..whole);
        }
        Ok(())
    }

    pub(crate) fn finish(self, length: u64) -> io::Result<()> {
        self.writer.write_all(STANDARD.encode(&self.pending).as_bytes())?;
        writeln!(self.writer, "\",\"length\":{length}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::ObjectUri;
    use millwork_storage::Location;
    use std::path::Path;

    fn written(root: &Path, write: impl FnOnce(&mut RejectSink)) -> Vec<serde_json::Value> {
        let staging = Staging::new(&Location::Local(root.to_owned()), "m", 1, "");
        staging.prepare().unwrap();
        let mut sink = RejectSink::new(Some(staging.clone()), 0);
        write(&mut sink);
        let file = sink.finish().unwrap().unwrap();
        let to = root.join("published");
        staging.publish(&[(file, ObjectUri::from_path(&to).unwrap())]).unwrap().unwrap();
        let text = std::fs::read_to_string(to).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn rejection(length: u64) -> Rejection<'static> {
        let (reason, message) = ("malformed", "expected `,}`".to_owned());
        Rejection { source_file: "file:///a", line: 3, offset: 17, length, reason, message }
    }

    #[test]
    fn the_raw_line_survives_whatever_it_holds() {
        let root = tempfile::tempdir().unwrap();
        let records = written(root.path(), |sink| {
            sink.write(&rejection(5), "a\"\u{1}é".as_bytes()).unwrap();
            sink.write(&rejection(2), b"\xff\xfe").unwrap();
            let mut long = sink.write_long(&rejection(0)).unwrap();
            for piece in [b"abcd".as_slice(), b"e", b"fg"] {
                long.piece(piece).unwrap();
            }
            long.finish(7).unwrap();
        });
        assert_eq!(records[0]["raw"], "a\"\u{1}é");
        assert_eq!(records[0]["offset"], 17);
        assert_eq!(records[1]["raw_base64"], STANDARD.encode(b"\xff\xfe"));
        assert_eq!(records[2]["raw_base64"], STANDARD.encode(b"abcdefg"));
        assert_eq!(records[2]["length"], 7);
        assert_eq!(records[2]["message"], "expected `,}`");
    }

    #[test]
    fn without_a_rejected_line_there_is_no_file() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::new(&Location::Local(root.path().to_owned()), "m", 1, "");
        assert!(RejectSink::new(Some(staging), 0).finish().unwrap().is_none());
    }
}
