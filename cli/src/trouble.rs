//! Errors of a client with its scheduler.

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
    Unreadable { base: String, reason: String },
    #[error("the scheduler has ended")]
    Ended,
    #[error("nothing was heard of the scheduler for {} s", .0.as_secs())]
    Silent(Duration),
}
