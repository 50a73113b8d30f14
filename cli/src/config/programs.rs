//! Programs whose settings can be examined.

use clap::{Command, CommandFactory, ValueEnum};
use millwork_process::Profile;
use std::ffi::OsString;

/// Name of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// millwork-scheduler
    Scheduler,
    /// millwork-executor
    Executor,
    /// millwork-manifest-builder
    #[value(alias = "builder")]
    ManifestBuilder,
    /// The command line: millwork run, millwork up, …
    Millwork,
}

impl Name {
    pub(super) const ALL: [Self; 4] = [Self::Scheduler, Self::Executor, Self::ManifestBuilder, Self::Millwork];

    pub(super) fn binary(self) -> &'static str {
        match self {
            Self::Scheduler => "millwork-scheduler",
            Self::Executor => "millwork-executor",
            Self::ManifestBuilder => "millwork-manifest-builder",
            Self::Millwork => "millwork",
        }
    }

    /// Definition of the program's options, without environment variables.
    pub(super) fn command(self) -> Command {
        match self {
            Self::Scheduler => millwork_scheduler::Program::command(),
            Self::Executor => millwork_executor::Program::command(),
            Self::ManifestBuilder => millwork_manifest_builder::program::Program::command(),
            Self::Millwork => crate::Cli::command(),
        }
    }

    /// Command line of the program, with a profile. Executors have no presets.
    pub(super) fn line(self, profile: Option<Profile>, options: Vec<OsString>) -> Vec<OsString> {
        let profile = profile.filter(|_| self != Self::Executor).and_then(|profile| profile.to_possible_value());
        let profile = profile.into_iter().flat_map(|value| ["--profile".into(), value.get_name().into()]);
        // Appended at the end: in `millwork`, only subcommands have profiles.
        let is_plain = self == Self::Millwork && options.is_empty();
        let profile = profile.filter(|_| !is_plain);
        std::iter::once(self.binary().into()).chain(options).chain(profile).collect()
    }
}

/// The command, with all options made optional.
pub(super) fn relaxed(command: Command) -> Command {
    let command = command.subcommand_required(false).arg_required_else_help(false).mut_args(|arg| arg.required(false));
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    below.into_iter().fold(command, |command, name| command.mut_subcommand(name, relaxed))
}
