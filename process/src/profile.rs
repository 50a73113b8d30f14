//! Presets of options, used for values given neither on the command line nor in the environment.

use clap::builder::PossibleValue;
use clap::{Arg, ArgMatches, Command, ValueEnum, value_parser};

/// Name of the option that selects a profile, and its variable.
pub(crate) const OPTION: &str = "profile";
const VARIABLE: &str = "MILLWORK_PROFILE";

/// Environment that a preset is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Small files of tests, few at once, lenient rules.
    Dev,
    /// Files of 2.8 to 4.2 GiB, hundreds of thousands a day.
    Prod,
}

impl ValueEnum for Profile {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Dev, Self::Prod]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Dev => "dev",
            Self::Prod => "prod",
        }))
    }
}

/// Variables with their values in the profiles dev and prod, taken from the pipeline that Millwork replaces. Its lock
/// times (300 s and 10 s) are omitted, since they are the defaults.
const PRESETS: [(&str, &str, &str); 8] = [
    ("MAX_FILES_PER_MANIFEST", "50", "100"),
    ("MAX_BATCH_SIZE_GB", "200", "500"),
    ("EXPECTED_FILE_SIZE_MB", "10", "3500"),
    ("SIZE_TOLERANCE_PERCENT", "50", "20"),
    ("MAX_CONCURRENT_RUNS", "5", "30"),
    ("RUN_TIMEOUT_MINUTES", "60", "120"),
    ("MAX_RETRIES", "1", "2"),
    ("MILLWORK_SCALE_MAX_EXECUTORS", "10", "20"),
];

impl Profile {
    /// Value of an option in the profile; `None` if it has no preset.
    pub fn preset(self, arg: &Arg) -> Option<&'static str> {
        let variable = arg.get_env()?;
        let (_, dev, prod) = PRESETS.into_iter().find(|(name, ..)| variable == *name)?;
        Some(match self {
            Self::Dev => dev,
            Self::Prod => prod,
        })
    }

    /// Sets the profile's values as defaults of the options of a command and its subcommands.
    #[must_use]
    pub fn apply(self, command: Command) -> Command {
        let command = command.mut_args(|arg| match self.preset(&arg) {
            Some(value) => arg.default_value(value),
            None => arg,
        });
        let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
        below.into_iter().fold(command, |command, name| command.mut_subcommand(name, |below| self.apply(below)))
    }

    /// Profile selected by the command line or the environment.
    pub fn chosen(matches: &ArgMatches) -> Option<Self> {
        let own = matches.try_get_one::<Self>(OPTION).ok().flatten().copied();
        own.or_else(|| matches.subcommand().and_then(|(_, below)| Self::chosen(below)))
    }
}

/// Option that selects a profile, for a command with presets.
pub(crate) fn option_of(command: &Command) -> Option<Arg> {
    let has_preset = command.get_arguments().any(|arg| Profile::Dev.preset(arg).is_some());
    let is_new = command.get_arguments().all(|arg| arg.get_id() != OPTION);
    (has_preset && is_new).then(|| {
        Arg::new(OPTION)
            .long(OPTION)
            .global(true)
            .env(VARIABLE)
            .value_name("NAME")
            .value_parser(value_parser!(Profile))
            .help("Preset of what neither the command line nor the environment says; `millwork config reference` has its values")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let files = Arg::new("files").long("files").env("MAX_FILES_PER_MANIFEST").default_value("200");
        let below = Command::new("below").arg(Arg::new("other").long("other").default_value("1")).arg(files);
        crate::with_variables(Command::new("it").subcommand(below).subcommand(Command::new("plain")))
    }

    fn files(arguments: &[&str]) -> String {
        let matches = crate::options::read(command(), ["it", "below"].iter().chain(arguments).copied()).unwrap().1;
        let (_, below) = matches.subcommand().unwrap();
        assert_eq!(below.get_one::<String>("other").unwrap(), "1");
        below.get_one::<String>("files").unwrap().clone()
    }

    #[test]
    fn a_profile_gives_what_nobody_says() {
        assert_eq!(files(&[]), "200");
        assert_eq!(files(&["--profile", "dev"]), "50");
        assert_eq!(files(&["--profile", "prod"]), "100");
        assert_eq!(files(&["--profile", "prod", "--files", "7"]), "7");
    }

    #[test]
    fn only_commands_with_presets_have_the_option() {
        assert!(crate::options::read(command(), ["it", "plain", "--profile", "dev"]).is_err());
        assert!(crate::options::read(command(), ["it", "below", "--profile", "test"]).is_err());
    }
}
