//! `millwork plans`: shows and applies change plans; also used by commands that make changes.

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::list::{print_json, time};
use crate::table::{self, dollars};
use clap::{Args, Subcommand};
use millwork_api::{Action, ChangeResult, Plan, PlanCost, PlanRequest, PlanState, Select, path};
use millwork_manifest::printable;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Interval of polling a plan that is being applied.
const LOOK: Duration = Duration::from_millis(300);
/// Limit of a plan's lines on a terminal, unless all are requested.
const SHOWN: usize = 20;
/// Number of changes above which a person has to type their number instead of `y`.
const NUMBER_ABOVE: usize = 100;

/// Show and apply changes that were prepared.
///
/// A plan is the exact list of what would change. It can be applied for 15 minutes, once, by who made it; what has changed since is
/// left alone, and told.
///
/// Examples:
///   millwork plans show 7f3a02c41b9d
///   millwork plans apply 7f3a02c41b9d --yes
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a plan: what would change, what cannot, and what came of it
    #[command(
        after_help = "Examples:\n  millwork plans show 7f3a02c41b9d\n  millwork plans show 7f3a02c41b9d --all --json"
    )]
    Show(PlanOptions),
    /// Apply a plan, exactly as it is shown; one that broke off goes on
    #[command(
        after_help = "Examples:\n  millwork plans apply 7f3a02c41b9d\n  millwork plans apply 7f3a02c41b9d --yes --json"
    )]
    Apply(ApplyOptions),
}

#[derive(Args)]
struct PlanOptions {
    /// The plan's id
    id: String,

    /// Show every line
    #[arg(long)]
    all: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Args)]
struct ApplyOptions {
    #[command(flatten)]
    plan: PlanOptions,

    /// Apply it without asking
    #[arg(long)]
    yes: bool,
}

/// Options of a command that shows first what it would do.
#[derive(Args)]
pub(crate) struct Consent {
    /// Show what would be done, exactly, and do nothing; exit 3 if something would be
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,

    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,

    /// Reason, for the notes of what was done
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Options of a change.
#[derive(Args)]
pub(crate) struct ChangeOptions {
    #[command(flatten)]
    pub(crate) consent: Consent,

    /// Show every line
    #[arg(long)]
    pub(crate) all: bool,

    /// Print the plan as one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

pub(crate) async fn plans(options: Options) -> anyhow::Result<ExitCode> {
    match options.command {
        Command::Show(options) => {
            let plan: Plan = Client::new(&options.client)?.get(&path::plan(&options.id), &()).await?;
            tell(&plan, options.json, options.all)?;
            Ok(Exit::Done.into())
        }
        Command::Apply(ApplyOptions { plan: options, yes }) => {
            let client = Client::new(&options.client)?;
            let plan: Plan = client.get(&path::plan(&options.id), &()).await?;
            if !yes && plan.state == PlanState::Open {
                tell(&plan, options.json, options.all)?;
                if !is_wanted(&plan)? {
                    return Ok(Exit::NeedsYou.into());
                }
            }
            apply(&client, &plan.id, options.json, options.all).await
        }
    }
}

/// Makes a plan, shows it, and applies it if that is confirmed.
pub(crate) async fn change(action: Action, select: Select, options: &ChangeOptions) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    let is_named = matches!(select, Select::Ids(_));
    let request = PlanRequest { action, select, reason: options.consent.reason.clone() };
    let plan: Plan = client.post(path::PLANS, &(), &request).await?;
    if plan.changes.is_empty() {
        tell(&plan, options.json, options.all)?;
        let is_refused = is_named && !plan.refused.is_empty();
        return Ok(if is_refused && !options.consent.dry_run { Exit::Failed } else { Exit::Done }.into());
    }
    if !options.consent.yes {
        tell(&plan, options.json, options.all)?;
        if options.consent.dry_run || !is_wanted(&plan)? {
            return Ok(Exit::NeedsYou.into());
        }
    }
    apply(&client, &plan.id, options.json, options.all).await
}

fn is_wanted(plan: &Plan) -> anyhow::Result<bool> {
    let count = plan.changes.len();
    let wanted = if count > NUMBER_ABOVE { count.to_string() } else { "y".to_owned() };
    Ok(count > 0 && confirm(&format!("{} {}", plan.action, plan.subjects.counted(count)), &wanted)?)
}

/// Asks for confirmation on the terminal. Without a terminal nothing is confirmed.
pub(crate) fn confirm(what: &str, wanted: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    eprint!("{what}? Type {wanted} to do it: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == wanted)
}

/// Applies a plan, and waits until it is finished.
pub(crate) async fn applied(client: &Client, id: &str) -> anyhow::Result<Plan> {
    let mut plan: Plan = client.post_text(&path::plan_apply(id), &(), "{}".to_owned()).await?;
    while plan.state == PlanState::Applying {
        tokio::time::sleep(LOOK).await;
        plan = client.get(&path::plan(id), &()).await?;
    }
    Ok(plan)
}

async fn apply(client: &Client, id: &str, as_json: bool, all: bool) -> anyhow::Result<ExitCode> {
    let plan = applied(client, id).await?;
    tell(&plan, as_json, all)?;
    let exit = match plan.count(ChangeResult::Done) {
        done if done == plan.changes.len() => Exit::Done,
        _ if plan.count(ChangeResult::Skipped) > 0 => Exit::Changed,
        _ => Exit::Failed,
    };
    Ok(exit.into())
}

fn tell(plan: &Plan, as_json: bool, all: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(plan);
    }
    let most = if all { usize::MAX } else { SHOWN };
    let rows: Vec<[String; 4]> = plan.changes.iter().take(most).map(row).collect();
    if !rows.is_empty() {
        table::print(["SUBJECT", "NOW", "THEN", "RESULT"], &rows);
    }
    if plan.changes.len() > rows.len() {
        println!("… {} more: --all shows them", plan.changes.len() - rows.len());
    }
    for refusal in plan.refused.iter().take(most) {
        println!("not {}: {}", printable(&refusal.subject), printable(&refusal.reason));
    }
    if plan.refused.len() > most {
        println!("… {} more that cannot change: --all shows them", plan.refused.len() - most);
    }
    tell_state(plan);
    Ok(())
}

fn row(change: &millwork_api::Change) -> [String; 4] {
    let result = match (&change.result, &change.message) {
        (None, _) => String::new(),
        (Some(result), None) => result.to_string(),
        (Some(result), Some(message)) => format!("{result}: {message}"),
    };
    [change.subject.clone(), change.before.clone(), change.after.clone(), result]
}

/// Estimated cost of a plan, as text.
fn price(cost: &PlanCost, plan: &Plan) -> String {
    let bytes = match cost.unsized_subjects as usize {
        0 => table::bytes(cost.bytes),
        number => format!("{} and {} of unknown size", table::bytes(cost.bytes), plan.subjects.counted(number)),
    };
    match cost.usd {
        Some(usd) => {
            format!("that converts {bytes}, for about {} USD as bytes of the newest 30 dates cost", dollars(usd))
        }
        None => format!("that converts {bytes}; nothing was converted yet that would tell the cost"),
    }
}

/// Prints the state of a plan on stderr, with the possible next step.
fn tell_state(plan: &Plan) {
    let count = plan.subjects.counted(plan.changes.len());
    match plan.state {
        PlanState::Open if plan.changes.is_empty() => eprintln!("nothing would change"),
        PlanState::Open => {
            eprintln!("{count} would change; nothing was changed yet");
            if let Some(cost) = &plan.cost {
                eprintln!("{}", price(cost, plan));
            }
            if plan.has_more {
                eprintln!("more match than one plan takes: make another one after this");
            }
            eprintln!("apply exactly this until {}: millwork plans apply {} --yes", time(plan.valid_until), plan.id);
        }
        PlanState::Expired => eprintln!("its time was over at {}: nothing was changed", time(plan.valid_until)),
        PlanState::Applying => eprintln!("it is being applied, or broke off: millwork plans apply {} goes on", plan.id),
        PlanState::Applied => eprintln!(
            "{}: {} done, {} skipped, {} failed",
            plan.action,
            plan.count(ChangeResult::Done),
            plan.count(ChangeResult::Skipped),
            plan.count(ChangeResult::Failed)
        ),
    }
}
