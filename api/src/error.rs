//! Errors. All responses have one format: `{"error": {"code": "…", "message": "…"}}`.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// Error, for programs and for people.
    pub error: ErrorDetail,
}

/// Code of an error, its message, and perhaps a hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs: one of the codes named beside the status.
    #[schema(value_type = String, example = "no-such-run", pattern = "^[a-z-]+$")]
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Advice on what to try, where something is known to help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub hint: Option<String>,
}

/// Error codes, each with its HTTP status. Names are stable; later versions may add codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// Body that ended early.
    BadBody,
    /// Body that is not valid JSON, or does not match the schema.
    BadJson,
    /// Lines that conversion would reject.
    BadLines,
    /// Manifest that is invalid or unreadable.
    BadManifest,
    /// Invalid segment of the path.
    BadPath,
    /// Unknown or invalid query parameter.
    BadQuery,
    /// Bug in Millwork; the log of the scheduler has details.
    Bug,
    /// Too many concurrent requests: nothing was done, the client may retry.
    Busy,
    /// State of the subject that does not allow the action.
    Conflict,
    /// Terminated part of the process, which must be restarted.
    Dead,
    /// `Host` header with a name that is not one of the scheduler.
    ForeignHost,
    /// Object outside the prefixes of input.
    ForeignObject,
    /// Changing request from a web page of another origin.
    ForeignOrigin,
    /// Unknown file.
    NoSuchFile,
    /// Unknown manifest.
    NoSuchManifest,
    /// Unknown run.
    NoSuchRun,
    /// Unknown path.
    NotFound,
    /// Body that exceeded the time limit of its transfer.
    SlowBody,
    /// Standby scheduler: another one is active.
    Standby,
    /// Store that does not answer; the request may have taken effect.
    State,
    /// Object storage that is unreadable at present.
    Storage,
    /// Missing answer within the time limit; the request may have taken effect.
    Timeout,
    /// Body above its size limit.
    TooLarge,
    /// Limit of open plans reached.
    TooManyPlans,
    /// Limit of event streams reached.
    TooManyStreams,
    /// Limit of wrong tokens reached.
    TooManyTries,
    /// Missing, wrong or expired token.
    Unauthorized,
    /// Body without the content type of JSON.
    WrongContentType,
    /// HTTP method that the path does not support.
    WrongMethod,
    /// Token whose role does not permit the request.
    WrongRole,
    /// Request that no plan can be created for.
    BadPlan,
    /// Plan that another request is applying.
    PlanBusy,
    /// Expired plan, of which nothing was applied.
    PlanExpired,
    /// Plan created by another user.
    PlanOfAnother,
    /// Plan that was already applied.
    PlanUsed,
    /// Unknown plan.
    NoSuchPlan,
    /// Plan whose subjects have all changed since its creation: nothing was done.
    Changed,
    /// Code of a newer version; never sent by this one.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// All codes that are sent, by name.
    pub const ALL: [Self; 37] = [
        Self::BadBody,
        Self::BadJson,
        Self::BadLines,
        Self::BadManifest,
        Self::BadPath,
        Self::BadQuery,
        Self::Bug,
        Self::Busy,
        Self::Conflict,
        Self::Dead,
        Self::ForeignHost,
        Self::ForeignObject,
        Self::ForeignOrigin,
        Self::NoSuchFile,
        Self::NoSuchManifest,
        Self::NoSuchRun,
        Self::NotFound,
        Self::SlowBody,
        Self::Standby,
        Self::State,
        Self::Storage,
        Self::Timeout,
        Self::TooLarge,
        Self::TooManyPlans,
        Self::TooManyStreams,
        Self::TooManyTries,
        Self::Unauthorized,
        Self::WrongContentType,
        Self::WrongMethod,
        Self::WrongRole,
        Self::BadPlan,
        Self::PlanBusy,
        Self::PlanExpired,
        Self::PlanOfAnother,
        Self::PlanUsed,
        Self::NoSuchPlan,
        Self::Changed,
    ];

    /// HTTP status of responses with this code.
    pub fn status(self) -> u16 {
        match self {
            Self::BadBody
            | Self::BadJson
            | Self::BadLines
            | Self::BadManifest
            | Self::BadPath
            | Self::BadQuery
            | Self::ForeignObject
            | Self::BadPlan => 400,
            Self::Unauthorized => 401,
            Self::ForeignHost | Self::ForeignOrigin | Self::WrongRole | Self::PlanOfAnother => 403,
            Self::NoSuchFile | Self::NoSuchManifest | Self::NoSuchRun | Self::NotFound | Self::NoSuchPlan => 404,
            Self::WrongMethod => 405,
            Self::SlowBody => 408,
            Self::Conflict | Self::PlanBusy | Self::PlanExpired | Self::PlanUsed | Self::Changed => 409,
            Self::TooLarge => 413,
            Self::WrongContentType => 415,
            Self::TooManyPlans | Self::TooManyStreams | Self::TooManyTries => 429,
            Self::Bug | Self::Unknown => 500,
            Self::Busy | Self::Dead | Self::Standby | Self::State | Self::Storage | Self::Timeout => 503,
        }
    }

    /// Name of the code in responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadBody => "bad-body",
            Self::BadJson => "bad-json",
            Self::BadLines => "bad-lines",
            Self::BadManifest => "bad-manifest",
            Self::BadPath => "bad-path",
            Self::BadQuery => "bad-query",
            Self::Bug => "bug",
            Self::Busy => "busy",
            Self::Conflict => "conflict",
            Self::Dead => "dead",
            Self::ForeignHost => "foreign-host",
            Self::ForeignObject => "foreign-object",
            Self::ForeignOrigin => "foreign-origin",
            Self::NoSuchFile => "no-such-file",
            Self::NoSuchManifest => "no-such-manifest",
            Self::NoSuchRun => "no-such-run",
            Self::NotFound => "not-found",
            Self::SlowBody => "slow-body",
            Self::Standby => "standby",
            Self::State => "state",
            Self::Storage => "storage",
            Self::Timeout => "timeout",
            Self::TooLarge => "too-large",
            Self::TooManyPlans => "too-many-plans",
            Self::TooManyStreams => "too-many-streams",
            Self::TooManyTries => "too-many-tries",
            Self::Unauthorized => "unauthorized",
            Self::WrongContentType => "wrong-content-type",
            Self::WrongMethod => "wrong-method",
            Self::WrongRole => "wrong-role",
            Self::BadPlan => "bad-plan",
            Self::PlanBusy => "plan-busy",
            Self::PlanExpired => "plan-expired",
            Self::PlanOfAnother => "plan-of-another",
            Self::PlanUsed => "plan-used",
            Self::NoSuchPlan => "no-such-plan",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sent_by_their_names_and_new_ones_are_read() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!((400..600).contains(&code.status()), "{code}");
        }
        let newer = r#"{"error": {"code": "from-the-future", "message": "m", "more": 1}}"#;
        assert_eq!(serde_json::from_str::<ErrorBody>(newer).unwrap().error.code, ErrorCode::Unknown);
    }
}
