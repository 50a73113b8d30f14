//! `millwork redrive`: takes back quarantined and failed files, directly on the state, with or without a running
//! scheduler.

use crate::exit::Exit;
use crate::failure::usage;
use crate::plans::{Consent, confirm};
use clap::Args;
use millwork_manifest::{FileState, QuarantineReason, printable};
use millwork_manifest_builder::{Builder, RedriveFilter, Redriven, Rules, once};
use millwork_storage::{Location, Places, Storage};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Limit of the files of one kind that are printed: 20. `--json` prints all.
pub(crate) const MAX_SHOWN: usize = 20;

/// Take back quarantined and failed files, so that they are converted.
///
/// A quarantined file that the rules accept by now is moved back to where it came from; a failed one is pending again. Both go into
/// the next manifest: of `millwork run`, or of the builder that works on this state, which may be running. Shows first what
/// would change, and does it after a yes. A file that an operator refused (by-operator) stays refused: `millwork state update-state`
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
    #[arg(long, value_name = "REASON")]
    refused_for: Option<QuarantineReason>,

    /// Only files in this state: quarantined or failed
    #[arg(long, value_name = "STATE")]
    only: Option<FileState>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    consent: Consent,

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
    let filter = RedriveFilter { state: options.only, reason: options.refused_for };
    let done = take_back(&builder, &input, filter, &options).await;
    store.close().await;
    done.map(ExitCode::from)
}

async fn take_back(
    builder: &Builder,
    input: &Location,
    filter: RedriveFilter,
    options: &Options,
) -> anyhow::Result<Exit> {
    let Options { consent, json, .. } = options;
    if !consent.yes {
        let found = builder.redrive(input, filter, true).await?;
        show(&found, *json, false)?;
        if found.pending.is_empty() {
            return Ok(if found.failed.is_empty() { Exit::Done } else { Exit::Failed });
        }
        // Programs are promised a single document.
        if consent.dry_run || *json || !confirm("Take them back", "y")? {
            eprintln!("millwork: nothing was changed: say --yes, and --reason TEXT for its note, to take them back");
            return Ok(if found.failed.is_empty() { Exit::NeedsYou } else { Exit::Failed });
        }
    }
    let done = once::redrive(builder, input, filter, &consent.asked()).await?;
    show(&done, *json, true)?;
    Ok(if done.failed.is_empty() { Exit::Done } else { Exit::Failed })
}

fn show(done: &Redriven, json: bool, is_done: bool) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(done)?),
        false => print!("{}", text_of(done, is_done)),
    }
    Ok(())
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
    list("gone from the quarantine and not back in the input; put them there again", uris(&done.missing));
    list("could not be taken back", done.failed.iter().map(|(uri, why)| format!("{uri}: {why}")).collect());
    match (text.is_empty(), done.others) {
        (true, 0) => text.push_str("no file waits to be taken back\n"),
        (_, 0) => {}
        (_, others) => {
            let _ = writeln!(
                text,
                "not looked at: {others}, refused for other reasons, or by an operator (taken back by `millwork state update-state`)"
            );
        }
    }
    text
}
