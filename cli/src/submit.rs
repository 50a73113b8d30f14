//! `millwork submit`: manifests to a scheduler.

use crate::client::{Client, ClientOptions};
use crate::runs::line;
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Submit manifests to a scheduler.
///
/// A manifest that the scheduler knows is not run again: its run is shown as it is, unless it failed and --retry is
/// given, or is completed and --force is given.
#[derive(Args)]
pub(crate) struct Options {
    /// Paths of manifests, which are read here, or s3:// URIs, which the scheduler reads
    #[arg(required = true)]
    manifests: Vec<String>,

    #[command(flatten)]
    client: ClientOptions,

    /// Wait until every run has ended. A scheduler that goes away meanwhile may be away for ten minutes
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

pub(crate) async fn submit(options: Options) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    let query = [
        ("priority", options.priority.to_string()),
        ("retry", options.retry.to_string()),
        ("force", options.force.to_string()),
    ];
    let mut runs = Vec::new();
    for manifest in &options.manifests {
        let body = match manifest.starts_with("s3://") {
            true => json!({"uri": manifest}),
            false => serde_json::from_str(&crate::explain::load(manifest).await?.to_json())?,
        };
        let run = client.post("manifests", &query, &body).await;
        runs.push(run.with_context(|| format!("manifest `{manifest}`"))?);
    }
    if options.wait {
        for run in &mut runs {
            let id = run["manifest_id"].as_str().unwrap_or_default().to_owned();
            // Once at least: the answer to a submission does not say what a run produced.
            loop {
                *run = client.get_patiently(&format!("runs/{id}")).await?;
                if is_final(run) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            if !options.json {
                println!("{}", line(run));
            }
        }
    }
    let failed = runs.iter().any(|run| matches!(run["state"].as_str(), Some("failed" | "cancelled")));
    if options.json {
        println!("{}", serde_json::to_string_pretty(&json!({"runs": runs}))?);
    } else if !options.wait {
        runs.iter().for_each(|run| println!("{}", line(run)));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn is_final(run: &Value) -> bool {
    matches!(run["state"].as_str(), Some("completed" | "failed" | "cancelled"))
}
