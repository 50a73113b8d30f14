//! `millwork token`: creates tokens for clients of a scheduler.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use millwork_scheduler::{NewToken, Role, TokenId, check_token_file};
use millwork_storage::check_way;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Make tokens for the clients of a scheduler.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(New),
}

/// Make a token, and print it: it is shown this once, and kept nowhere.
///
/// The scheduler has a line with its hash, in the file that its --token-file names; it reads the file again when it changes.
/// To exchange a token, make another of the same id, which is valid beside it, hand it out, then remove the line of the first.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  millwork token new --id ci --role read --file tokens\n  millwork token new --id ops --role operate --expires 90d --json"
)]
struct New {
    /// Name of the token in logs and audits: 1 to 64 of a-z, 0-9 and -
    #[arg(long, value_name = "ID")]
    id: TokenId,

    /// Role, which says what it may do: read, operate (read, submit, retry, cancel, force, prioritise) or admin (everything)
    #[arg(long, value_name = "ROLE")]
    role: Role,

    /// Time until it ends, in hours or days from now, such as 90d; without, it never does
    #[arg(long, value_name = "TIME")]
    expires: Option<Lifetime>,

    /// Add the line for the scheduler to this file, which is made if it is not there; without, the line is printed, too
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Longest lifetime of a token, in days: ten years.
const MAX_LIFETIME_DAYS: i64 = 3650;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lifetime(TimeDelta);

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("a time is 1h to {MAX_LIFETIME_DAYS}d, in hours (h) or days (d), not `{text}`");
        let hours = match (text.strip_suffix('h'), text.strip_suffix('d')) {
            (Some(hours), _) => hours.parse::<i64>().ok(),
            (_, Some(days)) => days.parse::<i64>().ok().and_then(|days| days.checked_mul(24)),
            (None, None) => None,
        };
        let hours = hours.filter(|hours| (1..=MAX_LIFETIME_DAYS * 24).contains(hours)).ok_or_else(refusal)?;
        Ok(Self(TimeDelta::hours(hours)))
    }
}

pub(crate) fn token(options: &Options) -> anyhow::Result<()> {
    let Command::New(new) = &options.command;
    let expires = new.expires.map(|lifetime| whole_seconds(Utc::now()) + lifetime.0);
    let token = NewToken::new(new.id.clone(), new.role, expires)?;
    let line = serde_json::to_string(&token.record)?;
    if let Some(path) = &new.file {
        append(path, &line).with_context(|| format!("cannot add a token to `{}`", path.display()))?;
    }
    if new.json {
        println!("{}", json!({"token": token.text, "line": line}));
        return Ok(());
    }
    println!("{}", token.text);
    if new.file.is_none() {
        eprintln!("for the file of the scheduler's --token-file:");
        println!("{line}");
    }
    Ok(())
}

fn whole_seconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

/// Appends a line to a token file, unless a scheduler would refuse the result.
fn append(path: &Path, line: &str) -> anyhow::Result<()> {
    check_way(path)?;
    // Opening a pipe would block.
    let is_other = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    anyhow::ensure!(!is_other, "it is no regular file: name one");
    let before = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        before => before?,
    };
    let separator = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let added = format!("{separator}{line}\n");
    check_token_file(&format!("{before}{added}"))?;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // In a single write, since a scheduler may be reading the file.
    file.write_all(added.as_bytes())?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_hours_or_days() {
        let hours = |text: &str| text.parse::<Lifetime>().map(|lifetime| lifetime.0.num_hours());
        assert_eq!((hours("1h"), hours("90d"), hours("3650d")), (Ok(1), Ok(2160), Ok(87_600)));
        for bad in ["", "90", "0d", "-1d", "3651d", "87601h", "1w", "9999999999999999999d"] {
            assert!(hours(bad).unwrap_err().contains("1h to 3650d"), "{bad}");
        }
    }

    #[test]
    fn lines_are_added_and_a_file_that_no_scheduler_would_take_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let line = || {
            let record = NewToken::new("ci".parse().unwrap(), Role::Read, None).unwrap().record;
            serde_json::to_string(&record).unwrap()
        };
        append(&path, &line()).unwrap();
        append(&path, &line()).unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        assert_eq!(before.lines().count(), 2);
        assert!(append(&path, &line()).unwrap_err().to_string().contains("third token"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        std::fs::write(&path, "secret").unwrap();
        assert!(append(&path, &line()).is_err(), "a file with one token as such");
    }
}
