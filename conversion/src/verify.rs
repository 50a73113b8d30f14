//! Comparison of executors' reports with their private files and with the input.
//!
//! | what | in a directory | in a bucket |
//! |---|---|---|
//! | size of an output | of the file | of the parts that the store lists |
//! | rows, columns, manifest of an output | in the footer of the file | in the footer that was reported, which is or becomes the last part |
//! | data of an output before its end | not read | cannot be read before the upload is completed, after the commit |
//! | rejected lines | counted | counted |
//! | a file without rows and rejected lines | its start is blank | the same |

use crate::check::{Expected, distrusted};
use crate::failure::failure_of_storage;
use crate::judge::AttemptOutcome;
use crate::report::{StagedPart, TaskReport};
use crate::survey::{Survey, on_all_cores};
use millwork_manifest::{Failure, FailureClass};
use millwork_ndjson::{BOM, FileRange, InputError, Limits, failure_of_scan, open_start};
use millwork_parquet_text::footer::{Reported, check_footer};
use millwork_storage::{StagedFile, StagingArea, Storage, StorageError, Tail};
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

/// Bytes of content that are read from a file reported as blank, to check that: 64 KiB.
const BLANK_BYTES: u64 = 64 << 10;
/// Memory for reading rejected lines.
const BUFFER_BYTES: usize = 256 << 10;

impl AttemptOutcome {
    /// Checks the outcome against the private files, and against the input where that is cheap.
    pub(crate) async fn verified(
        self,
        expected: Arc<Expected>,
        survey: &Survey,
        staging: &StagingArea,
    ) -> Result<Self, Failure> {
        self.check_blank(survey).await?;
        let staging = staging.clone();
        let work = move || {
            check_outputs(&expected, &staging, &self.reports)?;
            self.reports.iter().try_for_each(|report| check_rejects(&staging, report))?;
            Ok(self)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Failure::new(FailureClass::Bug, e))?
    }

    /// Checks the starts of files that are not empty, but have neither rows nor rejected lines.
    async fn check_blank(&self, survey: &Survey) -> Result<(), Failure> {
        let is_blank = |range: &&FileRange| {
            let file = self.ledger.get(range.file as usize);
            range.start == 0 && range.end > 0 && file.is_some_and(|file| file.rows + file.rejected == 0)
        };
        let blank: Vec<FileRange> = survey.ranges.iter().filter(is_blank).cloned().collect();
        if blank.is_empty() {
            return Ok(());
        }
        let storage = survey.storage.clone();
        for found in on_all_cores(blank, move |ranges| find_content(&storage, ranges)).await? {
            let Some(range) = found? else { continue };
            let of_file = |report: &&TaskReport| report.ledger.iter().any(|of| of.file == range.file);
            let executor = self.reports.iter().find(of_file).map_or("", |report| report.executor.as_str());
            return Err(distrusted(executor, format!("`{}` is not blank, but has no rows there", range.uri)));
        }
        Ok(())
    }
}

/// The first of these files whose start is not blank.
fn find_content(storage: &Storage, ranges: &[FileRange]) -> Result<Option<FileRange>, Failure> {
    for range in ranges {
        let fail = |e: InputError| failure_of_scan(&e.into());
        // A start this short is within every limit.
        let input = open_start(storage, range, &Limits::default(), BLANK_BYTES).map_err(fail)?;
        let mut start = Vec::new();
        let read = input.take(BLANK_BYTES).read_to_end(&mut start);
        read.map_err(|e| failure_of_storage(&StorageError::on_read(&range.uri)(e)))?;
        let text = start.strip_prefix(BOM).unwrap_or(&start);
        if !text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            return Ok(Some(range.clone()));
        }
    }
    Ok(None)
}

/// Compares outputs with what their footers say.
fn check_outputs(expected: &Expected, staging: &StagingArea, reports: &[TaskReport]) -> Result<(), Failure> {
    let of_report = |report| TaskReport::parts_of(report);
    let parts: Vec<(&TaskReport, &StagedPart)> = reports.iter().flat_map(of_report).collect();
    let files: Vec<&StagedFile> = parts.iter().map(|(_, part)| &part.file).collect();
    let mut look = |tail: &Tail<'_>| {
        let Some((_, part)) = parts.get(tail.file) else { return Ok(()) };
        let reported = Reported {
            rows: part.rows,
            row_groups: part.row_groups,
            manifest_id: expected.manifest_id.as_str(),
            columns: &expected.columns,
        };
        check_footer(tail, &reported).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
    };
    staging.examine(&files, &mut look).map_err(|(place, error)| {
        let executor = parts.get(place).map_or("", |(report, _)| report.executor.as_str());
        unproved(executor, &error)
    })
}

/// Compares the files of rejected lines with the ledger.
fn check_rejects(staging: &StagingArea, report: &TaskReport) -> Result<(), Failure> {
    let mut lines = 0;
    for file in &report.rejects {
        let reader = staging.open_rejects(file).map_err(|e| unproved(&report.executor, &e))?;
        let counted = count_lines(reader);
        let (found, bytes, is_ended) =
            counted.map_err(|e| unproved(&report.executor, &StorageError::on_read(&file.name)(e)))?;
        if bytes != file.size_bytes || !is_ended {
            let why = format!(
                "`{}` has {bytes} bytes, {} were reported, or its last line has no end",
                file.name, file.size_bytes
            );
            return Err(distrusted(&report.executor, why));
        }
        lines += found;
    }
    let rejected: u64 = report.ledger.iter().map(|range| range.rejected).sum();
    match lines == rejected {
        true => Ok(()),
        false => {
            Err(distrusted(&report.executor, format!("{rejected} lines were rejected, {lines} are in their files")))
        }
    }
}

/// Counts newlines and bytes, and tells whether the last byte is a newline.
fn count_lines(mut reader: impl Read) -> io::Result<(u64, u64, bool)> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut lines, mut bytes, mut is_ended) = (0, 0, false);
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok((lines, bytes, is_ended)),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let block = &buffer[..read];
        lines += memchr::memchr_iter(b'\n', block).count() as u64;
        bytes += read as u64;
        is_ended = block.last() == Some(&b'\n');
    }
}

/// Failure for a private file that differs from its report, or could not be read.
fn unproved(executor: &str, error: &StorageError) -> Failure {
    match error.source.kind() {
        ErrorKind::InvalidData | ErrorKind::NotFound | ErrorKind::UnexpectedEof => distrusted(executor, error),
        _ => failure_of_storage(error),
    }
}

#[cfg(test)]
mod tests;
