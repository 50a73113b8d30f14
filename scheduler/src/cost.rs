//! Cost of conversions, calculated from counted resources and a file of prices that users can replace.

use millwork_api::{Prices, Used};
use millwork_tracking::RunSummary;
use std::path::Path;

/// Default prices.
const DEFAULT: &str = include_str!("../../docs/prices.toml");
/// Limit of a file of prices, in bytes: it has seven numbers and comments.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Reason why a file of prices is invalid.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PricesError {
    /// The file cannot be read.
    #[error("cannot read the prices `{path}`: {reason}")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// Cause of the error.
        reason: String,
    },
    /// A line is neither empty, a comment, nor `name = number`.
    #[error("prices, line {line}: `{text}` is not `name = number` with a number from 0; see docs/prices.toml")]
    Line {
        /// Number of the line.
        line: usize,
        /// Text of the line.
        text: String,
    },
    /// A number is missing.
    #[error("prices: `{0}` is missing; see docs/prices.toml")]
    Missing(&'static str),
}

/// Default prices.
pub(crate) fn known_prices() -> Result<Prices, PricesError> {
    parse_prices(DEFAULT)
}

/// Prices from a file, or the default ones if none is named.
pub fn read_prices(path: Option<&Path>) -> Result<Prices, PricesError> {
    let Some(path) = path else { return known_prices() };
    let fail = |reason: String| PricesError::Unreadable { path: path.display().to_string(), reason };
    let bytes = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(fail(format!("it has {bytes} bytes, more than {MAX_FILE_BYTES}")));
    }
    parse_prices(&std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?)
}

/// Parses prices: a subset of TOML, with lines of `name = number` and comments.
pub fn parse_prices(text: &str) -> Result<Prices, PricesError> {
    let mut found: Vec<(&str, f64)> = Vec::new();
    for (line, whole) in (1..).zip(text.lines()) {
        let said = whole.split('#').next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        let bad = || PricesError::Line { line, text: said.chars().take(100).flat_map(char::escape_debug).collect() };
        let (name, number) = said.split_once('=').ok_or_else(bad)?;
        let number: f64 = number.trim().parse().map_err(|_| bad())?;
        if !number.is_finite() || number < 0.0 {
            return Err(bad());
        }
        found.push((name.trim(), number));
    }
    let price = |name: &'static str| {
        let last = found.iter().rev().find(|(known, _)| *known == name);
        last.map(|(_, number)| *number).ok_or(PricesError::Missing(name))
    };
    Ok(Prices {
        vcpu_hour: price("vcpu_hour")?,
        s3_write_1000: price("s3_write_1000")?,
        s3_read_1000: price("s3_read_1000")?,
        glue_dpu_hour: price("glue_dpu_hour")?,
        glue_dpu: price("glue_dpu")?,
        glue_minutes_a_manifest: price("glue_minutes_a_manifest")?,
    })
}

/// Resources that a number of runs used, from their summary.
pub(crate) fn used(runs: u64, summary: &RunSummary) -> Used {
    Used {
        runs,
        input_bytes: summary.input_bytes,
        output_bytes: summary.output_bytes,
        cpu_seconds: summary.cpu_micros as f64 / 1e6,
        reads: summary.reads,
        writes: summary.writes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_say_what_is_wrong_with_them() {
        assert_eq!(known_prices().unwrap().glue_dpu, 40.0);
        assert_eq!(parse_prices("vcpu_hour = 1"), Err(PricesError::Missing("s3_write_1000")));
        for bad in ["vcpu_hour", "vcpu_hour = x", "vcpu_hour = -1", "vcpu_hour = inf", "\u{1b}[2J"] {
            let error = parse_prices(bad).unwrap_err();
            assert!(matches!(error, PricesError::Line { line: 1, .. }), "{error}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
        assert!(read_prices(Some(Path::new("/nowhere"))).unwrap_err().to_string().contains("/nowhere"));
    }
}
