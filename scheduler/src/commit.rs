//! The commit of an attempt: what is published where, in an order that survives a death at any point.
//!
//! | the process dies | what is left | what the next one does |
//! |---|---|---|
//! | before the commit record | private files of an attempt that nobody knows | a new attempt; the private directory goes |
//! | after it, before or during publication | a record that names every private and final name | publishes the rest |
//! | after publication, before the run is completed | all files in place | publishing again is no error; completes |

use crate::options::OutputLayout;
use millwork_conversion::{AttemptOutcome, FileLedger};
use millwork_manifest::{Manifest, ObjectUri};
use millwork_storage::{StagedFile, Staging, StorageError, StorageResult};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// All that is needed to finish the publication of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommitRecord {
    staging: Staging,
    /// Private file and final path, in order.
    outputs: Vec<(StagedFile, PathBuf)>,
    /// Private files of rejected lines, in the order in which they become one file, and its path.
    rejects: Vec<StagedFile>,
    rejects_path: PathBuf,
    /// What became of each file.
    pub(crate) ledger: Vec<FileLedger>,
}

/// What a committed run produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Rows in the output.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Stored bytes of the input.
    pub input_bytes: u64,
    /// Bytes of Parquet.
    pub output_bytes: u64,
    /// Characters replaced by U+FFFD.
    pub replaced_characters: u64,
    /// The output files.
    pub outputs: Vec<OutputFile>,
    /// The file of rejected lines, if there are any.
    pub rejected_lines: Option<String>,
    /// Keys that got another name, since theirs is a metadata column's.
    pub renamed_columns: Vec<(String, String)>,
    /// What became of each file.
    pub ledger: Vec<FileLedger>,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Where it is.
    pub uri: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The manifest it is of.
    pub manifest_id: String,
    /// The executor that wrote it.
    pub executor: String,
}

/// Where output and rejected lines go.
pub(crate) struct Destination<'a> {
    pub(crate) output: &'a Path,
    pub(crate) quarantine: &'a Path,
    pub(crate) layout: &'a OutputLayout,
}

impl CommitRecord {
    /// What an attempt's outcome will be once it is published.
    pub(crate) fn new(
        manifest: &Manifest,
        staging: Staging,
        outcome: &AttemptOutcome,
        to: &Destination<'_>,
    ) -> (Self, RunResult) {
        let parts = outcome.reports.iter().flat_map(|report| report.parts.iter().map(move |part| (report, part)));
        let placed: Vec<_> = parts
            .enumerate()
            .map(|(number, (report, part))| (report, part, to.output.join(to.layout.path(manifest, number))))
            .collect();
        let rejects_path = to
            .quarantine
            .join("rejected-lines")
            .join(manifest.date.to_string())
            .join(format!("{}.ndjson", manifest.id));
        let record = Self {
            staging,
            outputs: placed.iter().map(|(_, part, path)| (part.file.clone(), path.clone())).collect(),
            rejects: outcome.reports.iter().flat_map(|report| report.rejects.clone()).collect(),
            rejects_path,
            ledger: outcome.ledger.clone(),
        };
        let sum = |of: fn(&FileLedger) -> u64| outcome.ledger.iter().map(of).sum();
        let outputs: Vec<_> = placed
            .iter()
            .map(|(report, part, path)| OutputFile {
                uri: uri_of(path),
                rows: part.rows,
                bytes: part.file.size_bytes,
                manifest_id: manifest.id.to_string(),
                executor: report.executor.clone(),
            })
            .collect();
        let result = RunResult {
            rows: outputs.iter().map(|output| output.rows).sum(),
            rejected: sum(|file| file.rejected),
            input_bytes: sum(|file| file.size_bytes),
            output_bytes: outputs.iter().map(|output| output.bytes).sum(),
            replaced_characters: sum(|file| file.replaced_characters),
            outputs,
            rejected_lines: (!record.rejects.is_empty()).then(|| uri_of(&record.rejects_path)),
            renamed_columns: outcome.columns.renamed(),
            ledger: outcome.ledger.clone(),
        };
        (record, result)
    }

    /// A final name that something else has already. To be asked before the commit.
    pub(crate) fn foreign_output(&self) -> Option<&Path> {
        self.outputs.iter().map(|(_, path)| path.as_path()).find(|path| path.exists())
    }

    /// Gives every file its final name. Doing it again, or going on where another stopped, is no error.
    pub(crate) fn publish(&self) -> StorageResult<()> {
        self.publish_rejects()?;
        for (file, path) in &self.outputs {
            self.staging.publish(file, path)?;
        }
        if let Err(error) = self.staging.discard() {
            tracing::warn!(%error, "cannot remove the private directory of a published attempt");
        }
        Ok(())
    }

    /// Puts the files of rejected lines together under a private name, then gives that its place.
    fn publish_rejects(&self) -> StorageResult<()> {
        if self.rejects.is_empty() || self.rejects_path.exists() {
            return Ok(());
        }
        let joined = StagedFile {
            name: "rejected-lines.ndjson".to_owned(),
            size_bytes: self.rejects.iter().map(|file| file.size_bytes).sum(),
        };
        let path = self.staging.path(&joined);
        let join = || -> io::Result<()> {
            let mut to = File::create(&path)?;
            for part in &self.rejects {
                io::copy(&mut File::open(self.staging.path(part))?, &mut to)?;
            }
            to.flush()?;
            to.sync_all()
        };
        join().map_err(|source| StorageError { operation: "write", object: path.display().to_string(), source })?;
        publish_across(&self.staging, &joined, &self.rejects_path)
    }
}

/// Publishes to a place that may be on another file system: there, through a private name beside the final one.
fn publish_across(staging: &Staging, file: &StagedFile, to: &Path) -> StorageResult<()> {
    match staging.publish(file, to) {
        Err(e) if e.source.kind() == io::ErrorKind::CrossesDevices => {
            let fail = |source| StorageError { operation: "publish", object: to.display().to_string(), source };
            let private = to.with_extension("tmp");
            std::fs::copy(staging.path(file), &private).map_err(fail)?;
            File::open(&private).and_then(|copy| copy.sync_all()).map_err(fail)?;
            std::fs::rename(&private, to).map_err(fail)
        }
        done => done,
    }
}

fn uri_of(path: &Path) -> String {
    ObjectUri::from_path(path).map_or_else(|_| path.display().to_string(), |uri| uri.to_string())
}
