//! Errors, in their one shape: `{"error": {"code": "…", "message": "…"}}`.

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

/// Kinds of errors, each with its status. Names stay; new ones can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// A body that broke off.
    BadBody,
    /// A body that is no JSON, or not of the shape that is taken.
    BadJson,
    /// Lines that would be rejected.
    BadLines,
    /// A manifest that is none, or cannot be read.
    BadManifest,
    /// A part of the path that is not as it must be.
    BadPath,
    /// A parameter of the query that is not known, or not as it must be.
    BadQuery,
    /// A defect of Millwork's; the scheduler's log says more.
    Bug,
    /// Too many requests in work: nothing was done, ask again.
    Busy,
    /// A state of the subject in which what is asked cannot be done.
    Conflict,
    /// A part of the process that has died: start it again.
    Dead,
    /// A host name that is none of the scheduler's.
    ForeignHost,
    /// An object outside the places of input.
    ForeignObject,
    /// A web page of another origin, for which nothing is changed.
    ForeignOrigin,
    /// No executor connected.
    NoExecutors,
    /// A file that is not known.
    NoSuchFile,
    /// A manifest that is not known.
    NoSuchManifest,
    /// A run that is not known.
    NoSuchRun,
    /// A path that is not there.
    NotFound,
    /// A body that took too long to come.
    SlowBody,
    /// A scheduler that stands by: another one runs the manifests.
    Standby,
    /// A store that does not answer; what was asked may have happened.
    State,
    /// A place of objects that cannot be read now.
    Storage,
    /// No answer in time; what was asked may have happened.
    Timeout,
    /// A body above its limit.
    TooLarge,
    /// More plans that can still be applied than are allowed.
    TooManyPlans,
    /// More streams of events than are allowed.
    TooManyStreams,
    /// More wrong tokens than are allowed.
    TooManyTries,
    /// A token that is missing, wrong or expired.
    Unauthorized,
    /// A body that is not declared as JSON.
    WrongContentType,
    /// A method that the path does not take.
    WrongMethod,
    /// A token that may not do this.
    WrongRole,
    /// A plan that cannot be made of what is asked.
    BadPlan,
    /// A plan that is being applied by somebody just now.
    PlanBusy,
    /// A plan whose time is over: nothing of it was done.
    PlanExpired,
    /// A plan that somebody else has made.
    PlanOfAnother,
    /// A plan that was applied already.
    PlanUsed,
    /// A plan that is not known.
    NoSuchPlan,
    /// Subjects that have all changed since the plan was made: nothing was done.
    Changed,
    /// A code of a newer scheduler; none sends it.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// Every code that is sent, by name.
    pub const ALL: [Self; 38] = [
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
        Self::NoExecutors,
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

    /// HTTP status of the answers that tell this.
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
            Self::Busy
            | Self::Dead
            | Self::NoExecutors
            | Self::Standby
            | Self::State
            | Self::Storage
            | Self::Timeout => 503,
        }
    }

    /// Name of the code, as it is sent.
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
            Self::NoExecutors => "no-executors",
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
