//! Effective settings, each with its source.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use millwork_api::{Origin, Setting};
use millwork_process::Profile;

/// Limit of a setting's text, in characters.
const MAX_VALUE_CHARACTERS: usize = 1000;

/// Settings of a command and its called subcommand. No option contains a secret, only names of files with secrets.
pub fn settings_in_force(command: &Command, matches: &ArgMatches) -> Vec<Setting> {
    let mut settings = own_settings(command, matches, Profile::chosen(matches));
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        settings.extend(settings_in_force(command, matches));
    }
    settings
}

fn own_settings(command: &Command, matches: &ArgMatches, profile: Option<Profile>) -> Vec<Setting> {
    let is_setting = |argument: &&clap::Arg| {
        !argument.is_hide_set() && argument.get_long().is_some_and(|long| !["help", "version"].contains(&long))
    };
    let setting = |argument: &clap::Arg| {
        let id = argument.get_id().as_str();
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Env,
            _ if profile.is_some_and(|profile| profile.preset(argument).is_some()) => Origin::Profile,
            _ => Origin::Default,
        };
        let values = matches.get_raw(id).into_iter().flatten();
        let text: Vec<String> = values.map(|value| value.to_string_lossy().into_owned()).collect();
        let clean = |text: String| text.chars().filter(|c| !c.is_control()).take(MAX_VALUE_CHARACTERS).collect();
        Setting {
            name: format!("--{}", argument.get_long().unwrap_or_default()),
            variable: argument.get_env().map(|name| name.to_string_lossy().into_owned()),
            value: (!text.is_empty()).then(|| clean(text.join(","))),
            origin,
        }
    };
    command.get_arguments().filter(is_setting).map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    #[test]
    fn a_setting_says_where_it_is_from() {
        let command = Command::new("it")
            .arg(Arg::new("a").long("a").default_value("1"))
            .arg(Arg::new("b").long("b"))
            .arg(Arg::new("c").long("c").action(ArgAction::SetTrue))
            .arg(Arg::new("d").long("d").hide(true));
        let matches = command.clone().get_matches_from(["it", "--b", "x\u{1b}[2J"]);
        let settings = settings_in_force(&command, &matches);
        let all: Vec<_> = settings.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.origin)).collect();
        let expected = [
            ("--a", Some("1"), Origin::Default),
            ("--b", Some("x[2J"), Origin::Flag),
            ("--c", Some("false"), Origin::Default),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn settings_of_a_profile_and_of_a_command_below_are_told() {
        let runs = Arg::new("runs").long("runs").env("MAX_CONCURRENT_RUNS").default_value("30");
        let command = Command::new("it").subcommand(Command::new("below").arg(runs));
        let line = ["it", "below", "--profile", "dev"];
        let (command, matches) = millwork_process::read(millwork_process::with_variables(command), line).unwrap();
        let settings = settings_in_force(&command, &matches);
        let all: Vec<_> = settings.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.origin)).collect();
        assert_eq!(all, [("--runs", Some("5"), Origin::Profile), ("--profile", Some("dev"), Origin::Flag)]);
    }
}
