//! `millwork submit`: manifests to a scheduler.

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Submit manifests to a scheduler.
///
/// A manifest that the scheduler knows is not run again: its run is shown as it is, unless it failed and --retry is
/// given.
#[derive(Args)]
pub(crate) struct Options {
    /// Paths of manifests, which are read here, or s3:// URIs, which the scheduler reads
    #[arg(required = true)]
    manifests: Vec<String>,

    /// The scheduler's HTTP address
    #[arg(long, env = "MILLWORK_SCHEDULER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    scheduler: String,

    /// File with the scheduler's token; MILLWORK_TOKEN in the environment does the same
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Wait until every run has ended
    #[arg(long)]
    wait: bool,

    /// Run a manifest that failed once more
    #[arg(long)]
    retry: bool,

    /// Print the runs as one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) async fn submit(options: Options) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options)?;
    let mut runs = Vec::new();
    for manifest in &options.manifests {
        let body = match manifest.starts_with("s3://") {
            true => json!({"uri": manifest}),
            false => serde_json::from_str(&crate::explain::load(manifest).await?.to_json())?,
        };
        let run = client.call(&format!("manifests?retry={}", options.retry), Some(&body)).await;
        runs.push(run.with_context(|| format!("manifest `{manifest}`"))?);
    }
    if options.wait {
        for run in &mut runs {
            let id = run["manifest_id"].as_str().unwrap_or_default().to_owned();
            while !is_final(run) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                *run = client.call(&format!("runs/{id}"), None).await?;
            }
            if !options.json {
                eprintln!("{}", line(run));
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

fn line(run: &Value) -> String {
    let (id, state) = (run["manifest_id"].as_str().unwrap_or("?"), run["state"].as_str().unwrap_or("?"));
    let result = &run["result"];
    match (result["rows"].as_u64(), run["failure"]["message"].as_str()) {
        (_, Some(message)) => format!("{id}  {state}  {message}"),
        (Some(rows), None) => {
            let files = result["outputs"].as_array().map_or(0, Vec::len);
            format!("{id}  {state}  {rows} rows in {files} files, {} lines rejected", result["rejected"])
        }
        (None, None) => format!("{id}  {state}"),
    }
}

struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let token = match &options.token_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token file `{}`", path.display()))?,
            ),
            None => std::env::var("MILLWORK_TOKEN").ok(),
        };
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        let base = options.scheduler.trim_end_matches('/').to_owned();
        Ok(Self { http, base, token: token.map(|token| token.trim().to_owned()) })
    }

    /// Calls the API: a POST with a body, a GET without.
    async fn call(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/{path}", self.base);
        let mut request = match body {
            Some(body) => self.http.post(&url).json(body),
            None => self.http.get(&url),
        };
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.with_context(|| format!("cannot reach the scheduler at {}", self.base))?;
        let status = response.status();
        let text = response.text().await?;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({"error": {"message": text}}));
        if status.is_success() {
            return Ok(value);
        }
        anyhow::bail!("the scheduler answers {status}: {}", value["error"]["message"].as_str().unwrap_or("no reason"))
    }
}
