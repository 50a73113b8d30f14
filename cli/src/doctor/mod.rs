//! `millwork doctor`: problems around Millwork, and their remedies.

mod aws;
mod certificates;

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::list::print_json;
use chrono::Utc;
use clap::Args;
use millwork_api::{Check, Examination, Verdict};
use millwork_diagnosis::{many, shown};
use millwork_scheduler::{About, Inspector};
use millwork_storage::{Location, Places, Storage};
use std::path::PathBuf;
use std::process::ExitCode;

/// Look at everything that Millwork stands on, and say what to do about what is not as it must be.
///
/// Asks the scheduler for what it sees; with --state, looks from here instead. What is named besides is looked at from here:
/// certificates, the dead-letter queue, uploads. Rights are really tried: a small private object is written where outputs go,
/// and removed at once; an upload is begun and ended.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Look at this state instead of asking a scheduler: sqlite:PATH or dynamodb:TABLE
    #[arg(long, env = "MILLWORK_STATE", value_name = "URL")]
    state: Option<String>,

    /// Places of input files, with commas between; used with --state
    #[arg(long, env = "INPUT_PLACES", value_name = "PLACES")]
    input_places: Option<String>,

    /// Place of outputs: a directory or s3://BUCKET/FOLDER; used with --state, and to try uploads
    #[arg(long, env = "OUTPUT_BUCKET", value_name = "PLACE")]
    output: Option<String>,

    /// Place of refused files; used with --state [default: s3://$QUARANTINE_BUCKET]
    #[arg(long, env = "MILLWORK_QUARANTINE", value_name = "PLACE")]
    quarantine: Option<String>,

    /// Queue of events
    #[arg(long, env = "QUEUE_URL", value_name = "URL")]
    queue_url: Option<String>,

    /// Queue for messages that can never be processed
    #[arg(long, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    dead_letter_queue_url: Option<String>,

    /// Certificates in PEM whose end is looked at; can be said more than once
    #[arg(long = "certificate", value_name = "FILE")]
    certificates: Vec<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

const EXAMPLES: &str = "Examples:
  millwork doctor
  millwork doctor --state sqlite:/data/state.db --input-places /data/in
  millwork doctor --certificate /etc/millwork/tls.crt --json

Exit codes: 0 all is well; 3 something needs you; 5 the scheduler could not be asked.";

/// Clock difference that is reported, in seconds: 2.
const CLOCK_SECONDS: f64 = 2.0;

pub(crate) async fn doctor(options: Options) -> anyhow::Result<ExitCode> {
    let mut examination = match &options.state {
        Some(state) => here(state, &options).await?,
        None => there(&options).await?,
    };
    let checks = &mut examination.checks;
    for file in &options.certificates {
        checks.extend(certificates::check(file, Utc::now()));
    }
    for (name, url) in [("queue", &options.queue_url), ("dead letters", &options.dead_letter_queue_url)] {
        if let Some(url) = url.as_ref().filter(|url| !url.is_empty()) {
            checks.push(aws::queue(name, url).await);
        }
    }
    if let Some(Location::Bucket { bucket, prefix }) =
        said(options.output.as_deref()).map(Location::parse).transpose()?
    {
        checks.push(aws::uploads(&bucket, &prefix).await);
    }
    if options.json {
        print_json(&examination)?;
    } else {
        print(&examination);
    }
    let has_findings = examination.checks.iter().any(Check::is_finding);
    Ok(if has_findings { Exit::NeedsYou.into() } else { ExitCode::SUCCESS })
}

async fn here(state: &str, options: &Options) -> anyhow::Result<Examination> {
    let input: Option<Places> = said(options.input_places.as_deref()).map(str::parse).transpose()?;
    let mut about = About::default();
    // As in `millwork run`, a bare name is a directory.
    if let Some(text) = said(options.output.as_deref()) {
        about.written.push(("the output", Location::parse(text)?));
    }
    let quarantine = match said(options.quarantine.as_deref()) {
        Some(text) => Some(Location::parse(text)?),
        None => Location::of_variable("QUARANTINE_BUCKET")?,
    };
    about.written.extend(quarantine.map(|place| ("the quarantine", place)));
    let store = crate::store::open(state).await?;
    Ok(Inspector::on(store, Storage::from_env(), input, about).examine(Utc::now()).await)
}

async fn there(options: &Options) -> anyhow::Result<Examination> {
    let began = Utc::now();
    let client = Client::new(&options.client)?;
    let mut examination: Examination = client.get("/api/v1/doctor", &()).await?;
    // The scheduler read its clock between these two readings of the local one.
    let ended = Utc::now();
    let ahead = (examination.at - ended).max(began - examination.at).as_seconds_f64();
    examination.checks.push(match ahead > CLOCK_SECONDS {
        true => Check::warning(
            "clock",
            format!("the scheduler's clock is {ahead:.0} s off this one"),
            "keep all clocks right (NTP): locks are compared by them",
        ),
        false => Check::fine("clock", "the scheduler's clock is that of this machine"),
    });
    if examination.version != env!("CARGO_PKG_VERSION") {
        let found = format!("the scheduler is {}, this is {}", shown(&examination.version), env!("CARGO_PKG_VERSION"));
        examination.checks.push(Check::warning("version", found, "use the same version everywhere"));
    }
    Ok(examination)
}

/// Value of an option or variable; `None` if it is empty.
fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn print(examination: &Examination) {
    let count = |verdict| examination.checks.iter().filter(|check| check.verdict == verdict).count();
    for check in &examination.checks {
        let sign = match check.verdict {
            Verdict::Fine => "✓",
            Verdict::Warning => "⚠",
            Verdict::Broken => "✗",
            Verdict::Unknown => "?",
        };
        println!("{sign} {:<20} {}", shown(&check.name), shown(&check.found));
        if let Some(remedy) = &check.remedy {
            println!("  {:<20} try: {}", "", shown(remedy));
        }
    }
    println!(
        "{}: {} ✓ {} ⚠ {} ✗ {} ?",
        many(examination.checks.len() as u64, "check"),
        count(Verdict::Fine),
        count(Verdict::Warning),
        count(Verdict::Broken),
        count(Verdict::Unknown)
    );
}
