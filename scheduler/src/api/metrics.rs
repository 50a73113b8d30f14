//! Metrics for Prometheus. The shell counts runs and their results; other metrics, and descriptions of all, are here.

use super::Api;
use super::totals::Known;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::Matcher;
use millwork_manifest::{FailureClass, RunState};
use millwork_net::CertificatesInUse;
use millwork_process::Metrics;
use std::time::Instant;

/// Histogram buckets in seconds, for durations from a millisecond to half a minute.
const REQUEST_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Histogram buckets in seconds, for durations from ten milliseconds to ten minutes.
const STEP_BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0];

/// Installs the recorder for the metrics of this process.
pub(super) fn install(certificates: CertificatesInUse) -> anyhow::Result<Metrics> {
    let metrics = Metrics::install(
        env!("CARGO_PKG_VERSION"),
        &[
            (Matcher::Full("millwork_http_request_duration_seconds".to_owned()), &REQUEST_BUCKETS),
            (Matcher::Suffix("_seconds".to_owned()), &STEP_BUCKETS),
        ],
        certificates,
    )?;
    describe();
    Ok(metrics)
}

fn describe() {
    let counters = [
        ("millwork_runs_ended_total", "Runs that ended here, by state"),
        ("millwork_failures_total", "Runs that ended without output, by class of failure"),
        ("millwork_retries_total", "Attempts that failed and are made again, by class of failure"),
        ("millwork_manifests_received_total", "Manifests that came by themselves, by source"),
        ("millwork_manifests_refused_total", "Manifests and messages that were refused, by source and reason"),
        ("millwork_http_requests_total", "HTTP requests answered, by route, method and status"),
    ];
    counters.into_iter().for_each(|(name, help)| describe_counter!(name, help));
    describe_counter!("millwork_lease_taken_total", "Times that this process became the one that runs the manifests");
    counter!("millwork_lease_taken_total").increment(0);
    let of_completed = [
        ("millwork_input_bytes_total", "Stored bytes of the input of completed runs"),
        ("millwork_output_bytes_total", "Bytes of Parquet of completed runs"),
        ("millwork_rows_total", "Rows in the output of completed runs"),
        ("millwork_rejected_lines_total", "Lines that completed runs rejected"),
    ];
    // Counters start at 0 and are not absent, so that rates can be queried.
    for (name, help) in of_completed {
        describe_counter!(name, help);
        counter!(name).increment(0);
    }
    gauge!("millwork_run_last_success_timestamp_seconds").set(0.0);
    for state in [RunState::Completed, RunState::Failed, RunState::Cancelled] {
        counter!("millwork_runs_ended_total", "state" => state.as_str()).increment(0);
    }
    for class in FailureClass::ALL {
        counter!("millwork_failures_total", "class" => class.as_str()).increment(0);
    }
    for class in FailureClass::ALL.into_iter().filter(|class| class.can_pass()) {
        counter!("millwork_retries_total", "class" => class.as_str()).increment(0);
    }
    let gauges = [
        ("millwork_leader", "1 if this process runs the manifests, 0 if it stands by"),
        ("millwork_runs", "Runs that have not ended, by state"),
        ("millwork_queue_age_seconds", "How long ago the oldest run that waits was queued first; 0 if none waits"),
        ("millwork_backlog_seconds", "Unfinished bytes by the rate of the last completed runs; 0 before the first one"),
        ("millwork_task_slots", "Tasks that all executors run at once"),
        ("millwork_task_slots_used", "Tasks that executors run now"),
        ("millwork_executors", "Executors that are connected"),
        (
            "millwork_run_last_success_timestamp_seconds",
            "When a run was completed here last, since 1970; 0 before the first",
        ),
    ];
    gauges.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    super::watch::describe();
    millwork_tracking::describe_metrics();
    millwork_storage::describe_metrics();
    let histograms = [
        ("millwork_planning_duration_seconds", "From an attempt's start to its plan being with the executors"),
        ("millwork_commit_duration_seconds", "From an attempt's converted input to its commit record"),
        ("millwork_http_request_duration_seconds", "Time to the answer of an HTTP request, by route"),
    ];
    histograms.into_iter().for_each(|(name, help)| describe_histogram!(name, Unit::Seconds, help));
}

/// Sets the gauges. A standby exports no runs: they belong to the leader, and would be counted twice.
pub(super) fn show(known: &Known, leads: bool) {
    gauge!("millwork_leader").set(f64::from(u8::from(leads)));
    if !leads {
        return;
    }
    let runs_in = |state| known.counts().iter().find(|count| count.state == state).map_or(0, |count| count.runs);
    for state in [RunState::Queued, RunState::Planning, RunState::Running, RunState::Committing] {
        gauge!("millwork_runs", "state" => state.as_str()).set(runs_in(state) as f64);
    }
    let age = known.oldest_queued().map_or(0.0, |at| (Utc::now() - at).as_seconds_f64().max(0.0));
    gauge!("millwork_queue_age_seconds").set(age);
    gauge!("millwork_backlog_seconds").set(known.backlog_seconds().unwrap_or(0.0));
    gauge!("millwork_task_slots").set(known.slots as f64);
    gauge!("millwork_task_slots_used").set(known.slots_used() as f64);
    gauge!("millwork_executors").set(known.executors as f64);
}

/// Counts and times each request, labelled by route, not by path: ids would create unlimited series.
pub(super) async fn count_request(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    histogram!("millwork_http_request_duration_seconds", "route" => route.clone())
        .record(started.elapsed().as_secs_f64());
    counter!("millwork_http_requests_total", "route" => route, "method" => method, "status" => status).increment(1);
    response
}

/// Label of a method; unknown methods become `other`, since invented ones would create unlimited series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "cluster", responses(
    (status = 200, description = "All metrics", body = String, content_type = "text/plain")
))]
pub(super) async fn get_metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn what_never_happened_is_zero_and_described() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, describe);
        let text = recorder.handle().render();
        for class in FailureClass::ALL {
            assert!(text.contains(&format!("millwork_failures_total{{class=\"{class}\"}} 0")), "{text}");
        }
        assert!(text.contains("millwork_retries_total{class=\"timeout\"} 0"), "{text}");
        assert!(text.contains("# HELP millwork_rows_total"), "{text}");
    }

    #[test]
    fn only_known_methods_are_labels() {
        assert_eq!(method_label(&Method::PUT), "PUT");
        assert_eq!(method_label(&Method::from_bytes(b"X-1234").unwrap()), "other");
    }
}
