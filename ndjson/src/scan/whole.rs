//! Rejection without holding the text in memory: of lines that are too long, and of files that are something else than NDJSON.

use super::{FileScan, ScanContext};
use crate::blocks::MAX_LINE_BYTES;
use crate::defects::ScanError;
use crate::formats::{OtherFormat, REASON};
use crate::input::Content;
use crate::rejects::{LongLine, Rejection};
use std::io;

impl<R: Content> FileScan<R> {
    /// The format of a file that is something else, seen before its first line is scanned.
    pub(super) fn other_format(&self) -> Option<OtherFormat> {
        let is_start = self.range.start == 0 && self.counts.lines == 0;
        if is_start { OtherFormat::of(self.blocks.start()) } else { None }
    }

    /// Rejects all of a file as one line.
    #[cold]
    pub(super) fn reject_file(&mut self, context: &mut ScanContext, format: OtherFormat) -> Result<(), ScanError> {
        self.counts.lines += 1;
        self.counts.rejected += 1;
        self.counts.other_format = Some(format);
        let offset = self.blocks.offset();
        let mut line = LongLine::default();
        let skipped = self.blocks.skip_all(|piece| {
            line.piece(piece);
            Ok::<_, io::Error>(())
        });
        let length = skipped.map_err(|e| self.blocks.input().explain(e))?;
        let rejection = Rejection {
            source_file: self.range.uri.as_str(),
            line: self.line_number(),
            offset,
            length,
            reason: REASON,
            message: format.describe(self.range.compression),
        };
        let written = context.rejects.write_long(&rejection, line);
        written.map_err(|e| ScanError::of_rejects(e, &self.range))
    }

    /// Rejects a line that is passed over in pieces.
    pub(super) fn reject_long_line(&mut self, context: &mut ScanContext) -> Result<(), ScanError> {
        self.counts.lines += 1;
        self.counts.rejected += 1;
        let offset = self.blocks.offset();
        let mut line = LongLine::default();
        let skipped = self.blocks.skip_long_line(|piece| {
            line.piece(piece);
            Ok::<_, io::Error>(())
        });
        let length = skipped.map_err(|e| self.blocks.input().explain(e))?;
        let rejection = Rejection {
            source_file: self.range.uri.as_str(),
            line: self.line_number(),
            offset,
            length,
            reason: "too-long",
            message: format!("longer than {MAX_LINE_BYTES} bytes"),
        };
        let written = context.rejects.write_long(&rejection, line);
        written.map_err(|e| ScanError::of_rejects(e, &self.range))
    }
}
