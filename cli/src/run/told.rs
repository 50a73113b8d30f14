//! Results of collecting the input, added to the report and printed on stderr.

use crate::report::{Report, count};
use millwork_manifest::{ObjectUri, printable};
use millwork_manifest_builder::{Backfilled, UnmovedFile};

/// Limit of the lines of one kind on stderr: 100. `--json` prints all.
const MAX_TOLD: usize = 100;

pub(super) fn note_collected(report: &mut Report, collected: &Backfilled) {
    report.quarantined = collected.quarantined.len() as u64;
    report.quarantined_files.clone_from(&collected.quarantined);
    report.overwritten = collected.overwritten.iter().map(ToString::to_string).collect();
    if !collected.too_old.is_empty() {
        let (files, example) = (count(collected.too_old.len() as u64, "file"), &collected.too_old[0]);
        tell(&format!("{files} older than the state remembers left alone, such as {example}; see --max-age-days"));
    }
    if collected.unfinished > 0 {
        let files = count(collected.unfinished, "file");
        tell(&format!(
            "{files} with names of what is not whole yet, such as .part, left alone; see --unfinished-hours"
        ));
    }
    report.foreign.clone_from(&collected.foreign);
    tell_some(
        collected.foreign.iter().map(|file| format!("refused, and left as it is: {}: {}", file.uri, file.detail)),
    );
    report.unmoved.clone_from(&collected.unmoved);
    let unmoved = |file: &UnmovedFile| {
        format!(
            "{} ({}: {}) cannot be moved to the quarantine, and stays where it is: {}",
            file.uri, file.reason, file.remedy, file.detail
        )
    };
    tell_some(collected.unmoved.iter().map(unmoved));
    tell_gone(&collected.missing);
}

pub(super) fn tell_gone(files: &[ObjectUri]) {
    tell_some(files.iter().map(|uri| format!("a file that was waiting is gone: {uri}")));
}

/// Prints a progress line on stderr.
pub(super) fn tell(line: &str) {
    eprintln!("millwork: {}", printable(line));
}

/// Prints the first lines, and the number of further ones.
pub(super) fn tell_some(lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(MAX_TOLD);
    lines.take(MAX_TOLD).for_each(|line| tell(&line));
    if more > 0 {
        tell(&format!("… and {more} more of that kind; --json shows them"));
    }
}
