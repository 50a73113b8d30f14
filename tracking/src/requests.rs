//! Requests to the store, counted for Prometheus.

use metrics::{counter, describe_counter};

/// Name of the metric.
const REQUESTS: &str = "millwork_store_requests_total";

/// Outcomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer.
    Ok,
    /// The store wants fewer requests; it is made again.
    Throttled,
    /// A condition did not hold, which is how processes keep out of each other's way, or it was refused for good.
    Refused,
    /// No answer, or an error of the store's own.
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

/// Says what the metrics of stores mean.
pub fn describe_metrics() {
    describe_counter!(
        REQUESTS,
        "Requests to the store, each try for itself, by kind of store, operation and outcome: ok, throttled, refused (a condition did not hold) or failed"
    );
}

pub(crate) fn count(store: &'static str, operation: &'static str, outcome: Outcome) {
    counter!(REQUESTS, "store" => store, "operation" => operation, "outcome" => outcome.as_str()).increment(1);
}
