//! `millwork backfill` and `millwork sweep`: rounds that builders make, made once and now.

use crate::exit::Exit;
use crate::failure::of_usage;
use crate::plans::confirm;
use crate::state::operator;
use clap::Args;
use millwork_manifest_builder::once::{self, Asked};
use millwork_manifest_builder::program::{Backfill, Command, Common, DatesToCut, Program};
use millwork_scheduler::Operator;
use millwork_storage::Location;
use serde::Serialize;
use std::process::ExitCode;

/// List a directory or bucket once, and take in what no event told of.
///
/// For files that came before a builder listened, or whose events were lost. Each file that is not known yet is judged by the rules,
/// tracked or quarantined; manifests are made of what fills one or has waited long enough, and of every rest with --flush. Files that are
/// known stay as they are, so it can be run again at any time, also beside builders. A scheduler on the same state runs the manifests.
/// Shows first what would change, and does it after a yes.
///
/// Examples:
///   millwork backfill --prefix s3://acme-input/f1/ --state dynamodb:files --manifests s3://acme-made
///   millwork backfill --prefix ./in --state sqlite:state.db --manifests ./out --flush --yes --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct BackfillOptions {
    #[command(flatten)]
    backfill: Backfill,

    #[command(flatten)]
    wish: Wish,

    #[command(flatten)]
    common: Common,
}

/// Finish what builders that died have left, count anew what waits, and make manifests of what is due.
///
/// Builders make such a round every minute; this is for a state without one, or for not waiting. Nothing is lost or done twice if it is
/// run at any time, or broken off. Shows first what would change, and does it after a yes.
///
/// Examples:
///   millwork sweep --state sqlite:out/_millwork/state.db --manifests ./out
///   millwork sweep --state dynamodb:files --manifests s3://acme-manifests --yes --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SweepOptions {
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    wish: Wish,

    #[command(flatten)]
    common: Common,
}

/// Make manifests of all files of these dates that wait, however few: now, and not when they are enough or old enough.
///
/// Works on the state itself, beside any number of builders. Shows first what would change, and does it after a yes.
///
/// Examples:
///   millwork dates cut 2025-12-23 --state sqlite:out/_millwork/state.db --manifests ./out
///   millwork dates cut 2025-12-23 --state dynamodb:files --manifests s3://acme-manifests --yes --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CutOptions {
    #[command(flatten)]
    cut: DatesToCut,

    #[command(flatten)]
    wish: Wish,

    #[command(flatten)]
    common: Common,
}

/// Options of what is wanted of a round.
#[derive(Args)]
struct Wish {
    /// Show what would change, and change nothing; exit 3 if something would
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,

    /// Make the round without asking
    #[arg(long)]
    yes: bool,

    /// Reason, for the note of what was done
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Wish {
    /// Shows what a round would do, and asks. The exit of the command if it is not to be made.
    fn refused(
        &self,
        outlook: &impl Serialize,
        has_changes: bool,
        what: &str,
        json: bool,
    ) -> anyhow::Result<Option<Exit>> {
        once::show(outlook, json)?;
        if !has_changes {
            eprintln!("nothing would change");
            return Ok(Some(Exit::Done));
        }
        if !self.dry_run && confirm(what, "y")? {
            return Ok(None);
        }
        eprintln!("nothing was changed: say --yes, and --reason TEXT for its note, to do this");
        Ok(Some(Exit::NeedsYou))
    }

    fn asked(&self) -> Asked {
        let Operator { actor, via } = operator();
        Asked { actor, via, reason: self.reason.clone() }
    }
}

pub(crate) async fn backfill(options: BackfillOptions) -> anyhow::Result<ExitCode> {
    let BackfillOptions { backfill, wish, common } = options;
    let program = Program { command: Some(Command::Backfill(backfill.clone())), common };
    program.settings().map_err(of_usage)?;
    let builder = once::open(&program).await?;
    if !wish.yes {
        let found = builder.look_at(&Location::parse(&backfill.prefix)?).await?;
        if let Some(exit) = wish.refused(&found, found.has_changes(), "Take this in", backfill.json)? {
            return Ok(exit.into());
        }
    }
    once::backfill(&builder, &backfill, &wish.asked()).await?;
    Ok(Exit::Done.into())
}

pub(crate) async fn sweep(options: SweepOptions) -> anyhow::Result<ExitCode> {
    let SweepOptions { json, wish, common } = options;
    let program = Program { command: Some(Command::Sweep { json }), common };
    program.settings().map_err(of_usage)?;
    let builder = once::open(&program).await?;
    if !wish.yes {
        let found = builder.look_around().await?;
        if let Some(exit) = wish.refused(&found, found.has_changes(), "Make this round", json)? {
            return Ok(exit.into());
        }
    }
    once::sweep(&builder, json, &wish.asked()).await?;
    Ok(Exit::Done.into())
}

pub(crate) async fn cut(options: CutOptions) -> anyhow::Result<ExitCode> {
    let CutOptions { cut, wish, common } = options;
    let program = Program { command: Some(Command::Cut(cut.clone())), common };
    program.settings().map_err(of_usage)?;
    let builder = once::open(&program).await?;
    if !wish.yes {
        let found = builder.look_at_dates(&cut.dates.iter().copied().collect()).await?;
        if let Some(exit) = wish.refused(&found, found.has_changes(), "Make these manifests", cut.json)? {
            return Ok(exit.into());
        }
    }
    once::cut(&builder, &cut, &wish.asked()).await?;
    Ok(Exit::Done.into())
}
