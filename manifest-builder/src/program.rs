//! Options of `millwork-manifest-builder`, and their validation.

use crate::{Rules, Settings};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use millwork_manifest::{DatePrefix, FileState, QuarantineReason};
use millwork_process::HealthOptions;
use millwork_storage::{Location, Places};
use millwork_tracking::StateUrl;
use std::net::SocketAddr;

/// Turns files that arrive in object storage into manifests of one date each.
///
/// Each file is checked by its name, size and date, and tracked; when the files of a date fill a manifest, one is
/// written. Refused files are quarantined. Any number of these processes can work on one state.
///
/// On AWS Lambda (with AWS_LAMBDA_RUNTIME_API set) no command is given.
#[derive(Parser)]
#[command(version)]
pub struct Program {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub common: Common,
}

#[derive(Args, Clone)]
pub struct Common {
    /// State with files: sqlite:PATH or dynamodb:TABLE [default: dynamodb:$TRACKING_TABLE]
    #[arg(long, global = true, env = "MILLWORK_STATE", value_name = "URL")]
    pub state: Option<String>,

    /// Place that manifests are written to, below manifests/: a directory or s3://BUCKET [default: s3://$MANIFEST_BUCKET]
    #[arg(long, global = true, env = "MILLWORK_MANIFESTS", value_name = "PLACE")]
    pub manifests: Option<String>,

    /// Place that refused files are moved to: a directory or s3://BUCKET. Without it they stay and are only marked
    /// [default: s3://$QUARANTINE_BUCKET]
    #[arg(long, global = true, env = "MILLWORK_QUARANTINE", value_name = "PLACE")]
    pub quarantine: Option<String>,

    /// Places of input files, with commas between: s3://BUCKET, s3://BUCKET/FOLDER/, /DIRECTORY. Objects elsewhere are never
    /// read, moved or tracked, whatever an event says. Needed to serve a queue and on Lambda; the other commands take what they
    /// list
    #[arg(long, global = true, env = "INPUT_PLACES", value_name = "PLACES")]
    pub input_places: Option<String>,

    /// Place of the output, if that is in the bucket or directory that is read: its objects are left alone
    /// [default: s3://$OUTPUT_BUCKET]
    #[arg(long, global = true, env = "MILLWORK_OUTPUT", value_name = "PLACE")]
    pub output: Option<String>,

    #[command(flatten)]
    pub rules: Rules,
}

#[derive(Subcommand)]
pub enum Command {
    /// Read object events from an SQS queue until told to stop
    Serve(Serve),
    /// Look at a directory or bucket at intervals until told to stop
    Watch(Watch),
    /// List a directory or bucket once, track what events missed, and say what was done
    Backfill(Backfill),
    /// Finish what a crash left, count anew what waits, make manifests of what is due
    Sweep {
        /// Print one JSON document on stdout
        #[arg(long)]
        json: bool,
    },
    /// Make manifests of all files of these dates that wait, however few
    Cut(DatesToCut),
    /// Take back quarantined files that the rules accept by now, and failed files
    Redrive(Redrive),
}

#[derive(Args)]
pub struct Serve {
    /// Queue with the events of the input bucket
    #[arg(long, env = "QUEUE_URL", value_name = "URL")]
    pub queue_url: String,

    /// Queue for messages that can never be processed [default: that of the queue's redrive policy]
    #[arg(long, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    pub dead_letter_queue_url: Option<String>,

    /// Batches of ten messages that are handled at once
    #[arg(long, env = "WORKERS", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: u32,

    /// Time that a message stays hidden from others while it is handled; extended while that goes on
    #[arg(long, env = "VISIBILITY_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 360, value_parser = clap::value_parser!(u32).range(2..=43_200))]
    pub visibility_timeout_seconds: u32,

    /// Time that one receive waits for messages
    #[arg(long, env = "POLL_SECONDS", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub poll_seconds: u32,

    /// Time that a worker tries for the lock of a date
    #[arg(long, env = "MAX_LOCK_WAIT_SECONDS", value_name = "SECONDS", default_value_t = 10)]
    pub max_lock_wait_seconds: u64,

    /// Time between two sweeps, each by one of all processes
    #[arg(long, env = "SWEEP_INTERVAL_SECONDS", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub sweep_interval_seconds: u64,

    #[command(flatten)]
    pub listen: Listen,
}

#[derive(Args)]
pub struct Listen {
    /// Address for /healthz, /readyz and /metrics
    #[arg(long, env = "HTTP_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub http: SocketAddr,

    /// Serve health and metrics on an address that others can reach: they need no token
    #[arg(long, env = "INSECURE_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    pub insecure_http: bool,

    /// Replaced by --insecure-http
    #[arg(long, hide = true)]
    insecure: bool,
}

#[derive(Args)]
pub struct Watch {
    /// Place that is looked at: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    pub input: String,

    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub interval_seconds: u64,

    #[command(flatten)]
    pub listen: Listen,
}

#[derive(Args, Clone)]
pub struct Backfill {
    /// Place that is listed: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    pub prefix: String,

    /// Make manifests of every rest too, however small
    #[arg(long)]
    pub flush: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone)]
pub struct DatesToCut {
    /// The dates
    #[arg(value_name = "YYYY-MM-DD", required = true)]
    pub dates: Vec<DatePrefix>,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Redrive {
    /// Place that the files came from: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    pub prefix: String,

    /// Only files refused for this reason, such as too-small
    #[arg(long, alias = "reason", value_name = "REASON")]
    pub refused_for: Option<QuarantineReason>,

    /// Only files in this state: quarantined or failed
    #[arg(long, value_name = "STATE", value_parser = taken_back)]
    pub only: Option<FileState>,

    /// Take them back; without it, only say what would be
    #[arg(long)]
    pub yes: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// Tells whether the options name a state or a place of manifests. Commands that a scheduler could run are then run
    /// in this process.
    pub fn names_a_place(&self) -> bool {
        let table = std::env::var_os("TRACKING_TABLE").is_some_and(|table| !table.is_empty());
        table || self.state.is_some() || self.manifests.is_some()
    }
}

impl Program {
    /// Places that input files may be in: those of the option, else the place that the command lists. A sweep and a cut
    /// read no files.
    fn input(&self) -> anyhow::Result<Places> {
        // An empty variable counts as unset.
        let said = self.common.input_places.as_deref().filter(|places| !places.is_empty());
        if let Some(places) = said {
            return places.parse().context("--input-places or INPUT_PLACES");
        }
        let listed = match &self.command {
            Some(Command::Watch(options)) => &options.input,
            Some(Command::Backfill(options)) => &options.prefix,
            Some(Command::Redrive(options)) => &options.prefix,
            Some(Command::Sweep { .. } | Command::Cut(_)) => return Ok(Places::none()),
            None if !is_on_lambda() => return Ok(Places::none()),
            Some(Command::Serve(_)) | None => anyhow::bail!(
                "say where input files may be: --input-places PLACES or INPUT_PLACES, such as s3://acme-input or \
                 s3://acme-data/in/; events of other objects are refused"
            ),
        };
        Ok(Places::of(&Location::parse(listed)?))
    }

    /// URL of the state.
    fn state(&self) -> anyhow::Result<String> {
        let table = std::env::var("TRACKING_TABLE").ok().filter(|table| !table.is_empty());
        let state = self.common.state.clone().or(table.map(|table| format!("dynamodb:{table}")));
        state.context("say where files are remembered: --state sqlite:PATH or dynamodb:TABLE, or TRACKING_TABLE")
    }

    /// Settings from the options and the bucket names in the environment, and the URL of the state.
    pub fn settings(&self) -> anyhow::Result<(Settings, String)> {
        let (input, common) = (self.input()?, &self.common);
        let place = |said: &Option<String>, variable| match said {
            Some(place) => Ok(Some(place.clone())),
            None => Location::of_variable(variable).map(|place| place.map(|place| place.to_string())),
        };
        let manifests = place(&common.manifests, "MANIFEST_BUCKET")?;
        let manifests = manifests.context("say where manifests go: --manifests PLACE, or MANIFEST_BUCKET")?;
        let quarantine = place(&common.quarantine, "QUARANTINE_BUCKET")?;
        let output = place(&common.output, "OUTPUT_BUCKET")?;
        let state = self.state()?;
        // Other URLs are refused when the store is opened.
        let url = state.parse::<StateUrl>().ok();
        let settings = common.rules.settings(
            input,
            &manifests,
            quarantine.as_deref(),
            output.as_deref(),
            url.as_ref().and_then(StateUrl::file),
        )?;
        Ok((settings, state))
    }

    /// All errors for which the builder would refuse to start, as far as they show without a store, a network, or
    /// changes.
    pub fn problems(&self) -> Vec<anyhow::Error> {
        let (settings, state) = (self.settings(), self.state());
        let apart = settings
            .as_ref()
            .ok()
            .and_then(|(settings, _)| settings.input.locations().find_map(|place| settings.check_apart(&place).err()));
        let listen = match &self.command {
            Some(Command::Serve(serve)) => serve.listen.address().err(),
            Some(Command::Watch(watch)) => watch.listen.address().err(),
            _ => None,
        };
        let url = state.ok().and_then(|state| state.parse::<StateUrl>().err());
        [settings.err(), apart.map(Into::into), listen, url.map(Into::into)].into_iter().flatten().collect()
    }
}

/// Tells whether the process runs as an AWS Lambda function.
pub fn is_on_lambda() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

impl Listen {
    /// Address for health and metrics. An address that other hosts can reach is refused unless explicitly allowed.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        anyhow::ensure!(!self.insecure, "--insecure is no longer there: say --insecure-http");
        Ok(HealthOptions { address: self.http, insecure: self.insecure_http }.check()?.address)
    }
}

/// Parses a state that files can be taken back from.
fn taken_back(text: &str) -> Result<FileState, String> {
    let state = text.parse().ok().filter(|state| matches!(state, FileState::Quarantined | FileState::Failed));
    state.ok_or_else(|| format!("`{text}` is neither quarantined nor failed"))
}
