//! `millwork`: the command-line interface. Data goes to stdout, everything else to stderr.

mod address;
mod audit;
mod bootstrap;
mod client;
mod cluster;
mod config;
mod cost;
mod dates;
mod doctor;
mod embedded;
mod exit;
mod explain;
mod failure;
mod files;
mod filter;
mod generate;
mod list;
mod load_test;
mod open;
mod plans;
mod put_back;
mod queues;
mod redrive;
mod refusal;
mod rejected;
mod report;
mod rounds;
mod run;
mod runs;
mod shell;
mod state;
mod store;
mod submit;
mod table;
mod token;
mod top;
mod trouble;
mod unheard;
mod up;
mod why;

use clap::{CommandFactory, Parser, Subcommand};
use exit::Exit;
use failure::Told;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns many small NDJSON files into well-sized Parquet.
///
/// Every column is text, exactly as it stands in the source; metadata columns say where each row came from. The output
/// of a manifest appears whole or not at all.
#[derive(Parser)]
#[command(name = "millwork", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 the command line is wrong; 3 something needs you; `millwork help \
exit-codes` has all of them.";

#[derive(Subcommand)]
enum Command {
    Up(up::Options),
    Run(run::Options),
    Explain(explain::Options),
    #[command(flatten)]
    Work(Work),
    Generate(generate::Options),
    Plans(plans::Options),
    Audit(audit::Options),
    Queues(queues::Options),
    Completions(shell::CompletionOptions),
    Man(shell::ManOptions),
    LoadTest(load_test::Options),
    Bootstrap(bootstrap::Options),
    Token(token::Options),
    Open(open::Options),
    Top(top::Options),
    Why(why::Options),
    Doctor(doctor::Options),
    State(state::Options),
    Config(config::Options),
}

// Commands about the files, runs and dates of a state. A doc comment would become the help of `millwork`.
#[derive(Subcommand)]
enum Work {
    Status(cluster::StatusOptions),
    Submit(submit::Options),
    Runs(runs::Options),
    Files(files::Options),
    Quarantine(files::QuarantineOptions),
    Rejected(rejected::Options),
    Dates(dates::Options),
    Cluster(cluster::ClusterOptions),
    Cost(cost::Options),
    Redrive(redrive::Options),
    Backfill(rounds::BackfillOptions),
    Sweep(rounds::SweepOptions),
}

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["help", "exit-codes"]) {
        print!("{}", Exit::table());
        return Exit::Done.into();
    }
    // Determined before parsing, so that errors of the command line are in the requested format, too.
    let as_json = std::env::args_os().any(|argument| argument == "--json");
    let parsed = match millwork_process::try_parse_from::<Cli>(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) if as_json && error.use_stderr() => {
            return Told::of(&failure::wrong_line(error)).print(true).into();
        }
        Err(error) => error.exit(),
    };
    let (cli, as_json) = (parsed.options, as_json || asks_for_json(&parsed.matches));
    let quiet = "warn,millwork_scheduler=off,ballista=off,ballista_core=off,ballista_scheduler=off,datafusion=off";
    if let Err(error) = millwork_process::start_logs("millwork", quiet) {
        return Told::of(&failure::of_usage(error)).print(as_json).into();
    }
    end_when_nobody_reads();
    carry_out(cli.command).unwrap_or_else(|error| Told::of(&error).print(as_json).into())
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate(options) => generate::generate(&options).map(|()| ExitCode::SUCCESS),
        Command::Token(options) => token::token(&options).map(|()| ExitCode::SUCCESS),
        Command::Completions(options) => {
            shell::completions(&options, Cli::command());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(options) => shell::man(&options, Cli::command()).map(|()| ExitCode::SUCCESS),
        Command::Plans(options) => block_on(plans::plans(options)),
        Command::Audit(options) => block_on(audit::audit(options)),
        Command::Queues(options) => block_on(queues::queues(options)),
        Command::Run(options) => block_on(run::run(options)),
        Command::Up(options) => block_on(up::up(options)),
        Command::Top(options) => block_on(top::top(options)),
        Command::Open(options) => block_on(open::open(options)),
        Command::Explain(options) => block_on(explain::explain(options)),
        Command::LoadTest(options) => block_on(load_test::load_test(options)),
        Command::Bootstrap(options) => block_on(bootstrap::bootstrap(options)),
        Command::Why(options) => block_on(why::why(options)),
        Command::Doctor(options) => block_on(doctor::doctor(options)),
        Command::State(options) => block_on(state::state(options)),
        Command::Config(options) => block_on(config::config(options)),
        Command::Work(work) => carry_out_work(work),
    }
}

fn carry_out_work(work: Work) -> anyhow::Result<ExitCode> {
    match work {
        Work::Status(options) => block_on(cluster::status(options)),
        Work::Submit(options) => block_on(submit::submit(options)),
        Work::Runs(options) => block_on(runs::runs(options)),
        Work::Files(options) => block_on(files::files(options)),
        Work::Quarantine(options) => block_on(files::quarantine(options)),
        Work::Rejected(options) => block_on(rejected::rejected(options)),
        Work::Dates(options) => block_on(dates::dates(options)),
        Work::Cluster(options) => block_on(cluster::cluster(options)),
        Work::Cost(options) => block_on(cost::cost(options)),
        Work::Redrive(options) => block_on(redrive::redrive(options)),
        Work::Backfill(options) => block_on(rounds::backfill(options)),
        Work::Sweep(options) => block_on(rounds::sweep(options)),
    }
}

/// Tells whether the called command prints JSON, including by an environment variable.
fn asks_for_json(matches: &clap::ArgMatches) -> bool {
    // Commands without that option print no JSON.
    let own = matches.try_get_one::<bool>("json").is_ok_and(|given| given == Some(&true));
    own || matches.subcommand().is_some_and(|(_, below)| asks_for_json(below))
}

/// Ends the process silently when stdout is closed, as in `millwork runs | head`.
fn end_when_nobody_reads() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to") && text.contains("Broken pipe") {
            std::process::exit(Exit::ReaderGone.code().into());
        }
        if let Some((_, why)) = text.split_once("failed printing to stdout: ") {
            eprintln!("millwork: cannot write to stdout: {why}");
            std::process::exit(Exit::Failed.code().into());
        }
        tell(panic);
    }));
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    millwork_process::report_large_files();
    millwork_process::report_missing_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // Abandoned work must not delay the end.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Width of the help when it is not printed on a terminal (crate clap_builder, `Help`).
    const HELP_COLUMNS: usize = 100;

    /// Splits an example into words, as a shell does. A comment, a pipe or a redirection ends the command.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, '#' | '|' | '>' | '<') if word.is_none() => break,
                (None, ' ') => words.extend(word.take()),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_has_examples_and_each_is_one() {
        let mut open = vec![(String::new(), Cli::command())];
        while let Some((path, command)) = open.pop() {
            let path = format!("{path}{} ", command.get_name());
            let lines = |width| {
                let help = command.clone().term_width(width).render_long_help().to_string();
                let examples = help.lines().filter(|line| line.starts_with("  millwork "));
                (examples.map(str::to_owned).collect::<Vec<_>>(), help)
            };
            let (examples, help) = lines(0);
            // Examples must not be wrapped at the default width, so that they can be copied.
            assert_eq!(lines(HELP_COLUMNS).0, examples, "{path}");
            let is_leaf = command.get_subcommands().next().is_none();
            assert!(!is_leaf || !examples.is_empty(), "{path}has no example: {help}");
            for example in examples {
                let parsed = millwork_process::try_parse_from::<Cli>(words(&example));
                assert!(parsed.is_ok(), "{path}: {example}: {}", parsed.err().unwrap());
            }
            open.extend(command.get_subcommands().map(|below| (path.clone(), below.clone())));
        }
    }

    #[test]
    fn every_option_has_a_variable() {
        assert_eq!(millwork_process::unnamed(Cli::command()), Vec::<String>::new());
    }
}
