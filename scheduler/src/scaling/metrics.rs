//! Metrics of the desired fleet size and its inputs, for Prometheus.

use super::Wanted;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use millwork_scaling::Policy;

/// Methods that an autoscaler calls.
pub(super) const METHODS: [&str; 4] = ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics"];

pub(super) fn describe(policy: &Policy) {
    let gauges = [
        ("millwork_desired_executors", "Executors that the backlog needs to be done by its deadline"),
        (
            "millwork_backlog_bytes",
            "Stored input of runs that are queued, planned or running; files of unknown size with an estimate",
        ),
        (
            "millwork_slot_bytes_per_second",
            "Stored input that a busy slot converts a second, as learnt from completed runs",
        ),
        (
            "millwork_arrival_bytes_per_second",
            "Stored input of runs that come a second, as the median of the last ten minutes",
        ),
        (
            "millwork_oldest_run_age_seconds",
            "Age of the oldest run that is queued, planned or running; 0 if there is none",
        ),
        ("millwork_deadline_seconds", "Age by which each run should be done (--scale-deadline-minutes)"),
        ("millwork_scaler_last_request_timestamp_seconds", "When an autoscaler asked last, since 1970; 0 if none has"),
    ];
    gauges.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    describe_counter!("millwork_scaler_requests_total", "Calls of an autoscaler, by method");
    gauge!("millwork_deadline_seconds").set(policy.deadline.as_secs_f64());
    gauge!("millwork_scaler_last_request_timestamp_seconds").set(0.0);
    METHODS.into_iter().for_each(|method| counter!("millwork_scaler_requests_total", "method" => method).increment(0));
}

pub(super) fn show(wanted: &Wanted) {
    gauge!("millwork_desired_executors").set(f64::from(wanted.executors));
    gauge!("millwork_backlog_bytes").set(wanted.load.bytes as f64);
    gauge!("millwork_slot_bytes_per_second").set(wanted.speed.slot_bytes_per_second);
    gauge!("millwork_arrival_bytes_per_second").set(wanted.load.arrival);
    gauge!("millwork_oldest_run_age_seconds").set(wanted.load.oldest.as_secs_f64());
}

pub(super) fn asked(method: &'static str) {
    counter!("millwork_scaler_requests_total", "method" => method).increment(1);
    gauge!("millwork_scaler_last_request_timestamp_seconds").set(chrono::Utc::now().timestamp() as f64);
}
