//! `millwork redrive`: takes back quarantined and failed files, directly on the state, with or without a running
//! scheduler.

use crate::exit::Exit;
use crate::failure::usage;
use clap::Args;
use millwork_manifest::{FileState, printable};
use millwork_manifest_builder::{Builder, RedriveFilter, Redriven, Rules};
use millwork_storage::{Location, Places, Storage};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Limit of the files of one kind that are printed: 20. `--json` prints all.
pub(crate) const MAX_SHOWN: usize = 20;

/// Take back quarantined and failed files, so that they are converted.
///
/// A quarantined file that the rules accept by now is moved back to where it came from; a failed one is pending again. Both go into
/// the next manifest: of `millwork run`, or of the builder that works on this state, which may be running. Without --yes nothing is
/// changed, and what would be is shown. A file that an operator refused (by-operator) stays refused: `millwork state update-state`
/// takes it back.
///
/// Examples:
///   millwork redrive --input ./in --output ./out
///   millwork redrive --input s3://acme-input/f1/ --state dynamodb:acme --refused-for too-small --yes
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Place that the files came from: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    input: String,

    /// Place of the Parquet files, if the state is there
    #[arg(long, value_name = "PLACE")]
    output: Option<String>,

    /// State with files: sqlite:PATH or dynamodb:TABLE [default: sqlite:{output}/_millwork/state.db]
    #[arg(long, env = "MILLWORK_STATE", value_name = "URL")]
    state: Option<String>,

    /// Only files refused for this reason, such as too-small
    #[arg(long, alias = "reason", value_name = "REASON")]
    refused_for: Option<String>,

    /// Only files in this state: quarantined or failed
    #[arg(long, value_name = "STATE")]
    only: Option<FileState>,

    /// Take them back
    #[arg(long)]
    yes: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    rules: Rules,
}

/// Takes files back, or shows what would be taken back.
pub(crate) async fn redrive(options: Options) -> anyhow::Result<ExitCode> {
    let input = Location::parse(&options.input)?;
    let output = options.output.as_deref().map(Location::parse).transpose()?;
    let state = match (&options.state, &output) {
        (Some(state), _) => state.clone(),
        (None, Some(output)) => crate::store::of_output(output)?,
        (None, None) => {
            return Err(usage(
                "say where files are remembered: --state sqlite:PATH or dynamodb:TABLE, or --output PLACE",
            ));
        }
    };
    // A missing state is not created.
    let store = crate::store::open(&state).await?;
    let settings = options.rules.settings(Places::of(&input), ".", None, None, store.file())?;
    let holder = format!("millwork-redrive:{}", std::process::id());
    let builder = Builder::new(store.clone(), Arc::new(Storage::from_env()), settings, holder);
    let filter = RedriveFilter { state: options.only, reason: options.refused_for.as_deref() };
    let done = builder.redrive(&input, filter, !options.yes).await;
    store.close().await;
    let done = done?;
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&done)?),
        false => print!("{}", text_of(&done, options.yes)),
    }
    if !options.yes && !done.pending.is_empty() {
        eprintln!("millwork: nothing was changed: say --yes to take them back");
    }
    Ok(match (done.failed.is_empty(), !options.yes && !done.pending.is_empty()) {
        (false, _) => Exit::Failed,
        (true, true) => Exit::NeedsYou,
        (true, false) => Exit::Done,
    }
    .into())
}

fn text_of(done: &Redriven, is_done: bool) -> String {
    let mut text = String::new();
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(text, "{title}: {}", lines.len());
            for line in lines.iter().take(MAX_SHOWN) {
                let _ = writeln!(text, "  {}", printable(line));
            }
            if lines.len() > MAX_SHOWN {
                let _ = writeln!(text, "  … and {} more; --json shows them", lines.len() - MAX_SHOWN);
            }
        }
    };
    let uris = |uris: &[millwork_manifest::ObjectUri]| uris.iter().map(ToString::to_string).collect();
    list(if is_done { "taken back" } else { "would be taken back" }, uris(&done.pending));
    let refused = done.refused.iter().map(|file| format!("{}: {}: {}", file.reason, file.uri, file.detail));
    list("still refused", refused.collect());
    list("gone", uris(&done.missing));
    list("could not be taken back", done.failed.iter().map(|(uri, why)| format!("{uri}: {why}")).collect());
    if text.is_empty() {
        text.push_str("no file waits to be taken back; those that an operator refused are taken back by `millwork state update-state`\n");
    }
    text
}
