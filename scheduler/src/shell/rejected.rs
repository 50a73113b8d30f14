//! Rejected lines of a manifest that fails because of their number: they are kept, and the first are named in the
//! failure.
//!
//! A crash leaves private files, which are removed with the attempt, and perhaps the kept file. The next attempt
//! keeps its own.

use millwork_conversion::AttemptOutcome;
use millwork_manifest::{Failure, ObjectUri};
use millwork_storage::{StagedFile, StagingArea, StorageResult};
use serde::Deserialize;
use std::io::{BufRead, BufReader, Read};

/// Limit of the rejected lines named in a failure: three suffice to show the problem.
const MAX_SHOWN: usize = 3;
/// Limit of the bytes read of a record: twice the largest record, see [`millwork_conversion`].
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// Record of a rejected line, without the line itself, which must not appear in messages.
#[derive(Deserialize)]
struct Record {
    source_file: String,
    line: u64,
    reason: String,
    message: String,
}

/// Publishes the rejected lines of a failed attempt under a name of their own. Returns the failure with that name and
/// the first lines.
pub(super) fn keep(failure: &Failure, staging: &StagingArea, outcome: &AttemptOutcome, to: &ObjectUri) -> Failure {
    let files: Vec<StagedFile> = outcome.reports.iter().flat_map(|report| report.rejects.clone()).collect();
    let first = first_of(staging, &files).unwrap_or_default();
    let kept = match staging.publish_joined(&files, to) {
        Ok(()) => format!("all are kept in `{to}`"),
        Err(error) => format!("they are not kept: {error}"),
    };
    let shown: Vec<_> = first
        .iter()
        .map(|Record { source_file, line, reason, message }| {
            format!("`{source_file}`, line {line}: {reason}: {message}")
        })
        .collect();
    let first = if shown.is_empty() { String::new() } else { format!("; the first: {}", shown.join("; ")) };
    let advice = "correct the input, or raise --max-rejected-percent (MAX_REJECTED_PERCENT)";
    let mut told = Failure::new(failure.class, format_args!("{failure}{first}; {kept}; {advice}"));
    told.file.clone_from(&failure.file);
    told
}

fn first_of(staging: &StagingArea, files: &[StagedFile]) -> StorageResult<Vec<Record>> {
    let mut records = Vec::new();
    for file in files {
        let mut lines = BufReader::new(staging.open_rejects(file)?);
        while records.len() < MAX_SHOWN {
            let mut line = Vec::new();
            let read = Read::by_ref(&mut lines).take(MAX_RECORD_BYTES).read_until(b'\n', &mut line);
            match read.ok().filter(|read| *read > 0).and_then(|_| serde_json::from_slice(&line).ok()) {
                Some(record) => records.push(record),
                None => break,
            }
        }
    }
    Ok(records)
}
