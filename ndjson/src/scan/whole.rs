//! Rejection of lines that are too long, and of files of other formats, without holding their text in memory.

use super::{FileScan, ScanContext};
use crate::blocks::{Blocks, MAX_LINE_BYTES};
use crate::defects::ScanError;
use crate::formats::OtherFormat;
use crate::input::Content;
use crate::reason::RejectReason;
use crate::rejects::{LongLine, Rejection};
use std::io;

impl<R: Content> FileScan<R> {
    /// Format of a file that is not NDJSON, detected before its first line is scanned.
    pub(super) fn other_format(&self) -> Option<OtherFormat> {
        let is_start = self.range.start == 0 && self.counts.lines == 0;
        if is_start { OtherFormat::of(self.blocks.start()) } else { None }
    }

    /// Rejects a whole file as one line.
    #[cold]
    pub(super) fn reject_file(&mut self, context: &mut ScanContext, format: OtherFormat) -> Result<(), ScanError> {
        self.counts.other_format = Some(format);
        let message = format.describe(self.range.compression);
        self.reject_in_pieces(context, RejectReason::NotNdjson, message, |blocks, line| {
            blocks.skip_all(|piece| {
                line.piece(piece);
                Ok(())
            })
        })
    }

    /// Rejects a line that is skipped in pieces.
    pub(super) fn reject_long_line(&mut self, context: &mut ScanContext) -> Result<(), ScanError> {
        let message = format!("longer than {MAX_LINE_BYTES} bytes");
        self.reject_in_pieces(context, RejectReason::TooLong, message, |blocks, line| {
            blocks.skip_long_line(|piece| {
                line.piece(piece);
                Ok(())
            })
        })
    }

    /// Rejects a skipped part of the input as one line, piece by piece.
    fn reject_in_pieces(
        &mut self,
        context: &mut ScanContext,
        reason: RejectReason,
        message: String,
        pass_over: impl FnOnce(&mut Blocks<R>, &mut LongLine) -> io::Result<u64>,
    ) -> Result<(), ScanError> {
        self.counts.lines += 1;
        self.counts.rejected += 1;
        let offset = self.blocks.offset();
        let mut line = LongLine::default();
        let passed_over = pass_over(&mut self.blocks, &mut line);
        let length = passed_over.map_err(|e| self.blocks.input().explain(e))?;
        let source_file = self.range.uri.as_str();
        let rejection = Rejection { source_file, line: self.line_number(), offset, length, reason, message };
        let written = context.rejects.write_long(&rejection, line);
        written.map_err(|e| ScanError::of_rejects(e, &self.range))
    }
}
