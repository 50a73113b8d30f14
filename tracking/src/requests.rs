//! Counter of requests to the store, for Prometheus.

use metrics::{counter, describe_counter};

/// Name of the counter.
const REQUESTS: &str = "millwork_store_requests_total";

/// Results of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The request was answered.
    Ok,
    /// The request was throttled, and is retried.
    Throttled,
    /// A condition failed, as in normal coordination between processes, or the request was refused permanently.
    Refused,
    /// No answer, or an error of the store.
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Describes the metrics of stores for Prometheus.
pub fn describe_metrics() {
    describe_counter!(
        REQUESTS,
        "Requests to the store, each try for itself, by kind of store, operation and outcome: ok, throttled, refused (a condition did not hold) or failed"
    );
}

pub(crate) fn count(store: &'static str, operation: &'static str, outcome: Outcome) {
    counter!(REQUESTS, "store" => store, "operation" => operation, "outcome" => outcome.as_str()).increment(1);
}
