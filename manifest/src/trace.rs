//! Trace contexts in a manifest.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Limit of the trace contexts in a manifest: 128, the default limit of links of a span in OpenTelemetry
/// (`OTEL_SPAN_LINK_COUNT_LIMIT`). Further ones are dropped.
pub const MAX_TRACEPARENTS: usize = 128;

/// Trace context in the format of W3C Trace Context ("traceparent header"), version 00.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceParent(String);

/// Error for a text that is not a trace context. The text is not shown, since it may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form 00-TRACE-SPAN-FLAGS of W3C Trace Context")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// Text of 55 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let is_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        // Ids of traces and spans may not be all zeros.
        let is_number = |part: &str, length: usize| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        match parts[..] {
            ["00", trace, span, flags] if is_number(trace, 32) && is_number(span, 16) && is_hex(flags, 2) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidTraceParent),
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Valid trace contexts from untrusted text, up to the limit; others are dropped.
pub(crate) fn readable(texts: &[String]) -> Vec<TraceParent> {
    texts.iter().filter_map(|text| text.parse().ok()).take(MAX_TRACEPARENTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_form_is_a_place() {
        let right = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(right.parse::<TraceParent>().unwrap().to_string(), right);
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(InvalidTraceParent), "{wrong}");
        }
    }

    #[test]
    fn more_places_than_the_limit_are_left_out() {
        let texts: Vec<String> = (1..=MAX_TRACEPARENTS + 5).map(|n| format!("00-{n:032x}-{n:016x}-00")).collect();
        let mut mixed = vec!["nonsense".to_owned()];
        mixed.extend(texts.iter().cloned());
        let kept = readable(&mixed);
        assert_eq!(kept.len(), MAX_TRACEPARENTS);
        assert_eq!(kept[0].as_str(), texts[0]);
    }
}
