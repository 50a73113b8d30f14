//! `millwork submit`: submits manifests to a scheduler.

use crate::client::{Client, ClientOptions, PATIENCE};
use crate::list::print_json;
use crate::runs::{detail_line, line};
use anyhow::Context;
use clap::Args;
use millwork_api::{ManifestReference, Priority, Run, RunDetail, SubmitQuery, path};
use millwork_manifest::RunState;
use millwork_storage::Storage;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Submit manifests to a scheduler.
///
/// A manifest that the scheduler knows is not run again: its run is shown as it is, unless it failed and --retry is
/// given, or is completed and --force is given.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  millwork submit m.json --wait\n  millwork submit s3://acme-manifests/manifests/2025-12-23/batch-0407-20251223-101500.json"
)]
pub(crate) struct Options {
    /// Paths of manifests, which are read here, or s3:// URIs, which the scheduler reads
    #[arg(required = true)]
    manifests: Vec<String>,

    #[command(flatten)]
    client: ClientOptions,

    /// Wait until every run has ended. A scheduler that goes away meanwhile, or does not listen yet, may be away for ten
    /// minutes; without this, and without --force, for ten seconds
    #[arg(long)]
    wait: bool,

    /// Run a manifest that failed or was cancelled once more
    #[arg(long)]
    retry: bool,

    /// Convert a completed manifest once more; the new output takes the place of the one it has
    #[arg(long)]
    force: bool,

    /// Manifests of higher priority start first; of the same, the oldest
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,

    /// Print the runs as one JSON document
    #[arg(long)]
    json: bool,
}

/// A submitted run, with its result if that was awaited.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Queued(Box<Run>),
    Ended(Box<RunDetail>),
}

impl Told {
    fn run(&self) -> &Run {
        match self {
            Self::Queued(run) => run,
            Self::Ended(detail) => &detail.run,
        }
    }
}

/// Time limit for a scheduler that was just started to begin to listen.
const START: Duration = Duration::from_secs(10);

pub(crate) async fn submit(options: Options) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    let query = SubmitQuery { priority: Priority(options.priority), retry: options.retry, force: options.force };
    // No retries for `force`: a second request after a lost answer would convert the manifest again.
    let patience = match (options.force, options.wait) {
        (true, _) => Duration::ZERO,
        (false, true) => PATIENCE,
        (false, false) => START,
    };
    let (mut runs, storage) = (Vec::new(), Storage::from_env());
    for manifest in &options.manifests {
        let body = match manifest.starts_with("s3://") {
            true => serde_json::to_string(&ManifestReference { uri: Some(manifest.clone()) })?,
            false => crate::explain::load(manifest, &storage).await?.to_json(),
        };
        let run = client.post_text_patiently(path::MANIFESTS, &query, body, patience).await;
        let run: Box<Run> = run.with_context(|| format!("manifest `{manifest}`"))?;
        if options.retry || options.force {
            tell_if_not_queued(&run);
        }
        runs.push(Told::Queued(run));
    }
    if options.wait {
        for told in &mut runs {
            let detail = ended(&client, told.run()).await?;
            if !options.json {
                println!("{}", detail_line(&detail));
            }
            *told = Told::Ended(Box::new(detail));
        }
    }
    let failed = runs.iter().any(|told| matches!(told.run().state, RunState::Failed | RunState::Cancelled));
    if options.json {
        print_json(&BTreeMap::from([("runs", &runs)]))?;
    } else if !options.wait {
        runs.iter().for_each(|told| println!("{}", line(told.run())));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Tells of a run that was to be queued again, and is not queued.
fn tell_if_not_queued(run: &Run) {
    let id = &run.manifest_id;
    match run.state {
        RunState::Queued => {}
        state if state.is_final() => eprintln!("millwork: {id} is {state}: it is not run again"),
        state => eprintln!("millwork: {id} is {state} already"),
    }
}

/// Waits for the end of a run. Requests it at least once, since the answer to a submission has no result.
async fn ended(client: &Client, run: &Run) -> anyhow::Result<RunDetail> {
    loop {
        let detail: RunDetail = client.get_patiently(&path::run(run.manifest_id.as_str())).await?;
        if detail.run.state.is_final() {
            return Ok(detail);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
