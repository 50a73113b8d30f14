//! Environment variables for options.
//!
//! Every option can be set by a variable, so that a container needs no command line. An option that names a variable
//! keeps it; others get `MILLWORK_`, their subcommands, and their own name: `--listen` is `MILLWORK_LISTEN`, and
//! `--prefix` of `backfill` is `MILLWORK_BACKFILL_PREFIX`.

use crate::profile::{self, Profile};
use clap::builder::{FalseyValueParser, Resettable};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use std::env;
use std::error::Error;
use std::ffi::OsString;

/// Prefix of variables that are named after their option.
const PREFIX: &str = "MILLWORK";
/// Options that confirm irreversible actions, and get no variable: one that remains set would confirm everything.
const CONFIRMATIONS: [&str; 1] = ["yes"];

/// A parsed command line, including the environment and the profile.
pub struct Parsed<T> {
    /// Parsed options.
    pub options: T,
    /// Definition of the command, with variables, and with the profile's values as defaults.
    pub command: Command,
    /// Values of the options, with their sources.
    pub matches: ArgMatches,
}

/// Parses the command line and the environment; ends the process with a message if they are invalid, or help is
/// requested.
pub fn parse<T: CommandFactory + FromArgMatches>() -> T {
    try_parse_from(env::args_os()).unwrap_or_else(|error| error.exit()).options
}

/// Parses a command line and the environment.
pub fn try_parse_from<T: CommandFactory + FromArgMatches>(
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Parsed<T>, clap::Error> {
    let (mut command, matches) = read(with_variables(T::command()), line)?;
    let options = T::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok(Parsed { options, command, matches })
}

/// Parses a command line for a command with variables: twice if a profile is chosen, since its values become defaults.
pub fn read(
    mut command: Command,
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<(Command, ArgMatches), clap::Error> {
    let line: Vec<OsString> = line.into_iter().map(Into::into).collect();
    let plain = command.clone();
    let matches = command.try_get_matches_from_mut(&line).map_err(|error| plainly(error, &command, &line))?;
    let Some(profile) = Profile::chosen(&matches) else { return Ok((plain, matches)) };
    let command = profile.apply(plain);
    let matches = command.clone().try_get_matches_from_mut(&line).map_err(|error| plainly(error, &command, &line))?;
    Ok((command, matches))
}

/// Texts of the standard library about numbers and addresses, and plain ones for them.
const PLAIN_TEXTS: [(&str, &str); 5] = [
    ("invalid digit found in string", "a whole number is wanted, without a sign or a unit"),
    ("invalid float literal", "a number is wanted, without a unit, such as 10 or 0.5"),
    ("number too large to fit in target type", "the number is too large"),
    ("cannot parse integer from empty string", "a number is wanted"),
    ("invalid socket address syntax", "an address is wanted with its port, such as 127.0.0.1:8080"),
];

/// Tells of a value that is wrong in plain words, and by the name of its variable if it came from that.
fn plainly(error: clap::Error, command: &Command, line: &[OsString]) -> clap::Error {
    let (Some(ContextValue::String(option)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return error;
    };
    // Arguments have names only once their command is built, which parsing does for the subcommand it is in.
    let mut built = command.clone();
    built.build();
    let variable = variable_of(&built, option, value, line);
    let reason = error.source().map(ToString::to_string);
    let plain = reason.as_ref().and_then(|reason| PLAIN_TEXTS.iter().find(|(text, _)| reason == text));
    let reason = match (plain, &variable, reason) {
        (None, None, _) | (_, _, None) => return error,
        (Some((_, plain)), ..) => (*plain).to_owned(),
        (None, Some(_), Some(reason)) => reason,
    };
    let from = variable.map(|name| format!(", from the variable {name}")).unwrap_or_default();
    let message =
        format!("invalid value '{value}' for '{option}'{from}: {reason}\n\nFor more information, try '--help'.\n");
    let mut plain = clap::Error::raw(error.kind(), message);
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue] {
        if let Some(found) = error.get(kind) {
            plain.insert(kind, found.clone());
        }
    }
    plain
}

/// The variable that an option has this value from; none if the line names the option.
fn variable_of(command: &Command, option: &str, value: &str, line: &[OsString]) -> Option<String> {
    let is_it = |arg: &&Arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let is_said = |long: &String| {
            line.iter().any(|word| word.to_str().is_some_and(|word| word.split('=').next() == Some(long)))
        };
        arg.to_string() == option && !long.as_ref().is_some_and(is_said)
    };
    let own = command.get_arguments().filter(is_it).filter_map(Arg::get_env);
    let named = own.filter(|name| env::var_os(name).is_some_and(|set| set == value)).map(|name| name.to_string_lossy());
    let below = || command.get_subcommands().find_map(|below| variable_of(below, option, value, line));
    named.map(|name| name.into_owned()).next().or_else(below)
}

/// Gives each option of a command a variable, and formats help texts for any width. An empty variable counts as unset.
pub fn with_variables(command: Command) -> Command {
    below(command, PREFIX)
}

fn below(command: Command, prefix: &str) -> Command {
    let command = with_set_texts(command);
    let command = match profile::option_of(&command) {
        Some(option) => command.arg(option),
        None => command,
    };
    let command = command.mut_args(|arg| with_variable(arg, prefix));
    let subcommands: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    subcommands.into_iter().fold(command, |command, name| {
        let prefix = format!("{prefix}_{}", upper(&name));
        command.mut_subcommand(name, |subcommand| below(subcommand, &prefix))
    })
}

/// Formats help texts of a command: summaries without a full stop, and each paragraph as one line, which is wrapped by
/// the terminal.
fn with_set_texts(command: Command) -> Command {
    let summary = command.get_about().map(|about| about.to_string());
    let text = command.get_long_about().map(|about| paragraphs(&about.to_string()));
    let command = match summary {
        Some(summary) => command.about(summary.strip_suffix('.').unwrap_or(&summary).to_owned()),
        None => command,
    };
    match text {
        Some(text) => command.long_about(text),
        None => command,
    }
}

/// Joins the lines of each paragraph. Lines that begin with a blank, such as examples, are kept.
fn paragraphs(text: &str) -> String {
    let (mut set, mut is_open) = (String::with_capacity(text.len()), false);
    for line in text.lines() {
        let is_plain = !line.is_empty() && !line.starts_with(' ');
        if !set.is_empty() {
            set.push(if is_open && is_plain { ' ' } else { '\n' });
        }
        set.push_str(line);
        is_open = is_plain && !line.ends_with(':');
    }
    set
}

fn with_variable(arg: Arg, prefix: &str) -> Arg {
    // A value below 0 is reported as wrong, instead of being parsed as an option.
    let arg = if arg.get_long().is_some() && arg.get_action().takes_values() {
        arg.allow_negative_numbers(true)
    } else {
        arg
    };
    let arg = match arg.get_long().filter(|_| is_configurable(&arg) && arg.get_env().is_none()) {
        // The name is leaked: it is needed until the process ends, and created once per option.
        Some(long) => {
            let name: &'static str = Box::leak(format!("{prefix}_{}", upper(long)).into_boxed_str());
            let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
            let arg = arg.env(name);
            if is_flag { arg.value_parser(FalseyValueParser::new()) } else { arg }
        }
        None => arg,
    };
    match arg.get_env().is_some_and(|name| env::var_os(name).is_some_and(|value| value.is_empty())) {
        true => arg.env(Resettable::Reset),
        false => arg,
    }
}

/// Tells whether an option gets a variable: not a positional argument, confirmation, retired option, help or version.
fn is_configurable(arg: &Arg) -> bool {
    let asks =
        matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version);
    let is_confirmation = arg.get_long().is_some_and(|long| CONFIRMATIONS.contains(&long));
    arg.get_long().is_some() && !asks && !is_confirmation && !arg.is_hide_set()
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Options of a command without a variable, and variables shared by options of different names: both are empty for a
/// correct command. For tests.
pub fn unnamed(command: Command) -> Vec<String> {
    let mut found = Vec::new();
    let mut names = Vec::new();
    let mut commands = vec![(String::new(), with_variables(command))];
    while let Some((path, command)) = commands.pop() {
        let path = format!("{path}{} ", command.get_name());
        for arg in command.get_arguments().filter(|arg| is_configurable(arg)) {
            let long = arg.get_long().unwrap_or_default();
            match arg.get_env() {
                None => found.push(format!("{path}--{long} has no variable")),
                Some(name) => names.push((name.to_owned(), long.to_owned(), path.clone())),
            }
        }
        commands.extend(command.get_subcommands().map(|below| (path.clone(), below.clone())));
    }
    for (at, (name, long, path)) in names.iter().enumerate() {
        if let Some((_, other, other_path)) = names[..at].iter().find(|(n, l, _)| n == name && l != long) {
            let name = name.display();
            found.push(format!("{name} gives {path}--{long} and {other_path}--{other}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    #[command(name = "it")]
    struct It {
        #[arg(long, default_value_t = 7)]
        top_level: u32,
        #[arg(long, env = "OF_OLD", default_value_t = 1)]
        named: u32,
        #[command(subcommand)]
        below: Option<Below>,
    }

    #[derive(clap::Subcommand, Debug)]
    enum Below {
        MakeIt {
            #[arg(long)]
            quickly: bool,
            #[arg(long)]
            yes: bool,
            file: Option<String>,
        },
    }

    fn variables(command: &Command) -> Vec<String> {
        let names = command.get_arguments().filter_map(|arg| arg.get_env().map(|name| name.display().to_string()));
        names.collect()
    }

    #[test]
    fn options_have_variables_and_confirmations_have_none() {
        let command = with_variables(It::command());
        assert_eq!(variables(&command), ["MILLWORK_TOP_LEVEL", "OF_OLD"]);
        let below = command.find_subcommand("make-it").unwrap();
        assert_eq!(variables(below), ["MILLWORK_MAKE_IT_QUICKLY"]);
        assert_eq!(unnamed(It::command()), Vec::<String>::new());
    }

    #[test]
    fn a_command_line_is_read_as_before() {
        let mut command = with_variables(It::command());
        let matches = command.try_get_matches_from_mut(["it", "--top-level", "9", "make-it", "--quickly", "file"]);
        let it = It::from_arg_matches(&matches.unwrap()).unwrap();
        assert_eq!((it.top_level, it.named), (9, 1));
        let Some(Below::MakeIt { quickly, yes, file }) = it.below else { panic!("{it:?}") };
        assert!(quickly && !yes && file.is_some());
    }

    #[test]
    fn paragraphs_are_broken_where_a_terminal_ends_and_examples_are_not() {
        let text = "Does it.\n\nOne line\nof a paragraph.\n\nExamples:\n  it a\n  it b\n\nExit codes: 0\nis well.";
        let set = "Does it.\n\nOne line of a paragraph.\n\nExamples:\n  it a\n  it b\n\nExit codes: 0 is well.";
        assert_eq!(paragraphs(text), set);
        let command = with_set_texts(Command::new("it").about("Does it.").long_about(text));
        assert_eq!(command.get_about().map(ToString::to_string).as_deref(), Some("Does it"));
        assert_eq!(command.get_long_about().map(ToString::to_string).as_deref(), Some(set));
    }

    #[test]
    fn one_variable_for_two_options_is_told() {
        #[derive(Parser)]
        struct Two {
            #[arg(long, env = "SAME")]
            one: Option<u32>,
            #[arg(long, env = "SAME")]
            other: Option<u32>,
        }
        assert_eq!(unnamed(Two::command()).len(), 1);
    }
}
