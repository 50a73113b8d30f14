//! Cost of what was converted, reckoned from what was counted and a file of prices that people can replace.

use millwork_tracking::RunSummary;
use serde::{Deserialize, Serialize};
use std::path::Path;
use utoipa::ToSchema;

/// Prices that come with Millwork.
const DEFAULT: &str = include_str!("../../docs/prices.toml");
/// Limit of a file of prices, in bytes: it has seven numbers and what is said of them.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Prices in USD.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Prices {
    /// A vCPU for an hour.
    pub vcpu_hour: f64,
    /// A thousand requests to object storage that write.
    pub s3_write_1000: f64,
    /// A thousand that read.
    pub s3_read_1000: f64,
    /// A DPU of AWS Glue for an hour.
    pub glue_dpu_hour: f64,
    /// DPUs of one job of Glue.
    pub glue_dpu: f64,
    /// Minutes that it takes for a manifest.
    pub glue_minutes_a_manifest: f64,
}

/// The reason why a file of prices is none.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PricesError {
    /// It cannot be read.
    #[error("cannot read the prices `{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A line that is neither empty, a comment nor `name = number`.
    #[error("prices, line {line}: `{text}` is not `name = number` with a number from 0; see docs/prices.toml")]
    Line {
        /// Number of the line.
        line: usize,
        /// The line.
        text: String,
    },
    /// A number that is not there.
    #[error("prices: `{0}` is missing; see docs/prices.toml")]
    Missing(&'static str),
}

impl Prices {
    /// Prices that come with Millwork.
    pub fn known() -> Result<Self, PricesError> {
        Self::parse(DEFAULT)
    }

    /// Prices of a file, or those that come with Millwork if none is named.
    pub fn read(path: Option<&Path>) -> Result<Self, PricesError> {
        let Some(path) = path else { return Self::known() };
        let fail = |reason: String| PricesError::Unreadable { path: path.display().to_string(), reason };
        let bytes = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(fail(format!("it has {bytes} bytes, more than {MAX_FILE_BYTES}")));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?)
    }

    /// Prices as they are written: a subset of TOML, lines of `name = number` and comments.
    pub fn parse(text: &str) -> Result<Self, PricesError> {
        let mut found: Vec<(&str, f64)> = Vec::new();
        for (line, whole) in (1..).zip(text.lines()) {
            let said = whole.split('#').next().unwrap_or_default().trim();
            if said.is_empty() {
                continue;
            }
            let bad =
                || PricesError::Line { line, text: said.chars().take(100).flat_map(char::escape_debug).collect() };
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
        Ok(Self {
            vcpu_hour: price("vcpu_hour")?,
            s3_write_1000: price("s3_write_1000")?,
            s3_read_1000: price("s3_read_1000")?,
            glue_dpu_hour: price("glue_dpu_hour")?,
            glue_dpu: price("glue_dpu")?,
            glue_minutes_a_manifest: price("glue_minutes_a_manifest")?,
        })
    }
}

/// What some runs took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Used {
    /// Committed runs.
    pub runs: u64,
    /// Stored bytes of their input.
    pub input_bytes: u64,
    /// Bytes of their Parquet.
    pub output_bytes: u64,
    /// Time that their tasks computed, in seconds; runs before it was counted have 0.
    pub cpu_seconds: f64,
    /// Requests to object storage that read, estimated by the sizes of what was read and written.
    pub reads: u64,
    /// Those that write, likewise.
    pub writes: u64,
}

impl Used {
    /// What so many runs took, by their sums.
    pub(crate) fn of(runs: u64, summary: &RunSummary) -> Self {
        Self {
            runs,
            input_bytes: summary.input_bytes,
            output_bytes: summary.output_bytes,
            cpu_seconds: summary.cpu_micros as f64 / 1e6,
            reads: summary.reads,
            writes: summary.writes,
        }
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            input_bytes: self.input_bytes + other.input_bytes,
            output_bytes: self.output_bytes + other.output_bytes,
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
        }
    }
}

/// What that costs, in USD.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// CPU seconds ÷ 3,600 × `vcpu_hour`.
    pub compute: f64,
    /// Requests that read × `s3_read_1000` and those that write × `s3_write_1000`, ÷ 1,000.
    pub requests: f64,
    /// The sum.
    pub total: f64,
    /// Runs × `glue_dpu` × `glue_minutes_a_manifest` ÷ 60 × `glue_dpu_hour`: the same manifests as jobs of AWS Glue.
    pub glue: f64,
    /// That ÷ the sum; null where there is no sum.
    #[schema(required)]
    pub times: Option<f64>,
}

impl Cost {
    /// Cost of what was used.
    pub fn of(used: &Used, prices: &Prices) -> Self {
        let compute = used.cpu_seconds / 3600.0 * prices.vcpu_hour;
        let requests = (used.reads as f64 * prices.s3_read_1000 + used.writes as f64 * prices.s3_write_1000) / 1000.0;
        let total = compute + requests;
        let glue = used.runs as f64 * prices.glue_dpu * prices.glue_minutes_a_manifest / 60.0 * prices.glue_dpu_hour;
        Self { compute, requests, total, glue, times: (total > 0.0).then(|| glue / total) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_can_be_reckoned_by_hand() {
        let prices = Prices::known().unwrap();
        let used = Used { runs: 1, cpu_seconds: 3600.0, reads: 1000, writes: 2000, ..Used::default() };
        let cost = Cost::of(&used, &prices);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(cost.compute, 0.044_625) && near(cost.requests, 0.0104), "{cost:?}");
        assert!(near(cost.glue, 40.0 * 7.0 / 60.0 * 0.44), "{cost:?}");
        assert!(near(cost.times.unwrap(), cost.glue / (0.044_625 + 0.0104)));
        assert_eq!(Cost::of(&Used::default(), &prices).times, None);
    }

    #[test]
    fn prices_say_what_is_wrong_with_them() {
        assert_eq!(Prices::parse("vcpu_hour = 1"), Err(PricesError::Missing("s3_write_1000")));
        for bad in ["vcpu_hour", "vcpu_hour = x", "vcpu_hour = -1", "vcpu_hour = inf", "\u{1b}[2J"] {
            let error = Prices::parse(bad).unwrap_err();
            assert!(matches!(error, PricesError::Line { line: 1, .. }), "{error}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
        assert!(Prices::read(Some(Path::new("/nowhere"))).unwrap_err().to_string().contains("/nowhere"));
    }
}
