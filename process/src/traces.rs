//! Traces over OTLP (gRPC): off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Configured by the standard variables of
//! OpenTelemetry.
//!
//! A run is one trace through several processes, which pass its context on as text in the format of [W3C Trace
//! Context](https://www.w3.org/TR/trace-context/).

use anyhow::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::collections::HashMap;
use std::env;
use std::sync::OnceLock;
use std::time::Duration;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Name of the trace context header.
const TRACEPARENT: &str = "traceparent";
/// Length of a trace context: version, trace, span and flags in hexadecimal, separated by dashes.
const LENGTH: usize = 55;
/// Time limit for sending the last spans when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(2);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Tells whether traces are on.
fn are_wanted() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found.eq_ignore_ascii_case(value));
    let has_endpoint = is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    has_endpoint && !is("OTEL_SDK_DISABLED", "true") && !is("OTEL_TRACES_EXPORTER", "none")
}

/// Tracer of the process; `None` if traces are off. Must be called within a runtime, whose threads send the spans.
fn tracer(service: &'static str) -> anyhow::Result<Option<SdkTracer>> {
    if !are_wanted() || tokio::runtime::Handle::try_current().is_err() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().build();
    let exporter = exporter.context("cannot send traces to OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder();
    let resource = if is_set("OTEL_SERVICE_NAME") { resource } else { resource.with_service_name(service) };
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    let tracer = provider.tracer("millwork");
    // Set only once per process.
    let _ = PROVIDER.set(provider);
    Ok(Some(tracer))
}

/// Tracing layer that exports the program's own spans; `None` if traces are off.
pub(crate) fn layer<S>(service: &'static str) -> anyhow::Result<Option<impl Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    Ok(tracer(service)?.map(|tracer| {
        let own = Targets::new().with_target("millwork", Level::INFO);
        tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false).with_filter(own)
    }))
}

/// Sends remaining spans. Blocks briefly.
pub(crate) fn end() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(LAST_SPANS)
    {
        tracing::debug!(%error, "the last spans are not sent");
    }
}

/// Trace context of a span, for another process; `None` if traces are off.
pub fn traceparent(span: &Span) -> Option<String> {
    PROVIDER.get()?;
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut headers);
    headers.remove(TRACEPARENT)
}

/// Sets the parent of a span from another process. An invalid trace context is ignored.
pub fn put_below(span: &Span, traceparent: &str) {
    if let Some(place) = place(traceparent) {
        // Fails if traces are off.
        let _ = span.set_parent(place);
    }
}

/// Links a span to one of another trace, such as that of a batch which brought its work. An invalid trace context is
/// ignored.
pub fn link(span: &Span, traceparent: &str) {
    if let Some(place) = place(traceparent) {
        span.add_link(place.span().span_context().clone());
    }
}

/// Context of another process's span; `None` if it is invalid, or traces are off.
fn place(traceparent: &str) -> Option<opentelemetry::Context> {
    PROVIDER.get().filter(|_| traceparent.len() == LENGTH && traceparent.is_ascii())?;
    let headers = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    Some(TraceContextPropagator::new().extract(&headers))
}

/// Trace id of a span, for the log; `None` if traces are off.
pub fn trace_id(span: &Span) -> Option<String> {
    PROVIDER.get()?;
    let context = span.context();
    let span = context.span();
    span.span_context().is_valid().then(|| span.span_context().trace_id().to_string())
}
