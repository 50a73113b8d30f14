//! `millwork config`: effective settings, their problems, and a reference of all options.

mod amended;
mod check;
mod programs;
mod reference;

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::list::print_json;
use crate::table;
use clap::{Args, Subcommand};
use millwork_api::{Config, Origin, Setting, path};
use millwork_process::Profile;
use millwork_scheduler::settings_in_force;
use programs::Name;
use serde::Serialize;
use std::ffi::OsString;
use std::process::ExitCode;

/// Show settings, each with where it is from; find what is wrong with them; list all that there are.
///
/// Options of the command line count first, then the environment, then the profile (--profile dev or prod), then the default.
///
/// Examples:
///   millwork config show                           # of the scheduler that runs
///   millwork config show scheduler --profile prod  # of one that starts here
///   millwork config check manifest-builder -- serve
///   millwork config reference --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Show(ShowOptions),
    Check(CheckOptions),
    Reference(ReferenceOptions),
}

/// Show the settings in force, each with where it is from.
///
/// Without PROGRAM, the scheduler that runs is asked for its own. With it, they are those that the program would have if it were started
/// here: with this environment, this profile, and the options after `--`. Nothing is started, and no secret is shown: where one is in a
/// file, the file is named.
///
/// Examples:
///   millwork config show --scheduler http://127.0.0.1:8080
///   millwork config show millwork --json -- run --input ./in --output ./out
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct ShowOptions {
    /// Program as it would start here
    program: Option<Name>,

    /// Options and commands of the program
    #[arg(last = true, value_name = "OPTIONS", requires = "program")]
    line: Vec<OsString>,

    /// Profile for what neither the options nor the environment say
    #[arg(long, env = "MILLWORK_PROFILE", value_name = "NAME")]
    profile: Option<Profile>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Find what is wrong with the settings that a program would start with here.
///
/// Reads the environment, the files that options name, and the options after `--`, as the program would; tells of all that is wrong at
/// once, and of variables that begin with MILLWORK_ and are none. Nothing is started, opened to others or changed, and no network is used: `millwork doctor` looks at what
/// is around.
///
/// Examples:
///   millwork config check scheduler
///   millwork config check manifest-builder -- serve --queue-url $QUEUE_URL
///
/// Exit codes: 0 nothing is wrong; 3 something is.
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct CheckOptions {
    /// Program as it would start here
    program: Name,

    /// Options and commands of the program
    #[arg(last = true, value_name = "OPTIONS")]
    line: Vec<OsString>,

    /// Profile for what neither the options nor the environment say
    #[arg(long, env = "MILLWORK_PROFILE", value_name = "NAME")]
    profile: Option<Profile>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// List all options of all programs, with their variables, defaults and the values of profiles.
///
/// Examples:
///   millwork config reference executor
///   millwork config reference --json | jq -r '.options[].variable'
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct ReferenceOptions {
    /// Program whose options are listed [default: all]
    program: Option<Name>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Problems of a program's settings, as printed.
#[derive(Serialize)]
struct Checked {
    program: &'static str,
    problems: Vec<String>,
}

pub(crate) async fn config(options: Options) -> anyhow::Result<ExitCode> {
    match options.command {
        Command::Show(options) => show(options).await,
        Command::Check(options) => {
            let line = options.program.line(options.profile, options.line);
            let problems = check::problems(options.program, line);
            let is_well = problems.is_empty();
            let checked = Checked { program: options.program.binary(), problems };
            match options.json {
                true => print_json(&checked)?,
                false => checked.print(),
            }
            Ok(if is_well { ExitCode::SUCCESS } else { Exit::NeedsYou.into() })
        }
        Command::Reference(options) => {
            let reference = reference::Reference::of(options.program);
            match options.json {
                true => print_json(&reference)?,
                false => print!("{}", reference.to_text()),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Checked {
    fn print(&self) {
        for problem in &self.problems {
            println!("✗ {}", millwork_manifest::printable(problem));
        }
        if self.problems.is_empty() {
            println!("✓ {} would start with these settings", self.program);
        }
    }
}

async fn show(options: ShowOptions) -> anyhow::Result<ExitCode> {
    let (settings, profile) = match options.program {
        None => {
            let config: Config = Client::new(&options.client)?.get(path::CONFIG, &()).await?;
            if options.json {
                print_json(&config)?;
                return Ok(ExitCode::SUCCESS);
            }
            (config.items, None)
        }
        Some(program) => {
            let line = program.line(options.profile, options.line);
            // Missing required options are not an error here; `check` reports them.
            let command = programs::relaxed(millwork_process::with_variables(program.command()));
            let (command, matches) = millwork_process::read(command, line).map_err(crate::failure::wrong_line)?;
            (settings_in_force(&command, &matches), Profile::chosen(&matches))
        }
    };
    if options.json {
        print_json(&serde_json::json!({ "items": settings }))?;
    } else {
        print(&settings, profile);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(settings: &[Setting], profile: Option<Profile>) {
    let row = |setting: &Setting| {
        let from = match (setting.origin, profile) {
            (Origin::Default, _) => "default".to_owned(),
            (Origin::Profile, Some(Profile::Dev)) => "profile dev".to_owned(),
            (Origin::Profile, Some(Profile::Prod)) => "profile prod".to_owned(),
            (Origin::Profile, None) => "profile".to_owned(),
            (Origin::Env, _) => "environment".to_owned(),
            (Origin::Flag, _) => "option".to_owned(),
        };
        let value = setting.value.clone().unwrap_or_else(|| "-".to_owned());
        let variable = setting.variable.clone().unwrap_or_else(|| "-".to_owned());
        [setting.name.clone(), value, from, variable]
    };
    table::print(["SETTING", "VALUE", "FROM", "VARIABLE"], &settings.iter().map(row).collect::<Vec<_>>());
}
