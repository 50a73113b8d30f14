//! `millwork backfill`, `millwork sweep` and `millwork dates cut`: rounds of a builder, made once on request.

use crate::client::ClientOptions;
use crate::exit::Exit;
use crate::failure::{of_usage, usage};
use crate::plans::{self, ChangeOptions, Consent, confirm};
use crate::state::operator;
use clap::Args;
use millwork_api::{Action, DateQuery, Select};
use millwork_manifest::DatePrefix;
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
    consent: Consent,

    #[command(flatten)]
    common: Common,
}

/// Finish what builders that died have left, count anew what waits, and make manifests of what is due.
///
/// Builders make such a round every minute; this is for a state without one, or for not waiting. Nothing is lost or done twice if it is
/// run at any time, or broken off. Shows first what would change, and does it after a yes.
///
/// Asks the scheduler, which leaves a wish that a builder takes within seconds. With --state or --manifests, the work is done here instead.
///
/// Examples:
///   millwork sweep 2025-12-23 --dry-run
///   millwork sweep --state sqlite:out/_millwork/state.db --manifests ./out
///   millwork sweep --state dynamodb:files --manifests s3://acme-manifests --yes --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SweepOptions {
    /// Dates, if the scheduler is asked [default: all of which something is left or waits]
    #[arg(value_name = "YYYY-MM-DD")]
    dates: Vec<DatePrefix>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    client: ClientOptions,
}

/// Make manifests of all files of these dates that wait, however few: now, and not when they are enough or old enough.
///
/// Asks the scheduler, which leaves a wish that a builder takes within seconds. With --state or --manifests, the work is done here instead,
/// beside any number of builders. Shows first what would change, and does it after a yes.
///
/// Examples:
///   millwork dates cut 2025-12-23 --dry-run
///   millwork dates cut 2025-12-23 --state sqlite:out/_millwork/state.db --manifests ./out
///   millwork dates cut 2025-12-23 --state dynamodb:files --manifests s3://acme-manifests --yes --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CutOptions {
    #[command(flatten)]
    cut: DatesToCut,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    client: ClientOptions,
}

impl Consent {
    /// Shows what a round would do, and asks for confirmation. Returns the exit code if it is not confirmed.
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

    /// Lets the scheduler make the change of dates.
    async fn ask(self, action: Action, select: Select, json: bool, client: ClientOptions) -> anyhow::Result<ExitCode> {
        plans::change(action, select, &ChangeOptions { consent: self, all: false, json, client }).await
    }

    pub(crate) fn asked(&self) -> Asked {
        let Operator { actor, via } = operator();
        Asked { actor, via, reason: self.reason.clone() }
    }
}

pub(crate) async fn backfill(options: BackfillOptions) -> anyhow::Result<ExitCode> {
    let BackfillOptions { backfill, consent, common } = options;
    let program = Program { command: Some(Command::Backfill(backfill.clone())), common };
    program.settings().map_err(of_usage)?;
    let builder = once::open(&program).await?;
    if !consent.yes {
        let found = builder.look_at(&Location::parse(&backfill.prefix)?).await?;
        if let Some(exit) = consent.refused(&found, found.has_changes(), "Take this in", backfill.json)? {
            return Ok(exit.into());
        }
    }
    once::backfill(&builder, &backfill, &consent.asked()).await?;
    Ok(Exit::Done.into())
}

pub(crate) async fn sweep(options: SweepOptions) -> anyhow::Result<ExitCode> {
    let SweepOptions { dates, json, consent, common, client } = options;
    if !common.names_a_place() {
        let select = match dates.is_empty() {
            true => Select::Dates(DateQuery::default()),
            false => Select::Ids(dates.iter().map(ToString::to_string).collect()),
        };
        return consent.ask(Action::Sweep, select, json, client).await;
    }
    if !dates.is_empty() {
        return Err(usage(
            "a sweep of a state is of all its dates: name none, or no state (--state, MILLWORK_STATE), to ask the scheduler",
        ));
    }
    let program = Program { command: Some(Command::Sweep { json }), common };
    program.settings().map_err(of_usage)?;
    let builder = once::open(&program).await?;
    if !consent.yes {
        let found = builder.look_around().await?;
        if let Some(exit) = consent.refused(&found, found.has_changes(), "Make this round", json)? {
            return Ok(exit.into());
        }
    }
    once::sweep(&builder, json, &consent.asked()).await?;
    Ok(Exit::Done.into())
}

pub(crate) async fn cut(options: CutOptions) -> anyhow::Result<ExitCode> {
    let CutOptions { cut, consent, common, client } = options;
    if !common.names_a_place() {
        let dates = cut.dates.iter().map(ToString::to_string).collect();
        return consent.ask(Action::Cut, Select::Ids(dates), cut.json, client).await;
    }
    let program = Program { command: Some(Command::Cut(cut.clone())), common };
    program.settings().map_err(of_usage)?;
    let builder = once::open(&program).await?;
    if !consent.yes {
        let found = builder.look_at_dates(&cut.dates.iter().copied().collect()).await?;
        if let Some(exit) = consent.refused(&found, found.has_changes(), "Make these manifests", cut.json)? {
            return Ok(exit.into());
        }
    }
    once::cut(&builder, &cut, &consent.asked()).await?;
    Ok(Exit::Done.into())
}
