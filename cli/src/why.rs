//! `millwork why`: the cause of a state, the next step, and possible actions.

use crate::address::parse_uri;
use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::failure::of_usage;
use crate::list::print_json;
use anyhow::Context;
use chrono::Utc;
use clap::Args;
use millwork_api::{UriQuery, path};
use millwork_diagnosis::{Code, Diagnosis, Standing, Subject, moment};
use millwork_manifest::{Compression, DatePrefix, ManifestId, ObjectUri};
use millwork_scheduler::{About, Inspector};
use millwork_storage::{Places, Storage};
use std::path::Path;
use std::process::ExitCode;

/// Say why a file, run, date or executor is as it is, what happens next and when, and what may be done.
///
/// Asks the scheduler, which knows executors and progress; or, with --state, looks at a state by itself, whether a scheduler
/// runs or not. Nothing is changed. A name that is not known is answered with those that are most like it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Subject of the question: a file (s3://…, file:///… or a path), a run by the id of its manifest, a date as YYYY-MM-DD, an
    /// executor as executor:ID
    #[arg(value_name = "SUBJECT")]
    subject: String,

    /// Look at this state instead of asking a scheduler: sqlite:PATH or dynamodb:TABLE
    #[arg(long, env = "MILLWORK_STATE", value_name = "URL")]
    state: Option<String>,

    /// Places of input files, with commas between; used with --state only: without it no object is looked at
    #[arg(long, env = "INPUT_PLACES", value_name = "PLACES")]
    input_places: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

const EXAMPLES: &str = "Examples:
  millwork why s3://acme-input/f1/2025-12-23-0193.ndjson.gz
  millwork why 2025-12-23 --state sqlite:/data/state.db
  millwork why executor:executor-3 --json

Exit codes: 0 it is done, or gets on by itself; 3 it needs you; 5 nobody could be asked. Each code of an answer has a chapter in \
docs/runbook.md.";

/// A subject that a person can name.
enum Named {
    File(ObjectUri),
    Date(DatePrefix),
    Executor(String),
    /// Id of a manifest; a scheduler also looks for an executor of this name.
    Run(ManifestId),
}

pub(crate) async fn why(options: Options) -> anyhow::Result<ExitCode> {
    let named = named(&options.subject)?;
    let diagnosis = match &options.state {
        Some(state) => look(state, options.input_places.as_deref(), &named).await?,
        None => ask(&Client::new(&options.client)?, &named).await?,
    };
    if options.json {
        print_json(&diagnosis)?;
    } else {
        print!("{}", text_of(&diagnosis));
    }
    Ok(match diagnosis.standing {
        Standing::NeedsYou => Exit::NeedsYou.into(),
        Standing::Settled | Standing::Moves => ExitCode::SUCCESS,
    })
}

fn named(text: &str) -> anyhow::Result<Named> {
    subject(text).map_err(of_usage)
}

fn subject(text: &str) -> anyhow::Result<Named> {
    if let Some(id) = text.strip_prefix("executor:") {
        return Ok(Named::Executor(id.to_owned()));
    }
    if let Ok(date) = text.parse() {
        return Ok(Named::Date(date));
    }
    // A day as far as its shape goes.
    if text.split('-').map(str::len).eq([4, 2, 2]) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        anyhow::bail!("there is no day `{text}`");
    }
    let is_file_name = || Compression::of_key(text).is_some();
    if text.contains('/') || Path::new(text).exists() || is_file_name() {
        return parse_uri(text).map(Named::File).map_err(anyhow::Error::msg);
    }
    match text.parse() {
        Ok(id) => Ok(Named::Run(id)),
        Err(_) => anyhow::bail!(
            "`{}` names nothing: say a file's URI or path, a manifest's id, a date, or executor:ID",
            millwork_diagnosis::shown(text)
        ),
    }
}

async fn ask(client: &Client, named: &Named) -> anyhow::Result<Diagnosis> {
    match named {
        Named::File(uri) => client.get(path::FILE_WHY, &UriQuery { uri: uri.clone() }).await,
        Named::Date(date) => client.get(&path::date_why(&date.to_string()), &()).await,
        Named::Executor(id) => client.get(&path::executor_why(id), &()).await,
        Named::Run(id) => {
            let of_run: Diagnosis = client.get(&path::run_part(id.as_str(), "why"), &()).await?;
            if of_run.code != Code::UnknownRun {
                return Ok(of_run);
            }
            let of_executor: Diagnosis = client.get(&path::executor_why(id.as_str()), &()).await?;
            Ok(if of_executor.code == Code::ExecutorAway { of_run } else { of_executor })
        }
    }
}

async fn look(state: &str, places: Option<&str>, named: &Named) -> anyhow::Result<Diagnosis> {
    let input: Option<Places> = places.map(str::parse).transpose().context("--input-places or INPUT_PLACES")?;
    let store = crate::store::open(state).await?;
    let inspector = Inspector::on(store, Storage::from_env(), input, About::of_state(state));
    let now = Utc::now();
    Ok(match named {
        Named::File(uri) => inspector.file(uri, now).await?,
        Named::Date(date) => inspector.date(*date, now).await?,
        Named::Executor(id) => inspector.executor(id, now).await?,
        Named::Run(id) => inspector.run(id, now).await?,
    })
}

/// A diagnosis as text.
pub(crate) fn text_of(diagnosis: &Diagnosis) -> String {
    let now = Utc::now();
    let kind = match diagnosis.subject {
        Subject::File(_) => "file",
        Subject::Run(_) => "run",
        Subject::Date(_) => "date",
        Subject::Executor(_) => "executor",
    };
    let since = diagnosis.since.map(|at| format!(" since {}", moment(at, now))).unwrap_or_default();
    let mut text = format!("{kind} {}\n", millwork_diagnosis::shown(diagnosis.subject.name()));
    text.push_str(&format!("  {}{since}: {}\n", diagnosis.code, diagnosis.sentence));
    let at = diagnosis.next.at.map(|at| format!(", about {}", moment(at, now))).unwrap_or_default();
    let next = if diagnosis.next.by_itself { "by itself" } else { "waits for" };
    if diagnosis.next.by_itself || diagnosis.standing != Standing::Settled {
        text.push_str(&format!("  {next}: {}{at}\n", diagnosis.next.what));
    }
    if let Some(action) = &diagnosis.action {
        text.push_str(&format!("  you can: {}\n           {}\n", action.label, action.command));
    }
    for evidence in &diagnosis.evidence {
        text.push_str(&format!("  {}: {}\n", evidence.what, evidence.found));
    }
    text.push_str(&format!("  more: {}\n", diagnosis.runbook));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Told;

    #[test]
    fn a_subject_is_known_by_its_shape() {
        assert!(matches!(named("2025-12-23").unwrap(), Named::Date(_)));
        assert!(matches!(named("2025-12-23-batch-0001").unwrap(), Named::Run(_)));
        assert!(matches!(named("executor:e 1").unwrap(), Named::Executor(_)));
        assert!(matches!(named("s3://in/2025-12-23").unwrap(), Named::File(_)));
        assert!(matches!(named("/in/2025-12-23.ndjson").unwrap(), Named::File(_)));
        assert!(matches!(named("2025-12-23.ndjson.gz").unwrap(), Named::File(_)));
        for wrong in ["no such thing", "", "2025-02-30", "s3://"] {
            let told = Told::of(&named(wrong).err().unwrap());
            assert_eq!(told.exit(), Exit::Usage, "{wrong}");
        }
    }
}
