//! Traces over OTLP (gRPC): off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set. All else is as the standard variables of OpenTelemetry say.
//!
//! What a run does in several processes is one trace: a process hands on where it is as text, as [W3C Trace
//! Context](https://www.w3.org/TR/trace-context/) has it.

#[cfg(not(feature = "otlp"))]
#[path = "none.rs"]
mod sent;
#[cfg(feature = "otlp")]
#[path = "otlp.rs"]
mod sent;

pub(crate) use sent::{end, layer};
use tracing::Span;

/// The place of a span in its trace, to be handed on to another process; none if nobody wants traces.
pub fn traceparent(span: &Span) -> Option<String> {
    sent::traceparent(span)
}

/// Puts a span below one of another process. What is no place in a trace is left out.
pub fn put_below(span: &Span, traceparent: &str) {
    sent::put_below(span, traceparent);
}

/// The number of a span's trace, for the log; none if nobody wants traces.
pub fn trace_id(span: &Span) -> Option<String> {
    sent::trace_id(span)
}
