//! Writing commands: show changes, and make them if confirmed.

use super::ask::Source;
use super::{Batch, Reset, Update, Written};
use crate::exit::Exit;
use crate::failure::usage;
use crate::list::print_json;
use anyhow::Context;
use millwork_diagnosis::{many, shown};
use millwork_manifest::DatePrefix;
use millwork_scheduler::{
    Applied, Consistency, MAX_CHANGES, Mended, Outcome, PlannedChange, Requested, ResetQuery, StateMark, check_reason,
};
use serde::Serialize;
use std::io::{BufRead, BufReader, Read};
use std::process::ExitCode;

/// Limit of the changes that are printed: 20, followed by the number of others; --json prints all.
const MAX_SHOWN: usize = 20;
/// Limit of an input line with a change, in bytes: 64 KiB, four times the longest URI.
const MAX_LINE_BYTES: u64 = 64 << 10;

pub(super) async fn reset(source: &Source, reset: Reset, json: bool) -> anyhow::Result<ExitCode> {
    let query = ResetQuery {
        uris: reset.uris,
        date: reset.date,
        state: reset.in_state,
        older_than: reset.older_than,
        limit: MAX_CHANGES,
    };
    let applied = source.reset(&query, &reset.written.reason, !reset.written.yes).await?;
    finish(&applied, &reset.written, json)
}

pub(super) async fn update(source: &Source, update: Update, json: bool) -> anyhow::Result<ExitCode> {
    let Update { uri, to, expect_state, expect_version, reprocess, written } = update;
    let changes = [Requested { uri, to, expect_state, expect_version, reprocess }];
    let applied = source.update("update-state", &changes, &written.reason, !written.yes).await?;
    finish(&applied, &written, json)
}

pub(super) async fn batch(source: &Source, batch: Batch, json: bool) -> anyhow::Result<ExitCode> {
    let changes = if batch.file.as_os_str() == "-" {
        read(std::io::stdin().lock(), "standard input", batch.max as usize)?
    } else {
        let name = batch.file.display().to_string();
        let file = std::fs::File::open(&batch.file).with_context(|| format!("cannot read `{name}`"))?;
        read(BufReader::new(file), &name, batch.max as usize)?
    };
    let applied = source.update("batch-update", &changes, &batch.written.reason, !batch.written.yes).await?;
    finish(&applied, &batch.written, json)
}

/// Findings and their repairs, as JSON output.
#[derive(Serialize)]
struct Fixed<'a> {
    #[serde(flatten)]
    found: &'a Consistency,
    mended: &'a Mended,
}

/// Repairs findings that have only one possible truth.
pub(super) async fn mend(
    source: &Source,
    found: &Consistency,
    date: Option<DatePrefix>,
    written: &Written,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if written.yes {
        check_reason(&written.reason).map_err(usage)?;
    }
    let mended = source.mend(found, date, &written.reason, !written.yes).await?;
    let is_dry_run = mended.files.is_dry_run;
    if json {
        print_json(&Fixed { found, mended: &mended })?;
    } else {
        let (counted, unlocked) = match is_dry_run {
            true => ("would be counted anew", "would be let go of"),
            false => ("counted anew", "let go of"),
        };
        mended.counted.iter().for_each(|date| println!("  {date}: {counted}"));
        mended.unlocked.iter().for_each(|name| println!("  {}: {unlocked}", shown(name)));
        print(&mended.files);
    }
    if is_dry_run {
        eprintln!(
            "nothing was changed: say --yes --reason TEXT to mend this; what has two possible truths is left to you"
        );
        return Ok(if found.findings.is_empty() { ExitCode::SUCCESS } else { Exit::NeedsYou.into() });
    }
    Ok(code_of(&mended.files))
}

/// Reads all changes, one per line, before the first is made, so that errors are found first.
fn read(mut from: impl BufRead, name: &str, max: usize) -> anyhow::Result<Vec<Requested>> {
    let mut changes = Vec::new();
    for number in 1.. {
        let mut line = String::new();
        let place = || format!("line {number} of {name}");
        let bytes = from.by_ref().take(MAX_LINE_BYTES + 1).read_line(&mut line).with_context(place)?;
        if bytes == 0 {
            break;
        }
        let length = bytes as u64;
        anyhow::ensure!(length <= MAX_LINE_BYTES, "{} is longer than {MAX_LINE_BYTES} bytes", place());
        if line.trim().is_empty() {
            continue;
        }
        anyhow::ensure!(changes.len() < max, "{name} has more than {max} changes: say --max, if that is meant");
        changes.push(serde_json::from_str(&line).with_context(place)?);
    }
    Ok(changes)
}

/// Prints the result of a change, or of a dry run without `--yes`.
fn finish(applied: &Applied, written: &Written, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print_json(applied)?;
    } else {
        print(applied);
    }
    let count = |outcome| applied.count(outcome);
    if applied.is_dry_run && count(Outcome::Planned) > 0 {
        let reason = if written.reason.is_empty() { " --reason TEXT" } else { "" };
        eprintln!("nothing was changed: say --yes{reason} to make these changes");
        return Ok(Exit::NeedsYou.into());
    }
    Ok(code_of(applied))
}

fn code_of(applied: &Applied) -> ExitCode {
    let count = |outcome| applied.count(outcome);
    match (count(Outcome::Failed) + count(Outcome::Refused), count(Outcome::Skipped)) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => Exit::Changed.into(),
        _ => ExitCode::FAILURE,
    }
}

fn print(applied: &Applied) {
    for change in applied.changes.iter().take(MAX_SHOWN) {
        print_one(&change.planned, change.outcome);
    }
    let more = applied.changes.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        println!("  … {more} more: --json shows all");
    }
    let count = |outcome| applied.count(outcome);
    match applied.is_dry_run {
        true => println!(
            "{} would change, {} refused",
            many(count(Outcome::Planned) as u64, "file"),
            count(Outcome::Refused)
        ),
        false => println!(
            "{} done, {} skipped, {} refused, {} failed",
            count(Outcome::Done),
            count(Outcome::Skipped),
            count(Outcome::Refused),
            count(Outcome::Failed)
        ),
    }
}

fn print_one(planned: &PlannedChange, outcome: Outcome) {
    println!("  {}", shown(&planned.uri));
    let line = |sign: &str, mark: &StateMark| {
        let since = mark.since.map(|at| format!("  since {}", at.format("%Y-%m-%dT%H:%M:%SZ"))).unwrap_or_default();
        let run = mark.manifest_id.as_ref().map(|id| format!("  run {}", shown(id))).unwrap_or_default();
        println!("{sign} {}{since}{run}  version {}", mark.state, mark.version);
    };
    if let Some(before) = &planned.before {
        line("-", before);
    }
    if let Some(after) = &planned.after {
        line("+", after);
    }
    let word = match outcome {
        Outcome::Planned => "why",
        Outcome::Done => "done",
        Outcome::Skipped => "skipped",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    };
    println!("  {word}: {}", shown(&planned.why));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_before_any_is_made() {
        let line = "{\"uri\":\"s3://in/a\",\"to\":\"pending\"}\n";
        let changes = read(format!("{line}\n{line}").as_bytes(), "x", 2).unwrap();
        assert_eq!(changes.len(), 2);
        let error = |text: &str, max| format!("{:#}", read(text.as_bytes(), "x", max).unwrap_err());
        assert!(error(&line.repeat(3), 2).contains("more than 2"));
        assert!(error(&format!("{line}{{}}"), 2).contains("line 2 of x"));
        assert!(error("{\"uri\":\"s3://in/a\",\"to\":\"gone\"}", 2).contains("line 1"));
        assert!(error(&"x".repeat(1 << 17), 2).contains("longer than 65536 bytes"));
    }
}
