//! Report of `millwork run`, for people and programs.

use crate::redrive::MAX_SHOWN;
use crate::table::bytes;
use millwork_api::OutputFile;
use millwork_conversion::FileLedger;
use millwork_manifest::{Failure, FileFault, ObjectUri, printable};
use millwork_manifest_builder::{ForeignFile, QuarantinedFile, UnmovedFile};
use millwork_scheduler::RunResult;
use serde::Serialize;
use std::fmt::Write as _;

/// Report that `--json` prints.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    /// Number of converted files.
    pub(crate) files: u64,
    /// Number of refused files.
    pub(crate) quarantined: u64,
    /// Number of manifests that were run.
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
    /// Files that contain rejected lines.
    pub(crate) rejected_lines: Vec<String>,
    /// Keys that were renamed because a metadata column has their name.
    pub(crate) renamed_columns: Vec<(String, String)>,
    /// Columns whose names differ from another's only in case, each paired with that one.
    pub(crate) case_twins: Vec<(String, String)>,
    /// Columns that have the name of a partition in the outputs' paths.
    pub(crate) hidden_columns: Vec<String>,
    /// Files without any row, which stay in place.
    pub(crate) without_rows: Vec<WithoutRows>,
    /// Files that were converted before and have other content now.
    pub(crate) overwritten: Vec<String>,
    pub(crate) replaced_characters: u64,
    /// Rows that the query filtered out.
    pub(crate) left_out: u64,
    /// Refused entries of the input: links that lead outside, and entries that are not files. They are left unchanged.
    pub(crate) foreign: Vec<ForeignFile>,
    /// Refused files that cannot be moved to the quarantine, and stay in place.
    pub(crate) unmoved: Vec<UnmovedFile>,
    /// Options by which other commands find state and input of this run, for remedies.
    #[serde(skip)]
    pub(crate) found_by: String,
}

#[derive(Serialize)]
pub(crate) struct WithoutRows {
    pub(crate) uri: String,
    pub(crate) rejected: u64,
    /// Cause and remedy, as shown to people.
    pub(crate) detail: String,
    /// File with the records of its rejected lines and their reasons.
    pub(crate) rejected_lines: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct FailedManifest {
    pub(crate) manifest_id: String,
    pub(crate) class: String,
    pub(crate) message: String,
    /// Files at fault in the manifest, if any, each with the reason.
    pub(crate) files: Vec<FileFault>,
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
                files: faults_of(failure),
            }),
        }
    }

    /// Removes the failure of a manifest, which has an output now.
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
        add_new(&mut self.renamed_columns, &result.renamed_columns);
        add_new(&mut self.case_twins, &result.case_twins);
        add_new(&mut self.hidden_columns, &result.hidden_columns);
        let without_rows = |file: &FileLedger| {
            Some(WithoutRows {
                uri: file.uri.clone(),
                rejected: file.rejected,
                detail: file.without_rows()?,
                rejected_lines: result.rejected_lines.clone(),
            })
        };
        self.without_rows.extend(result.ledger.iter().filter_map(without_rows));
    }

    /// Sorts lists whose order of arrival is arbitrary.
    pub(crate) fn sort(&mut self) {
        self.outputs.sort_by(|a, b| a.uri.cmp(&b.uri));
        self.failed.sort_by(|a, b| a.manifest_id.cmp(&b.manifest_id));
        self.rejected_lines.sort();
        self.renamed_columns.sort();
        self.case_twins.sort();
        self.hidden_columns.sort();
        self.without_rows.sort_by(|a, b| a.uri.cmp(&b.uri));
    }

    /// Report as text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        self.add_output(&mut text);
        self.add_rejected(&mut text);
        self.add_quarantined(&mut text);
        self.add_columns(&mut text);
        self.add_without_rows(&mut text);
        self.add_overwritten(&mut text);
        text
    }

    /// Output files, and the sums of the run.
    fn add_output(&self, text: &mut String) {
        for output in &self.outputs {
            let _ = writeln!(text, "{}  {}  {}", shown(&output.uri), count(output.rows, "row"), bytes(output.bytes));
        }
        let rate = self.input_bytes as f64 / f64::from(1 << 20) / self.seconds.max(1e-9);
        let manifests = match self.failed.len() {
            0 => count(self.manifests, "manifest"),
            failed => format!("{}, {failed} of which failed", count(self.manifests, "manifest")),
        };
        let _ = writeln!(
            text,
            "{}, {} in {}: {} in {}, {}, in {:.2} s ({rate:.0} MiB/s)",
            count(self.files, "file"),
            bytes(self.input_bytes),
            manifests,
            count(self.rows, "row"),
            count(self.outputs.len() as u64, "Parquet file"),
            bytes(self.output_bytes),
            self.seconds,
        );
        if self.left_out > 0 {
            let _ = writeln!(text, "{} left out by the query", count(self.left_out, "row"));
        }
        if self.replaced_characters > 0 {
            let _ = writeln!(
                text,
                "{} no Unicode, and replaced by U+FFFD; the input has to be UTF-8 (`iconv` writes it anew)",
                match self.replaced_characters {
                    1 => "1 character was".to_owned(),
                    many => format!("{} were", count(many, "character")),
                }
            );
        }
    }

    fn add_rejected(&self, text: &mut String) {
        if self.rejected == 0 {
            return;
        }
        let _ = writeln!(text, "{} rejected, kept in:", count(self.rejected, "line"));
        for file in &self.rejected_lines {
            let _ = writeln!(text, "  {}", shown(file));
        }
    }

    fn add_quarantined(&self, text: &mut String) {
        if self.quarantined == 0 {
            return;
        }
        // Files that cannot be moved are told before.
        let is_told = |file: &&QuarantinedFile| self.unmoved.iter().any(|unmoved| unmoved.uri == file.uri);
        let files: Vec<_> = self.quarantined_files.iter().filter(|file| !is_told(file)).collect();
        let told = match self.quarantined_files.len() - files.len() {
            0 => String::new(),
            unmoved => format!(", {unmoved} of which cannot be moved and are told apart"),
        };
        let end = if files.is_empty() { "" } else { ":" };
        let _ = writeln!(text, "{} refused{told}{end}", count(self.quarantined, "file"));
        for file in files.iter().take(MAX_SHOWN) {
            let place = file.moved_to.as_ref().unwrap_or(&file.uri);
            let _ = writeln!(text, "  {}: {}: {}", file.reason, printable(place.as_str()), file.detail);
        }
        add_rest(text, files.len());
    }

    /// Columns with other names than their keys, and those that readers confuse or hide.
    fn add_columns(&self, text: &mut String) {
        for (key, name) in &self.renamed_columns {
            let _ = writeln!(text, "key `{key}` is column `{name}`: `{key}` is a metadata column");
        }
        for (name, other) in &self.case_twins {
            let _ = writeln!(
                text,
                "columns `{}` and `{}` differ in case only: Spark, DuckDB and Athena take them for one; --column-names lower merges keys",
                printable(other),
                printable(name)
            );
        }
        for name in &self.hidden_columns {
            let name = printable(name);
            let _ = writeln!(
                text,
                "the partition `{name}=` in --layout hides the column `{name}` from readers that take partitions from paths: name it \
                 something else there"
            );
        }
    }

    fn add_without_rows(&self, text: &mut String) {
        if self.without_rows.is_empty() {
            return;
        }
        let files = count(self.without_rows.len() as u64, "file");
        let _ = writeln!(
            text,
            "{files} without a row, left in place; give what you mend another name, or put it in place and say `millwork state \
             update-state FILE --to pending --reprocess --reason TEXT {} --yes`:",
            self.found_by
        );
        for file in self.without_rows.iter().take(MAX_SHOWN) {
            let _ = writeln!(text, "  {}: {}", shown(&file.uri), file.detail);
        }
        add_rest(text, self.without_rows.len());
    }

    fn add_overwritten(&self, text: &mut String) {
        if self.overwritten.is_empty() {
            return;
        }
        let files = count(self.overwritten.len() as u64, "file");
        let _ = writeln!(text, "{files} changed after being converted, left as they are; see --overwrites:");
        for uri in self.overwritten.iter().take(MAX_SHOWN) {
            let _ = writeln!(text, "  {}", printable(uri));
        }
        add_rest(text, self.overwritten.len());
    }

    /// Tells whether nothing failed, and no input was left that should have been converted or moved.
    pub(crate) fn is_all_well(&self) -> bool {
        [self.failed.len(), self.foreign.len(), self.unmoved.len(), self.without_rows.len()] == [0; 4]
    }
}

fn faults_of(failure: &Failure) -> Vec<FileFault> {
    let fault = |file: &str| Some(FileFault { file: file.to_owned(), message: failure.fault_of(file)?.to_owned() });
    failure.files().filter_map(fault).collect()
}

/// Appends a line with the number of items beyond those shown.
fn add_rest(text: &mut String, all: usize) {
    if all > MAX_SHOWN {
        let _ = writeln!(text, "  … and {} more; --json shows them", all - MAX_SHOWN);
    }
}

/// Appends the items that are not in the list yet.
fn add_new<T: Clone + PartialEq>(into: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !into.contains(one) {
            into.push(one.clone());
        }
    }
}

/// Object name for display: a local file by its path, without percent-encoding.
fn shown(uri: &str) -> String {
    let path = uri.parse::<ObjectUri>().ok().and_then(|uri| uri.to_path());
    path.map_or_else(|| printable(uri).into_owned(), |path| printable(&path.display().to_string()).into_owned())
}

/// Number with a noun: `1 file`, `2 files`.
pub(crate) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
