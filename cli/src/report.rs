//! What a run came to, for a person and for a program.

use crate::shown::shown;
use crate::table::bytes;
use millwork_api::OutputFile;
use millwork_manifest::Failure;
use millwork_manifest_builder::{ForeignFile, QuarantinedFile};
use millwork_scheduler::RunResult;
use serde::Serialize;
use std::fmt::Write as _;

/// The document that `--json` prints.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    /// Files converted.
    pub(crate) files: u64,
    /// Files refused.
    pub(crate) quarantined: u64,
    /// Manifests that were run.
    pub(crate) manifests: u64,
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) outputs: Vec<OutputFile>,
    /// Manifests without output, with the reason.
    pub(crate) failed: Vec<FailedManifest>,
    pub(crate) quarantined_files: Vec<QuarantinedFile>,
    /// Files of rejected lines.
    pub(crate) rejected_lines: Vec<String>,
    /// Keys that got another name, since theirs is a metadata column's.
    pub(crate) renamed_columns: Vec<(String, String)>,
    /// Files that were converted before and have other content now.
    pub(crate) overwritten: Vec<String>,
    pub(crate) replaced_characters: u64,
    /// Rows that the query was given and did not write.
    pub(crate) left_out: u64,
    /// Entries of the input that lead out of it, or are no files: they were left as they are.
    pub(crate) foreign: Vec<ForeignFile>,
}

#[derive(Serialize)]
pub(crate) struct FailedManifest {
    pub(crate) manifest_id: String,
    pub(crate) class: String,
    pub(crate) message: String,
}

impl Report {
    pub(crate) fn add(&mut self, manifest_id: &str, outcome: &Result<std::sync::Arc<RunResult>, Failure>) {
        self.manifests += 1;
        match outcome {
            Ok(result) => self.add_result(result),
            Err(failure) => self.failed.push(FailedManifest {
                manifest_id: manifest_id.to_owned(),
                class: failure.class.to_string(),
                message: failure.message.clone(),
            }),
        }
    }

    /// Takes back that a manifest has no output.
    pub(crate) fn forget(&mut self, manifest_id: &str) {
        let before = self.failed.len();
        self.failed.retain(|failed| failed.manifest_id != manifest_id);
        self.manifests -= (before - self.failed.len()) as u64;
    }

    fn add_result(&mut self, result: &RunResult) {
        self.files += result.ledger.len() as u64;
        self.rows += result.rows;
        self.rejected += result.rejected;
        self.input_bytes += result.input_bytes;
        self.output_bytes += result.output_bytes;
        self.replaced_characters += result.replaced_characters;
        self.left_out += result.left_out;
        self.outputs.extend(result.outputs.iter().cloned());
        self.rejected_lines.extend(result.rejected_lines.clone());
        for renamed in &result.renamed_columns {
            if !self.renamed_columns.contains(renamed) {
                self.renamed_columns.push(renamed.clone());
            }
        }
    }

    /// Puts what came in any order in a fixed one.
    pub(crate) fn sort(&mut self) {
        self.outputs.sort_by(|a, b| a.uri.cmp(&b.uri));
        self.failed.sort_by(|a, b| a.manifest_id.cmp(&b.manifest_id));
        self.rejected_lines.sort();
        self.renamed_columns.sort();
    }

    /// The report as text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for output in &self.outputs {
            let _ = writeln!(text, "{}  {}  {}", shown(&output.uri), count(output.rows, "row"), bytes(output.bytes));
        }
        let rate = self.input_bytes as f64 / f64::from(1 << 20) / self.seconds.max(1e-9);
        let _ = writeln!(
            text,
            "{}, {} in {}: {} in {}, {}, in {:.2} s ({rate:.0} MiB/s)",
            count(self.files, "file"),
            bytes(self.input_bytes),
            count(self.manifests, "manifest"),
            count(self.rows, "row"),
            count(self.outputs.len() as u64, "Parquet file"),
            bytes(self.output_bytes),
            self.seconds,
        );
        if self.left_out > 0 {
            let _ = writeln!(text, "{} left out by the query", count(self.left_out, "row"));
        }
        if self.rejected > 0 {
            let _ = writeln!(text, "{} rejected, kept in:", count(self.rejected, "line"));
            for file in &self.rejected_lines {
                let _ = writeln!(text, "  {}", shown(file));
            }
        }
        if self.quarantined > 0 {
            let _ = writeln!(text, "{} refused:", count(self.quarantined, "file"));
            for file in self.quarantined_files.iter().take(20) {
                let place = file.moved_to.as_ref().unwrap_or(&file.uri);
                let _ = writeln!(text, "  {}: {}", file.reason, shown(place.as_str()));
            }
            if self.quarantined_files.len() > 20 {
                let _ = writeln!(text, "  … and {} more", self.quarantined_files.len() - 20);
            }
        }
        for (key, name) in &self.renamed_columns {
            let _ = writeln!(text, "key `{0}` is column `{1}`: `{0}` is a metadata column", shown(key), shown(name));
        }
        for uri in &self.overwritten {
            let _ = writeln!(text, "changed after it was converted, left as it is: {}", shown(uri));
        }
        text
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
