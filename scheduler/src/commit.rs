//! The commit of an attempt: what is published where, in an order that survives a death at any point.
//!
//! | the process dies | what is left | what the next one does |
//! |---|---|---|
//! | before the commit record | private files of an attempt that nobody knows | a new attempt; the private directory goes |
//! | after it, before or during publication | a record that names every private and final name | publishes the rest |
//! | after publication, before the run is completed | all files in place | publishing again is no error; completes |
//!
//! The output of a forced run takes the place of another. All of the new one is looked for before any of it is shown; then it
//! is shown; only then the old one is removed. For the moment between the two a reader sees the rows of both. The other order
//! would show none for that moment, and would leave none for good if the new one were lost in it; so the old one goes last:
//!
//! | the process dies | readers see | the next one does |
//! |---|---|---|
//! | before the first new name | the old output | publishes |
//! | while new names are given | the old output, and some of the new | publishes the rest |
//! | while the old output is removed | the new output, and some of the old | removes the rest; completes |
//!
//! What becomes of a committed output that is lost before it is shown is in `loss`.

use crate::accounts;
use crate::engine::TaskNow;
use crate::options::OutputLayout;
use millwork_api::{OutputFile, Requests, TaskRecord};
use millwork_conversion::{AttemptOutcome, FileLedger, StagedPart, TaskReport};
use millwork_manifest::{InvalidUri, Manifest, ObjectUri};
#[cfg(doc)]
use millwork_storage::StorageError;
use millwork_storage::{Location, StagedFile, Staging, StorageResult, remove_blocking};
use millwork_tracking::AttemptWork;
use serde::{Deserialize, Serialize};

/// All that is needed to finish the publication of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommitRecord {
    staging: Staging,
    /// Private file and final place, in order.
    outputs: Vec<(StagedFile, ObjectUri)>,
    /// Private files of rejected lines, in the order in which they become one file, and its place.
    rejects: Vec<StagedFile>,
    rejects_uri: ObjectUri,
    /// Files that this output takes the place of: those of the output that is shown, if the run was forced, and what may be left
    /// of outputs that were lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaces: Vec<ObjectUri>,
    /// Row for each file of the manifest: its lines, and what became of them.
    pub(crate) ledger: Vec<FileLedger>,
}

/// Result of a committed run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Rows that a query of the user's was given and did not write.
    #[serde(default)]
    pub left_out: u64,
    /// The output files.
    pub outputs: Vec<OutputFile>,
    /// The file of rejected lines, if there are any.
    pub rejected_lines: Option<String>,
    /// Keys that got another name, since theirs is a metadata column's.
    pub renamed_columns: Vec<(String, String)>,
    /// Columns whose names differ from another's in case only, each with that one.
    #[serde(default)]
    pub case_twins: Vec<(String, String)>,
    /// Columns that have the name of a partition in the outputs' paths, which readers may take in their place.
    #[serde(default)]
    pub hidden_columns: Vec<String>,
    /// The plan of the attempt that won.
    #[serde(default)]
    pub plan: String,
    /// Row for each file of the manifest: its lines, and what became of them.
    pub ledger: Vec<FileLedger>,
    /// The attempt that made it; 0 if that was not noted.
    #[serde(default)]
    pub attempt: u32,
    /// Tasks that made it, at most 1,000: of more, those that ended last.
    #[serde(default)]
    pub tasks: Vec<TaskRecord>,
    /// Steps of the attempt, and what its tasks did.
    #[serde(default)]
    pub work: Option<AttemptWork>,
    /// Time that tasks computed, in microseconds.
    #[serde(default)]
    pub cpu_micros: u64,
    /// Requests to object storage, estimated by the sizes of what was read and written.
    #[serde(default)]
    pub storage: Requests,
}

impl RunResult {
    /// Notes how the attempt made it.
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
    /// Number of the manifest's output, from 1.
    pub(crate) generation: u32,
}

impl Destination<'_> {
    /// The final names of an attempt's outputs, in order.
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

    /// The final name of rejected lines.
    fn rejects(&self, manifest: &Manifest) -> Result<ObjectUri, InvalidUri> {
        let name = OutputLayout::name(manifest, self.generation);
        self.quarantine.object(&format!("rejected-lines/{}/{name}.ndjson", manifest.date))
    }

    /// The name under which the rejected lines of an attempt are kept that fails for their number.
    pub(crate) fn rejects_of_failed(&self, manifest: &Manifest, attempt: u32) -> Result<ObjectUri, InvalidUri> {
        let name = OutputLayout::name(manifest, self.generation);
        self.quarantine.object(&format!("rejected-lines/{}/{name}-attempt-{attempt}.ndjson", manifest.date))
    }

    /// The final names of what an attempt will publish, of which nobody has looked whether they are free. Those of
    /// uploads were looked at when their last parts were uploaded.
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
    /// Makes the record and the result that an attempt's outcome will have once it is published.
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
        let sum = |of: fn(&FileLedger) -> u64| outcome.ledger.iter().map(of).sum();
        let outputs: Vec<_> = placed
            .iter()
            .map(|(report, part, uri)| OutputFile {
                uri: uri.to_string(),
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
            left_out: outcome.left_out,
            outputs,
            rejected_lines: (!record.rejects.is_empty()).then(|| record.rejects_uri.to_string()),
            renamed_columns: outcome.columns.renamed(),
            case_twins: outcome.columns.twins(),
            hidden_columns: to.layout.hides(&outcome.columns.names()),
            ledger: outcome.ledger.clone(),
            ..RunResult::default()
        };
        Ok((record, result))
    }

    /// Outputs that were shown before their record was lost. It has no rejected lines, so that their place does not matter.
    pub(crate) fn shown(staging: Staging, outputs: Vec<(StagedFile, ObjectUri)>, rejects_uri: ObjectUri) -> Self {
        Self { staging, outputs, rejects: Vec::new(), rejects_uri, replaces: Vec::new(), ledger: Vec::new() }
    }

    /// Makes this record one whose publication also removes what other records published.
    pub(crate) fn in_place_of(self, replaced: &[Self]) -> Self {
        Self { replaces: replaced.iter().flat_map(Self::published).cloned().collect(), ..self }
    }

    /// The final names of all it publishes.
    fn published(&self) -> impl Iterator<Item = &ObjectUri> {
        let rejects = (!self.rejects.is_empty()).then_some(&self.rejects_uri);
        self.outputs.iter().map(|(_, uri)| uri).chain(rejects)
    }

    /// Refuses, by [`StorageError::is_lost`], if something that it names can neither be shown any more nor is shown.
    pub(crate) fn check_there(&self) -> StorageResult<()> {
        if !self.rejects.is_empty() {
            self.staging.check_joined(&self.rejects, &self.rejects_uri)?;
        }
        self.staging.check_there(&self.outputs)
    }

    /// Makes it impossible to show any of it, and removes what is shown: it has lost a part. Doing it again is no error.
    pub(crate) fn take_back(&self) -> StorageResult<()> {
        self.staging.take_back(&self.outputs)?;
        if self.rejects.is_empty() { Ok(()) } else { self.staging.take_back_joined(&self.rejects, &self.rejects_uri) }
    }

    /// Gives every file its final name. Doing it again, or going on where another stopped, is no error.
    ///
    /// An output that is replaced goes last.
    pub(crate) fn publish(&self) -> StorageResult<()> {
        // In a bucket each look is a request, and nothing is at stake if nothing is replaced.
        if !self.replaces.is_empty() || !self.staging.has_uploads() {
            self.check_there()?;
        }
        if !self.rejects.is_empty() {
            self.staging.publish_joined(&self.rejects, &self.rejects_uri)?;
        }
        if let Err(error) = self.staging.publish(&self.outputs)? {
            tracing::warn!(%error, "cannot remove what is left of a published attempt");
        }
        self.replaces.iter().try_for_each(remove_blocking)
    }
}

#[cfg(test)]
mod tests;
