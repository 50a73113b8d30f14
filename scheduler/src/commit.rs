//! Commit of an attempt: the record of its outputs, and their publication in an order that survives a crash at any
//! point.
//!
//! | crash | what remains | recovery |
//! |---|---|---|
//! | before the commit record | private files without a record | a new attempt; the private directory is removed |
//! | after it, before or during publication | a record that names every private and final name | publishes the rest |
//! | after publication, before the run is completed | all files in place | publishes again, which changes nothing, and completes the run |
//!
//! The output of a forced run replaces an older one. First all new files are checked to exist, then they are published,
//! and only then the old files are removed. In between, readers see the rows of both. In the opposite order readers
//! would see neither, and no output would remain if the new files were lost in that moment:
//!
//! | crash | readers see | recovery |
//! |---|---|---|
//! | before the first new name | the old output | publishes |
//! | during publication | the old output, and some of the new | publishes the rest |
//! | while the old output is removed | the new output, and some of the old | removes the rest; completes |
//!
//! The module `loss` handles committed outputs that are lost before publication.

use crate::accounts;
use crate::engine::TaskNow;
use crate::options::OutputLayout;
use millwork_api::{OutputFile, Requests, TaskRecord};
use millwork_conversion::{AttemptOutcome, FileLedger, StagedPart, TaskReport};
use millwork_manifest::{InvalidUri, Manifest, ObjectUri};
#[cfg(doc)]
use millwork_storage::StorageError;
use millwork_storage::{Location, StagedFile, Staging, Storage, StorageResult};
use millwork_tracking::{AttemptWork, Commit, Run, TrackingError, TrackingResult};
use serde::{Deserialize, Serialize};

/// Everything needed to finish the publication of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommitRecord {
    staging: Staging,
    /// Private file and final place, in order.
    outputs: Vec<(StagedFile, ObjectUri)>,
    /// Private files of rejected lines in the order in which they are joined, and the place of the joined file.
    rejects: Vec<StagedFile>,
    rejects_uri: ObjectUri,
    /// Published files that this output replaces: the present output of a forced run, and remains of lost outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaces: Vec<ObjectUri>,
    /// Ledger: for each file of the manifest, the number of its lines and their results.
    pub(crate) ledger: Vec<FileLedger>,
}

impl CommitRecord {
    /// Decodes the record of a commit.
    pub(crate) fn of(commit: &Commit) -> TrackingResult<Self> {
        let corrupt = |e: serde_json::Error| TrackingError::Corrupt { what: "commit record", value: e.to_string() };
        serde_json::from_str(&commit.record).map_err(corrupt)
    }
}

/// Result of a committed run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Rows in the output.
    pub rows: u64,
    /// Number of rejected lines.
    pub rejected: u64,
    /// Stored bytes of the input files.
    pub input_bytes: u64,
    /// Bytes of the Parquet output.
    pub output_bytes: u64,
    /// Characters replaced by U+FFFD.
    pub replaced_characters: u64,
    /// Rows that a user's query filtered out.
    #[serde(default)]
    pub left_out: u64,
    /// The output files.
    pub outputs: Vec<OutputFile>,
    /// The file of rejected lines, if there are any.
    pub rejected_lines: Option<String>,
    /// Keys that were renamed because a metadata column has their name.
    pub renamed_columns: Vec<(String, String)>,
    /// Columns whose names differ from another's only in case, each paired with that one.
    #[serde(default)]
    pub case_twins: Vec<(String, String)>,
    /// Columns with the name of a partition in the output paths, which readers may use instead.
    #[serde(default)]
    pub hidden_columns: Vec<String>,
    /// Query plan of the attempt that was committed.
    #[serde(default)]
    pub plan: String,
    /// Ledger: for each file of the manifest, the number of its lines and their results.
    pub ledger: Vec<FileLedger>,
    /// Number of the committed attempt; 0 if not recorded.
    #[serde(default)]
    pub attempt: u32,
    /// Tasks of the attempt, at most the 1,000 that ended last.
    #[serde(default)]
    pub tasks: Vec<TaskRecord>,
    /// Steps of the attempt, and the work of its tasks.
    #[serde(default)]
    pub work: Option<AttemptWork>,
    /// CPU time of the tasks, in microseconds.
    #[serde(default)]
    pub cpu_micros: u64,
    /// Requests to object storage, estimated from input and output sizes.
    #[serde(default)]
    pub storage: Requests,
}

impl RunResult {
    /// Decodes the result of a run; `None` if it has none.
    pub fn of(run: &Run) -> TrackingResult<Option<Self>> {
        let corrupt = |e: serde_json::Error| TrackingError::Corrupt {
            what: "result of a run",
            value: format!("{}: {e}", run.manifest_id),
        };
        run.result.as_ref().map(Self::deserialize).transpose().map_err(corrupt)
    }

    /// Adds the accounts of the attempt that produced the result.
    pub(crate) fn account(&mut self, attempt: u32, work: AttemptWork, tasks: &[TaskNow]) {
        let in_bucket = |uri: &str| uri.starts_with("s3://");
        let inputs = self.ledger.iter().filter(|file| in_bucket(&file.uri)).map(|file| file.size_bytes);
        let outputs = self.outputs.iter().filter(|file| in_bucket(&file.uri)).map(|file| file.bytes);
        self.storage = accounts::requests(inputs, outputs);
        self.cpu_micros = work.cpu_micros;
        (self.attempt, self.tasks, self.work) = (attempt, accounts::records(tasks), Some(work));
    }
}

/// Places of the output and of the rejected lines.
pub(crate) struct Destination<'a> {
    pub(crate) output: &'a Location,
    pub(crate) quarantine: &'a Location,
    pub(crate) layout: &'a OutputLayout,
    /// Generation of the manifest's output, from 1.
    pub(crate) generation: u32,
}

impl Destination<'_> {
    /// Final names of an attempt's outputs, in order.
    fn outputs(
        &self,
        manifest: &Manifest,
        staging: &Staging,
        outcome: &AttemptOutcome,
    ) -> Result<Vec<ObjectUri>, InvalidUri> {
        let parts = outcome.reports.iter().flat_map(|report| &report.parts);
        let place = |(number, part): (usize, &StagedPart)| match staging.place_of(&part.file) {
            Some(uri) => Ok(uri),
            None => self.output.object(&self.layout.path(manifest, self.generation, number)),
        };
        parts.enumerate().map(place).collect()
    }

    /// Final name of the rejected lines.
    fn rejects(&self, manifest: &Manifest) -> Result<ObjectUri, InvalidUri> {
        let name = OutputLayout::name(manifest, self.generation);
        self.quarantine.object(&format!("rejected-lines/{}/{name}.ndjson", manifest.date))
    }

    /// Name for the rejected lines of an attempt that failed because of their number.
    pub(crate) fn rejects_of_failed(&self, manifest: &Manifest, attempt: u32) -> Result<ObjectUri, InvalidUri> {
        let name = OutputLayout::name(manifest, self.generation);
        self.quarantine.object(&format!("rejected-lines/{}/{name}-attempt-{attempt}.ndjson", manifest.date))
    }

    /// Final names that have not been checked to be free yet. Those of uploads were checked when their last parts were
    /// uploaded.
    pub(crate) fn unseen_names(
        &self,
        manifest: &Manifest,
        staging: &Staging,
        outcome: &AttemptOutcome,
    ) -> Result<Vec<ObjectUri>, InvalidUri> {
        let mut names = if staging.has_uploads() { Vec::new() } else { self.outputs(manifest, staging, outcome)? };
        if outcome.reports.iter().any(|report| !report.rejects.is_empty()) {
            names.push(self.rejects(manifest)?);
        }
        Ok(names)
    }
}

impl CommitRecord {
    /// Builds the commit record and the result from an attempt's outcome.
    pub(crate) fn new(
        manifest: &Manifest,
        staging: Staging,
        outcome: &AttemptOutcome,
        to: &Destination<'_>,
    ) -> Result<(Self, RunResult), InvalidUri> {
        let parts = outcome.reports.iter().flat_map(|report| report.parts.iter().map(move |part| (report, part)));
        let uris = to.outputs(manifest, &staging, outcome)?;
        let rejects_uri = to.rejects(manifest)?;
        let placed: Vec<(&TaskReport, &StagedPart, ObjectUri)> =
            parts.zip(uris).map(|((report, part), uri)| (report, part, uri)).collect();
        let record = Self {
            staging,
            outputs: placed.iter().map(|(_, part, uri)| (part.file.clone(), uri.clone())).collect(),
            rejects: outcome.reports.iter().flat_map(|report| report.rejects.clone()).collect(),
            rejects_uri,
            replaces: Vec::new(),
            ledger: outcome.ledger.clone(),
        };
        let output = |(report, part, uri): &(&TaskReport, &StagedPart, ObjectUri)| OutputFile {
            uri: uri.to_string(),
            rows: part.rows,
            bytes: part.file.size_bytes,
            manifest_id: manifest.id.to_string(),
            executor: report.executor.clone(),
        };
        let result = record.result(outcome, placed.iter().map(output).collect(), to.layout);
        Ok((record, result))
    }

    /// The result that an attempt with this outcome and these outputs has once this is published.
    fn result(&self, outcome: &AttemptOutcome, outputs: Vec<OutputFile>, layout: &OutputLayout) -> RunResult {
        let sum = |of: fn(&FileLedger) -> u64| outcome.ledger.iter().map(of).sum();
        RunResult {
            rows: outputs.iter().map(|output| output.rows).sum(),
            rejected: sum(|file| file.rejected),
            input_bytes: sum(|file| file.size_bytes),
            output_bytes: outputs.iter().map(|output| output.bytes).sum(),
            replaced_characters: sum(|file| file.replaced_characters),
            left_out: outcome.left_out,
            outputs,
            rejected_lines: (!self.rejects.is_empty()).then(|| self.rejects_uri.to_string()),
            renamed_columns: outcome.columns.renamed(),
            case_twins: outcome.columns.twins(),
            hidden_columns: layout.hides(&outcome.columns.names()),
            ledger: outcome.ledger.clone(),
            ..RunResult::default()
        }
    }

    /// Record of outputs that were published before their record was lost. Has no rejected lines, so that their place
    /// does not matter.
    pub(crate) fn shown(staging: Staging, outputs: Vec<(StagedFile, ObjectUri)>, rejects_uri: ObjectUri) -> Self {
        Self { staging, outputs, rejects: Vec::new(), rejects_uri, replaces: Vec::new(), ledger: Vec::new() }
    }

    /// Extends this record so that its publication also removes the files of other records.
    pub(crate) fn in_place_of(self, replaced: &[Self]) -> Self {
        Self { replaces: replaced.iter().flat_map(Self::published).cloned().collect(), ..self }
    }

    /// Final names of all files that the record publishes.
    fn published(&self) -> impl Iterator<Item = &ObjectUri> {
        let rejects = (!self.rejects.is_empty()).then_some(&self.rejects_uri);
        self.outputs.iter().map(|(_, uri)| uri).chain(rejects)
    }

    /// Fails with [`StorageError::is_lost`] if any file of the record is neither publishable nor published.
    pub(crate) fn check_there(&self, storage: &Storage) -> StorageResult<()> {
        let staging = storage.staging(self.staging.clone());
        if !self.rejects.is_empty() {
            staging.check_joined(&self.rejects, &self.rejects_uri)?;
        }
        staging.check_there(&self.outputs)
    }

    /// Withdraws an output that has lost a part: prevents its publication, and removes published files. Idempotent.
    pub(crate) fn take_back(&self, storage: &Storage) -> StorageResult<()> {
        let staging = storage.staging(self.staging.clone());
        staging.take_back(&self.outputs)?;
        if self.rejects.is_empty() { Ok(()) } else { staging.take_back_joined(&self.rejects, &self.rejects_uri) }
    }

    /// Gives every file its final name. Idempotent, and continues an interrupted publication.
    ///
    /// Replaced files are removed last.
    pub(crate) fn publish(&self, storage: &Storage) -> StorageResult<()> {
        // In a bucket each check is a request, and nothing is at risk if nothing is replaced.
        if !self.replaces.is_empty() || !self.staging.has_uploads() {
            self.check_there(storage)?;
        }
        let staging = storage.staging(self.staging.clone());
        if !self.rejects.is_empty() {
            staging.publish_joined(&self.rejects, &self.rejects_uri)?;
        }
        if let Err(error) = staging.publish(&self.outputs)? {
            tracing::warn!(%error, "cannot remove what is left of a published attempt");
        }
        self.replaces.iter().try_for_each(|uri| storage.remove_blocking(uri))
    }
}

#[cfg(test)]
mod tests;
