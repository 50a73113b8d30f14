//! Errors for people and programs, with their exit codes.

use crate::exit::Exit;
use crate::trouble::{START, Trouble};
use millwork_api::ErrorCode;
use millwork_manifest::{Failure, printable};
use millwork_storage::StorageError;
use millwork_tracking::TrackingError;
use serde::Serialize;

/// A command line that turned out to be invalid after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongLine(String);

/// Error with the exit code for an invalid command line.
pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
    WrongLine(text.into()).into()
}

/// Gives an error the exit code for an invalid command line.
pub(crate) fn of_usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    usage(format!("{:#}", error.into()))
}

/// Converts an error of clap. Requested help is printed, which ends the process.
pub(crate) fn wrong_line(error: clap::Error) -> anyhow::Error {
    if !error.use_stderr() {
        error.exit();
    }
    usage(clap_text(&error))
}

/// Message of clap in one line, without its usage hints.
pub(crate) fn clap_text(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraphs = text.split("\n\n").take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let words = paragraphs.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    words.strip_prefix("error: ").map_or_else(|| words.clone(), str::to_owned)
}

/// Error in its printed form, as text or JSON.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Told {
    /// Error code of the scheduler, or name of the exit code.
    code: &'static str,
    message: String,
    /// Advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip)]
    exit: Exit,
    /// True if lines follow the message that show where in a query it is.
    #[serde(skip)]
    has_excerpt: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    error: &'a Told,
}

impl Told {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let message = format!("{error:#}");
        let told = |exit: Exit, hint: Option<&str>| Self {
            code: exit.word(),
            message: message.clone(),
            hint: hint.map(str::to_owned),
            exit,
            has_excerpt: error.downcast_ref::<Failure>().is_some(),
        };
        if let Some(trouble) = error.downcast_ref::<Trouble>() {
            let (exit, advice) = trouble.told();
            return match trouble {
                Trouble::Refused { code, hint, .. } => {
                    let hint = hint.clone().or_else(|| advice.map(str::to_owned));
                    let code = if *code == ErrorCode::Unknown { exit.word() } else { code.as_str() };
                    Self { code, message, hint, exit, has_excerpt: false }
                }
                _ => told(exit, advice),
            };
        }
        let is_wrong_place = error.downcast_ref::<StorageError>().is_some_and(StorageError::is_invalid);
        if error.downcast_ref::<WrongLine>().is_some() || is_wrong_place {
            return told(Exit::Usage, None);
        }
        match error.downcast_ref::<TrackingError>() {
            Some(TrackingError::Url(_)) => return told(Exit::Usage, None),
            Some(error) if error.can_pass() => return told(Exit::Unreachable, None),
            _ => {}
        }
        let is_away = |error: &reqwest::Error| error.is_connect() || error.is_timeout() || error.is_request();
        match error.downcast_ref::<reqwest::Error>() {
            Some(error) if is_away(error) => told(Exit::Unreachable, Some(START)),
            _ => told(Exit::Failed, None),
        }
    }

    #[cfg(test)]
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints the error on stderr, as one line with advice, or as JSON. Returns the exit code.
    pub(crate) fn print(&self, as_json: bool) -> Exit {
        match serde_json::to_string(&Document { error: self }) {
            Ok(text) if as_json => eprintln!("{text}"),
            _ => {
                match self.has_excerpt {
                    // Control characters of a failure are escaped, but for the ends of these lines.
                    true => {
                        eprintln!("millwork: {}", self.message.lines().map(printable).collect::<Vec<_>>().join("\n"))
                    }
                    false => eprintln!("millwork: {}", printable(&self.message)),
                }
                if let Some(hint) = &self.hint {
                    eprintln!("try: {}", printable(hint));
                }
            }
        }
        self.exit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trouble::{AGAIN, OTHER_ADDRESS, SAME_VERSION};
    use reqwest::StatusCode;

    fn refused(code: ErrorCode) -> anyhow::Error {
        let status = StatusCode::from_u16(code.status()).unwrap();
        Trouble::Refused { status, code, reason: "no".to_owned(), hint: None }.into()
    }

    #[test]
    fn errors_end_in_the_code_that_says_what_to_do() {
        for (code, exit) in [
            (ErrorCode::Changed, Exit::Changed),
            (ErrorCode::PlanExpired, Exit::Changed),
            (ErrorCode::Unauthorized, Exit::NotSignedIn),
            (ErrorCode::WrongRole, Exit::NotSignedIn),
            (ErrorCode::State, Exit::Unreachable),
            (ErrorCode::Conflict, Exit::Failed),
            (ErrorCode::NoSuchRun, Exit::Failed),
        ] {
            let told = Told::of(&refused(code).context("asking"));
            assert_eq!((told.exit, told.code), (exit, code.as_str()));
        }
        let base = || "http://s".to_owned();
        for (text, advice) in [("<html>", OTHER_ADDRESS), ("[]", SAME_VERSION)] {
            let reason = serde_json::from_str::<bool>(text).unwrap_err();
            let told = Told::of(&Trouble::Unreadable { base: base(), reason }.into());
            assert_eq!((told.exit, told.hint.as_deref()), (Exit::Failed, Some(advice)));
        }
        let broke_off = Trouble::BrokeOff { base: base(), reason: "end".to_owned() };
        let told = Told::of(&anyhow::Error::from(broke_off).context("asking"));
        assert_eq!((told.exit, told.hint.as_deref()), (Exit::Unreachable, Some(AGAIN)));
        assert_eq!(Told::of(&anyhow::anyhow!("what")).exit, Exit::Failed);
        assert_eq!(Told::of(&usage("wrong").context("reading it")).exit, Exit::Usage);
        assert_eq!(Told::of(&TrackingError::Url("x".to_owned()).into()).exit, Exit::Usage);
        assert_eq!(Told::of(&millwork_storage::Location::parse("s3://").unwrap_err().into()).exit, Exit::Usage);
        let away = TrackingError::Unavailable { store: "s".to_owned(), message: "m".to_owned() };
        assert_eq!(Told::of(&away.into()).exit, Exit::Unreachable);
    }

    #[test]
    fn what_clap_says_is_one_line() {
        let command = clap::Command::new("it").arg(clap::Arg::new("n").long("n").required(true).value_name("N"));
        let error = command.try_get_matches_from(["it"]).unwrap_err();
        assert_eq!(clap_text(&error), "the following required arguments were not provided: --n <N>");
    }
}
