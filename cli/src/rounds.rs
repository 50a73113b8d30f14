//! `millwork backfill` and `millwork sweep`: rounds that builders make, made once and now.

use crate::failure::of_usage;
use clap::Args;
use millwork_manifest_builder::once;
use millwork_manifest_builder::program::{Backfill, Command, Common, Program};
use std::process::ExitCode;

/// List a directory or bucket once, and take in what no event told of.
///
/// For files that came before a builder listened, or whose events were lost. Each file that is not known yet is judged by the rules,
/// tracked or quarantined; manifests are made of what fills one or has waited long enough, and of every rest with --flush. Files that are
/// known stay as they are, so it can be run again at any time, also beside builders. A scheduler on the same state runs the manifests.
///
/// Examples:
///   millwork backfill --prefix s3://acme-input/ --state dynamodb:acme --manifests s3://acme-manifests
///   millwork backfill --prefix ./in --state sqlite:out/_millwork/state.db --manifests ./out --flush
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct BackfillOptions {
    #[command(flatten)]
    backfill: Backfill,

    #[command(flatten)]
    common: Common,
}

/// Finish what builders that died have left, count anew what waits, and make manifests of what is due.
///
/// Builders make such a round every minute; this is for a state without one, or for not waiting. Nothing is lost or done twice if it is
/// run at any time, or broken off.
///
/// Examples:
///   millwork sweep --state sqlite:out/_millwork/state.db --manifests ./out
///   millwork sweep --state dynamodb:acme --manifests s3://acme-manifests --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SweepOptions {
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    common: Common,
}

pub(crate) async fn backfill(options: BackfillOptions) -> anyhow::Result<ExitCode> {
    let program = Program { command: Some(Command::Backfill(options.backfill.clone())), common: options.common };
    program.settings().map_err(of_usage)?;
    once::backfill(&once::open(&program).await?, &options.backfill).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn sweep(options: SweepOptions) -> anyhow::Result<ExitCode> {
    let program = Program { command: Some(Command::Sweep { json: options.json }), common: options.common };
    program.settings().map_err(of_usage)?;
    once::sweep(&once::open(&program).await?, options.json).await?;
    Ok(ExitCode::SUCCESS)
}
