//! Repeated parsing of a command line, each time without the parts that were wrong, so that all problems are found at
//! once.

use crate::failure::clap_text;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};
use millwork_process::{read, with_variables};
use std::ffi::OsString;

/// Limit of the problems that are reported for a command line: 100, more than any program has options.
const MAX_PROBLEMS: usize = 100;
/// Marker in substitutes for missing values. Problems with these are not reported.
const STAND_IN: &str = "stands-in-for-what-is-missing";
/// Substitutes for missing values; the first that an option accepts is used.
const STAND_INS: [&str; 4] =
    ["/stands-in-for-what-is-missing", "sqlite:/stands-in-for-what-is-missing", "127.0.0.1:1", "1"];

/// A command line, with the parts of it and of the environment that are removed so far.
struct Amended {
    line: Vec<OsString>,
    /// Options whose environment variables are ignored.
    unset: Vec<String>,
    /// Missing options, each with the index of its substitute.
    missing: Vec<(String, usize)>,
}

/// All problems of a command line and the environment: those that clap finds, then those of the program itself.
pub(super) fn problems<T: CommandFactory + FromArgMatches>(
    line: Vec<OsString>,
    own: impl FnOnce(T) -> Vec<anyhow::Error>,
) -> Vec<String> {
    let mut amended = Amended { line, unset: Vec::new(), missing: Vec::new() };
    let mut found = Vec::new();
    while found.len() < MAX_PROBLEMS {
        match amended.read::<T>() {
            Ok(options) => {
                found.extend(own(options).iter().map(|error| format!("{error:#}")));
                break;
            }
            Err(error) if !error.use_stderr() => error.exit(),
            Err(error) => {
                found.push(clap_text(&error));
                if !amended.amend(&error, &T::command()) {
                    break;
                }
            }
        }
    }
    found.retain(|problem| !problem.contains(STAND_IN));
    found.dedup();
    found
}

impl Amended {
    fn read<T: CommandFactory + FromArgMatches>(&self) -> Result<T, clap::Error> {
        let command = self.unset.iter().fold(with_variables(T::command()), |command, long| without(command, long));
        let mut line = self.line.clone();
        for (long, number) in &self.missing {
            // After a subcommand, only its own options are accepted.
            let is_of_program = T::command().get_arguments().any(|arg| arg.get_long() == Some(long));
            let at = if is_of_program { 1.min(line.len()) } else { line.len() };
            let value = STAND_INS.get(*number).copied().unwrap_or_default();
            line.splice(at..at, [format!("--{long}").into(), value.into()]);
        }
        let (mut command, matches) = read(command, line)?;
        T::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// Changes the command line or the command so that this error does not occur again: removes an option, or adds a stand-in for a missing
    /// one. Returns false if that is impossible, which ends the search.
    fn amend(&mut self, error: &clap::Error, command: &Command) -> bool {
        let longs = longs_of(error);
        match error.kind() {
            ErrorKind::MissingRequiredArgument => {
                let fresh = longs.iter().filter(|long| !self.missing.iter().any(|(known, _)| known == *long));
                let fresh: Vec<_> = fresh.map(|long| (long.clone(), 0)).collect();
                let is_new = !fresh.is_empty();
                self.missing.extend(fresh);
                is_new
            }
            ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand => false,
            _ => longs.first().is_some_and(|long| self.leave_out(long, command)),
        }
    }

    fn leave_out(&mut self, long: &str, command: &Command) -> bool {
        if let Some((_, number)) = self.missing.iter_mut().find(|(missing, _)| missing == long) {
            *number += 1;
            return *number < STAND_INS.len();
        }
        let arg = arg_of(command, long);
        let takes_value = arg.is_none_or(|arg| arg.get_action().takes_values());
        if self.remove(long, takes_value, command) {
            return true;
        }
        let is_new = arg.is_some() && !self.unset.iter().any(|known| known == long);
        self.unset.push(long.to_owned());
        is_new
    }

    /// Removes an option with its values from the command line.
    fn remove(&mut self, long: &str, takes_value: bool, command: &Command) -> bool {
        let (flag, with_value) = (format!("--{long}"), format!("--{long}="));
        let before = self.line.len();
        let mut left = Vec::with_capacity(before);
        let mut words = std::mem::take(&mut self.line).into_iter().peekable();
        while let Some(word) = words.next() {
            let text = word.to_string_lossy();
            if text == flag {
                let is_value = |next: &OsString| {
                    let next = next.to_string_lossy();
                    takes_value && !next.starts_with('-') && command.find_subcommand(&*next).is_none()
                };
                let _ = words.next_if(is_value);
            } else if !text.starts_with(&with_value) {
                left.push(word);
            }
        }
        self.line = left;
        self.line.len() < before
    }
}

/// Long names of the options that an error concerns.
fn longs_of(error: &clap::Error) -> Vec<String> {
    let texts = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let long = |text: &String| {
        let name = text.trim().strip_prefix("--")?;
        name.split([' ', '=', '<', '[']).next().map(str::to_owned)
    };
    texts.iter().filter_map(long).filter(|long| !long.is_empty()).collect()
}

fn arg_of<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    own.or_else(|| command.get_subcommands().find_map(|below| arg_of(below, long)))
}

/// The command, with an option's environment variable removed.
fn without(command: Command, long: &str) -> Command {
    let unset = |arg: Arg| if arg.get_long() == Some(long) { arg.env(Resettable::Reset) } else { arg };
    let command = command.mut_args(unset);
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    below.into_iter().fold(command, |command, name| command.mut_subcommand(name, |below| without(below, long)))
}
