//! Errors of a client with its scheduler.

use crate::exit::Exit;
use millwork_api::ErrorCode;
use reqwest::StatusCode;
use std::time::Duration;

/// An error of a client with its scheduler.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the scheduler answers {status}: {reason}")]
    Refused { status: StatusCode, code: ErrorCode, reason: String, hint: Option<String> },
    #[error("cannot reach the scheduler at {base}: {reason}")]
    Unreachable { base: String, reason: String },
    #[error("the answer of the scheduler at {base} broke off: {reason}")]
    BrokeOff { base: String, reason: String },
    #[error("the answer at {base} is not one that this version reads: {reason}")]
    Unreadable { base: String, reason: serde_json::Error },
    #[error("the scheduler has ended")]
    Ended,
    #[error("nothing was heard of the scheduler for {} s", .0.as_secs())]
    Silent(Duration),
}

/// Advice where something else than a scheduler's API answers.
pub(crate) const OTHER_ADDRESS: &str =
    "--scheduler is the address that the scheduler's --http says, not --listen, nor an executor's";
/// Advice where no scheduler answers.
pub(crate) const START: &str = "start a scheduler, or name the one that runs with --scheduler URL (MILLWORK_SCHEDULER)";
/// Advice where an answer is lost.
pub(crate) const AGAIN: &str =
    "the same command again; a change that it asked for may be made already, as `millwork audit` shows";
/// Advice where an answer has another form.
pub(crate) const SAME_VERSION: &str =
    "the `millwork` of the scheduler's version; `millwork --version` shows this one's";

impl Trouble {
    /// Exit code, and advice that is not the scheduler's own.
    pub(crate) fn told(&self) -> (Exit, Option<&'static str>) {
        match self {
            Self::Refused { status, code, .. } => {
                let exit = exit_of(*status, *code);
                (exit, hint_of(exit, *code))
            }
            Self::BrokeOff { .. } => (Exit::Unreachable, Some(AGAIN)),
            // JSON of another form is that of another version.
            Self::Unreadable { reason, .. } if reason.is_data() => (Exit::Failed, Some(SAME_VERSION)),
            Self::Unreadable { .. } => (Exit::Failed, Some(OTHER_ADDRESS)),
            Self::Unreachable { .. } | Self::Ended | Self::Silent(_) => (Exit::Unreachable, Some(START)),
        }
    }
}

fn exit_of(status: StatusCode, code: ErrorCode) -> Exit {
    match code {
        ErrorCode::Changed | ErrorCode::PlanBusy | ErrorCode::PlanExpired | ErrorCode::PlanUsed => Exit::Changed,
        _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Exit::NotSignedIn,
        _ if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

fn hint_of(exit: Exit, code: ErrorCode) -> Option<&'static str> {
    match (exit, code) {
        (Exit::Changed, ErrorCode::PlanBusy) => Some("millwork plans show ID, which tells how far it is"),
        (Exit::Changed, ErrorCode::PlanUsed) => Some("millwork plans show ID, which tells what became of each"),
        (Exit::Changed, _) => Some("the same command again, which makes a new plan of how things are now"),
        (Exit::NotSignedIn, ErrorCode::Unauthorized) => {
            Some("--token-file FILE, or MILLWORK_TOKEN in the environment; `millwork token new` makes one")
        }
        (_, ErrorCode::NoSuchRun) => Some("millwork runs list, which shows the runs that are known"),
        (_, ErrorCode::NoSuchFile) => Some("millwork files list, which shows the files that are known"),
        _ => None,
    }
}
