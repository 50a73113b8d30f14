//! Cost of conversions, compared with AWS Glue.

use millwork_manifest::{DatePrefix, ManifestId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

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

/// Resources that some runs used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Used {
    /// Committed runs.
    pub runs: u64,
    /// Stored bytes of the runs' input.
    pub input_bytes: u64,
    /// Bytes of the runs' Parquet files.
    pub output_bytes: u64,
    /// Time that their tasks computed, in seconds; runs before it was counted have 0.
    pub cpu_seconds: f64,
    /// Requests to object storage that read, estimated by the sizes of what was read and written.
    pub reads: u64,
    /// Requests to object storage that write, estimated as those that read.
    pub writes: u64,
}

impl Used {
    /// Sum of both, field by field.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            runs: self.runs.saturating_add(other.runs),
            input_bytes: self.input_bytes.saturating_add(other.input_bytes),
            output_bytes: self.output_bytes.saturating_add(other.output_bytes),
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            reads: self.reads.saturating_add(other.reads),
            writes: self.writes.saturating_add(other.writes),
        }
    }
}

/// Cost of used resources, in USD, beside that of AWS Glue.
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
    /// `glue` ÷ `total`; null where `total` is 0.
    #[schema(required)]
    pub times: Option<f64>,
}

impl Cost {
    /// Cost of the used resources at these prices.
    pub fn of(used: &Used, prices: &Prices) -> Self {
        let compute = used.cpu_seconds / 3600.0 * prices.vcpu_hour;
        let requests = (used.reads as f64 * prices.s3_read_1000 + used.writes as f64 * prices.s3_write_1000) / 1000.0;
        let total = compute + requests;
        let glue = used.runs as f64 * prices.glue_dpu * prices.glue_minutes_a_manifest / 60.0 * prices.glue_dpu_hour;
        Self { compute, requests, total, glue, times: (total > 0.0).then(|| glue / total) }
    }
}

/// Resources that a run used, and their cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunCost {
    /// The run.
    #[schema(value_type = String)]
    pub manifest_id: ManifestId,
    /// Resources used by the attempt that made the output of the run.
    pub used: Used,
    /// Cost of these resources, in USD.
    pub cost: Cost,
    /// The prices.
    pub prices: Prices,
}

/// Resources that runs of some dates used, and their cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Costs {
    /// The dates, newest first.
    pub items: Vec<DateCost>,
    /// The sum of what they took.
    pub used: Used,
    /// Cost of the sum, in USD.
    pub cost: Cost,
    /// The prices.
    pub prices: Prices,
}

/// Query for costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CostQuery {
    /// The earliest date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = String, format = Date, required = false)]
    pub from: Option<DatePrefix>,
    /// The latest date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = String, format = Date, required = false)]
    pub to: Option<DatePrefix>,
    /// Grouping of the items: by `date`, as they are in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline, required = false)]
    pub by: Option<CostBy>,
}

/// Grouping of the items of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CostBy {
    /// Items by the date of the runs.
    Date,
}

/// Resources that the runs of a date used, and their cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DateCost {
    /// The date.
    #[schema(value_type = String, format = Date)]
    pub date: DatePrefix,
    /// Resources that these runs used.
    pub used: Used,
    /// Cost of these resources, in USD.
    pub cost: Cost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_can_be_reckoned_by_hand() {
        let prices = Prices {
            vcpu_hour: 0.04,
            s3_write_1000: 0.005,
            s3_read_1000: 0.0004,
            glue_dpu_hour: 0.44,
            glue_dpu: 40.0,
            glue_minutes_a_manifest: 7.0,
        };
        let used = Used { runs: 1, cpu_seconds: 3600.0, reads: 1000, writes: 2000, ..Used::default() };
        let cost = Cost::of(&used, &prices);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(cost.compute, 0.04) && near(cost.requests, 0.0104), "{cost:?}");
        assert!(near(cost.glue, 40.0 * 7.0 / 60.0 * 0.44), "{cost:?}");
        assert!(near(cost.times.unwrap(), cost.glue / 0.0504));
        assert_eq!(Cost::of(&Used::default(), &prices).times, None);
    }
}
