//! Problems of a program's settings, found without starting it.

use super::amended::problems as of;
use super::programs::Name;
use super::reference::{Reference, VARIABLES};
use millwork_scheduler::nearest;
use std::ffi::OsString;

/// All problems of a command line and the environment.
pub(super) fn problems(program: Name, line: Vec<OsString>) -> Vec<String> {
    let mut problems = match program {
        Name::Scheduler => of(line, |options: millwork_scheduler::Program| options.problems()),
        Name::Executor => of(line, |options: millwork_executor::Program| options.problems()),
        Name::ManifestBuilder => of(line, |options: millwork_manifest_builder::program::Program| options.problems()),
        Name::Millwork => of(line, |_: crate::Cli| Vec::new()),
    };
    let known = known_variables();
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    problems.extend(unknown(set, &known));
    problems
}

/// Environment variables of all programs: one that belongs to another program is not a mistake.
fn known_variables() -> Vec<String> {
    let options = Reference::of(None).options.into_iter().filter_map(|option| option.variable);
    options.chain(VARIABLES.iter().map(|(name, _)| (*name).to_owned())).collect()
}

/// Variables that look like Millwork's and are unknown, each with the most similar known one.
fn unknown(set: impl Iterator<Item = String>, known: &[String]) -> Vec<String> {
    let mut unknown: Vec<String> = set.filter(|name| name.starts_with("MILLWORK_") && !known.contains(name)).collect();
    unknown.sort();
    let tell = |name: &String| {
        let advice = match nearest(name, known.iter().cloned()).first() {
            Some(near) => format!("is {near} meant?"),
            None => "see `millwork config reference`".to_owned(),
        };
        format!("{name} is set, and no program knows such a variable: {advice}")
    };
    unknown.iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_with_the_one_that_is_meant() {
        let set = ["MILLWORK_OUPUT", "MILLWORK_STATE", "PATH", "MILLWORK_TOKEN"].map(str::to_owned);
        let found = unknown(set.into_iter(), &known_variables());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("MILLWORK_OUPUT ") && found[0].contains("MILLWORK_OUTPUT meant"), "{found:?}");
    }

    #[test]
    fn a_program_that_would_not_start_says_why() {
        let line = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let scheduler = |more: &str| {
            of(line(&format!("it --output /out{more}")), |options: millwork_scheduler::Program| options.problems())
        };
        assert_eq!(scheduler(" --state sqlite:/s/s.db --input-places /in"), Vec::<String>::new());
        let found =
            scheduler(" --state sqlite:/s/s.db --input-places /out --listen 0.0.0.0:1 --scale-min-executors 40");
        assert_eq!(found.len(), 3, "{found:?}");
        let found = scheduler("");
        assert!(found.len() == 2 && found[0].contains("--state <URL>") && !found[0].contains('\n'), "{found:?}");
        assert!(found[1].contains("--input-places"), "{found:?}");
        let found = scheduler(" --state postgres:x --input-places /in");
        assert!(found.iter().any(|problem| problem.contains("sqlite:PATH")), "{found:?}");
        let found = scheduler(
            " --state postgres:x --input-places /out --listen nowhere --scale-min-executors=many --bogus 7 --http :",
        );
        let parts = ["--listen", "--scale-min-executors", "--bogus", "--http", "sqlite:PATH", "/out"];
        for part in parts {
            assert_eq!(found.iter().filter(|problem| problem.contains(part)).count(), 1, "{part}: {found:?}");
        }
        // A missing option hides no other problem, and its substitute is not reported.
        let found =
            of(line("it --listen nowhere --http 0.0.0.0:1"), |options: millwork_scheduler::Program| options.problems());
        let parts = ["--output", "--listen", "--token-file", "--input-places"];
        assert!(parts.iter().all(|part| found.iter().any(|problem| problem.contains(part))), "{found:?}");
        assert!(!found.iter().any(|problem| problem.contains("stands-in")), "{found:?}");
        let builder = "it --manifests /in/m --state sqlite:/s/s.db watch --input /in";
        let found = of(line(builder), |options: millwork_manifest_builder::program::Program| options.problems());
        assert!(found.len() == 1 && found[0].contains("/in"), "{found:?}");
        let found = of(line("it --http 0.0.0.0:1"), |options: millwork_executor::Program| options.problems());
        assert!(found.len() == 1 && found[0].contains("--insecure-http"), "{found:?}");
    }
}
