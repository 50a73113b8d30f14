//! Reference of the options of all programs, from their definitions.

use super::programs::Name;
use clap::{Arg, Command};
use millwork_process::{Profile, with_variables};
use serde::Serialize;
use std::fmt::Write as _;

/// Further environment variables, which belong to no option.
pub(super) const VARIABLES: [(&str, &str); 21] = [
    ("MILLWORK_EXECUTOR_SECRET", "The secret that scheduler and executors share"),
    ("MILLWORK_TOKEN", "A token for the HTTP API"),
    ("TRACKING_TABLE", "Table of files, of a state in DynamoDB"),
    ("LOCK_TABLE", "Table of locks, of a state in DynamoDB"),
    ("METRICS_TABLE", "Table of numbers, of a state in DynamoDB"),
    ("RUNS_TABLE", "Table of runs, of a state in DynamoDB"),
    ("MANIFEST_BUCKET", "Bucket of manifests"),
    ("QUARANTINE_BUCKET", "Bucket of refused files"),
    ("OUTPUT_BUCKET", "Bucket of the output"),
    ("RUST_LOG", "What is logged, such as info,millwork_scheduler=debug"),
    ("MILLWORK_LOG", "Form of logs: json, or text"),
    ("NO_COLOR", "Without colours, if it is set"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "Where traces go, over OTLP"),
    ("AWS_REGION", "Region of AWS; the SDK knows more variables"),
    ("MILLWORK_COMMIT", "Commit that a program tells in its metrics, where it is built"),
    ("MILLWORK_BLESS", "For Millwork's own tests: write what is compared"),
    ("MILLWORK_SEEDS", "For Millwork's own tests: histories that are simulated"),
    ("MILLWORK_EVENTS", "For Millwork's own tests: events of a day"),
    ("MILLWORK_EXAMPLES", "For Millwork's own tests: examples of a property"),
    ("MILLWORK_FUZZ_SECONDS", "For Millwork's own tests: time of the fuzzer"),
    ("MILLWORK_PYTHON", "For Millwork's own tests: the Python that judges outputs"),
];

/// Complete reference.
#[derive(Serialize)]
pub(super) struct Reference {
    pub(super) options: Vec<OptionOf>,
    variables: Vec<Variable>,
}

/// An option of a program, or of one of its subcommands.
#[derive(Serialize)]
pub(super) struct OptionOf {
    program: &'static str,
    /// Subcommand of the program; empty for options of all.
    command: String,
    option: String,
    /// Placeholder of the value; `None` for a flag.
    value: Option<String>,
    pub(super) variable: Option<String>,
    default: Option<String>,
    /// Values in the profiles.
    dev: Option<&'static str>,
    prod: Option<&'static str>,
    help: String,
}

#[derive(Serialize)]
struct Variable {
    variable: &'static str,
    help: &'static str,
}

impl Reference {
    pub(super) fn of(program: Option<Name>) -> Self {
        let mut options = Vec::new();
        for name in Name::ALL.into_iter().filter(|name| program.is_none_or(|wanted| wanted == *name)) {
            add(&mut options, name.binary(), "", &with_variables(name.command()));
        }
        let variables = VARIABLES.into_iter().map(|(variable, help)| Variable { variable, help }).collect();
        Self { options, variables }
    }

    /// Reference as text: options grouped by command.
    pub(super) fn to_text(&self) -> String {
        let (mut text, mut last) = (String::new(), None);
        for option in &self.options {
            let place = (option.program, option.command.as_str());
            if last.replace(place) != Some(place) {
                let blank = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{blank}{}", format!("{} {}", place.0, place.1).trim_end());
            }
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  {}", option.line());
            let _ = writeln!(text, "      {}", option.help);
        }
        text.push_str("\nvariables beside options\n");
        for Variable { variable, help } in &self.variables {
            let _ = writeln!(text, "  {variable}\n      {help}");
        }
        text
    }
}

impl OptionOf {
    fn line(&self) -> String {
        let mut line = self.option.clone();
        if let Some(value) = &self.value {
            let _ = write!(line, " <{value}>");
        }
        for (word, value) in [
            ("variable", self.variable.as_deref()),
            ("default", self.default.as_deref()),
            ("dev", self.dev),
            ("prod", self.prod),
        ] {
            if let Some(value) = value {
                let _ = write!(line, "  {word} {value}");
            }
        }
        line
    }
}

fn add(options: &mut Vec<OptionOf>, program: &'static str, path: &str, command: &Command) {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    for (arg, long) in shown.filter_map(|arg| Some((arg, arg.get_long()?))) {
        let takes_value = arg.get_action().takes_values();
        let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let help = arg.get_long_help().or(arg.get_help()).map_or_else(String::new, ToString::to_string);
        let (help, told) = split_default(&help);
        options.push(OptionOf {
            program,
            command: path.to_owned(),
            option: format!("--{long}"),
            value: value.filter(|_| takes_value),
            variable: arg.get_env().map(|name| name.to_string_lossy().into_owned()),
            default: default_of(arg).filter(|_| takes_value).or(told),
            dev: Profile::Dev.preset(arg),
            prod: Profile::Prod.preset(arg),
            help,
        });
    }
    for below in command.get_subcommands() {
        add(options, program, format!("{path} {}", below.get_name()).trim_start(), below);
    }
}

fn default_of(arg: &Arg) -> Option<String> {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    Some(values.join(",")).filter(|text| !text.is_empty())
}

/// Splits a help text into one line and the default described in it, for defaults that are computed at run time.
fn split_default(help: &str) -> (String, Option<String>) {
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    match help.split_once(" [default: ") {
        Some((before, told)) => (before.to_owned(), Some(told.trim_end_matches(']').to_owned())),
        None => (help, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Section of the document about a program's command.
    fn chapter<'a>(text: &'a str, option: &OptionOf) -> &'a str {
        let heading = match option.program {
            "millwork-scheduler" => "\n## Scheduler\n",
            "millwork-executor" => "\n## Executor\n",
            _ => "\n## Manifest builder\n",
        };
        let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("{heading}"));
        rest.split("\n## ").next().unwrap()
    }

    #[test]
    fn the_document_has_every_option_of_the_services_with_its_variable_and_default() {
        let text = include_str!("../../../docs/configuration.md");
        let reference = Reference::of(None);
        for option in reference.options.iter().filter(|option| option.program != "millwork") {
            // Consent to a single change is not a setting.
            let Some(variable) = option.variable.as_deref() else {
                assert_eq!(option.option, "--yes");
                continue;
            };
            let row = format!("| `{}` | `{variable}` | ", option.option);
            let rows: Vec<&str> = chapter(text, option).lines().filter(|line| line.starts_with(&row)).collect();
            assert!(!rows.is_empty(), "{} {}: no row `{row}`", option.program, option.command);
            if let Some(default) = &option.default {
                let is_told = |row: &&str| row.contains(&format!("`{default}`")) || row.contains(default.as_str());
                assert!(rows.iter().any(is_told), "{}: `{row}` does not have the default {default}", option.program);
            }
        }
        for (variable, _) in VARIABLES.iter().filter(|(_, help)| !help.starts_with("For Millwork's")) {
            assert!(text.contains(&format!("`{variable}")), "{variable}");
        }
    }

    #[test]
    fn the_document_has_the_values_of_the_profiles() {
        let text = include_str!("../../../docs/configuration.md");
        let reference = Reference::of(None);
        let presets = reference.options.iter().filter_map(|option| {
            Some(format!(
                "| `{}` | `{}` | {} | {} |",
                option.option,
                option.variable.as_deref()?,
                option.dev?,
                option.prod?
            ))
        });
        let presets: BTreeSet<String> = presets.collect();
        assert_eq!(presets.len(), 8);
        for row in presets {
            assert!(text.contains(&row), "{row}");
        }
    }

    #[test]
    fn a_reference_is_of_one_program_or_all() {
        let programs =
            |program| Reference::of(program).options.iter().map(|o| o.program).collect::<BTreeSet<_>>().len();
        assert_eq!((programs(Some(Name::Executor)), programs(None)), (1, 4));
        let text = Reference::of(Some(Name::Scheduler)).to_text();
        let line = "  --max-retries <N>  variable MAX_RETRIES  default 2  dev 1  prod 2\n";
        assert!(text.starts_with("millwork-scheduler\n") && text.contains(line), "{text}");
    }
}
