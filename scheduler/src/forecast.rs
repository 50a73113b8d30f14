//! When the backlog will be done: a range, or that it grows, or that nobody can tell.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Facts that a forecast rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Bytes that are not converted.
    pub(crate) backlog_bytes: u64,
    /// Bytes that come a second: the least and the most of the last ten minutes and the last hour.
    pub(crate) arrival: Option<(f64, f64)>,
    /// Bytes that all slots convert a second when busy, as learnt.
    pub(crate) learnt: Option<f64>,
    /// Bytes that were converted a second, lately, while there was work.
    pub(crate) measured: Option<f64>,
}

/// What becomes of the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outlook {
    /// There is nothing to do.
    Empty,
    /// It gets less: see the range.
    Draining,
    /// It grows: as much comes as can be converted, or more.
    Growing,
    /// Nobody can tell: no run has been completed yet, or there are no executors.
    Unknown,
}

/// Forecast of the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// What becomes of it.
    pub outlook: Outlook,
    /// Bytes that are not converted: pending files, and runs that have not ended.
    pub backlog_bytes: u64,
    /// Time until it is done, in seconds, at the earliest.
    #[schema(required)]
    pub low_seconds: Option<f64>,
    /// Time until it is done, in seconds, if arrivals stay as they are.
    #[schema(required)]
    pub drain_seconds: Option<f64>,
    /// Time until it is done, in seconds, at the latest; null if it may grow.
    #[schema(required)]
    pub high_seconds: Option<f64>,
    /// Bytes of valid files that come a second.
    #[schema(required)]
    pub arrival_bytes_per_second: Option<f64>,
    /// Bytes of input that all slots convert a second when they are busy.
    #[schema(required)]
    pub capacity_bytes_per_second: Option<f64>,
}

impl Forecast {
    pub(crate) fn of(facts: &Facts) -> Self {
        let Facts { backlog_bytes, arrival, learnt, measured } = *facts;
        let arrivals = arrival.unwrap_or((0.0, 0.0));
        let middle = |(low, high): (f64, f64)| f64::midpoint(low, high);
        let speeds: Vec<f64> = [learnt, measured].into_iter().flatten().filter(|speed| *speed > 0.0).collect();
        let capacity = (!speeds.is_empty()).then(|| {
            let (low, high) =
                speeds.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), speed| (low.min(*speed), high.max(*speed)));
            (low, high)
        });
        let mut forecast = Self {
            outlook: Outlook::Unknown,
            backlog_bytes,
            low_seconds: None,
            drain_seconds: None,
            high_seconds: None,
            arrival_bytes_per_second: arrival.map(middle),
            capacity_bytes_per_second: capacity.map(middle),
        };
        if backlog_bytes == 0 {
            forecast.outlook = Outlook::Empty;
            return forecast;
        }
        let Some(capacity) = capacity else { return forecast };
        let seconds = |speed: f64, comes: f64| (speed > comes).then(|| backlog_bytes as f64 / (speed - comes));
        forecast.low_seconds = seconds(capacity.1, arrivals.0);
        forecast.drain_seconds = seconds(middle(capacity), middle(arrivals));
        forecast.high_seconds = seconds(capacity.0, arrivals.1);
        forecast.outlook = if forecast.drain_seconds.is_some() { Outlook::Draining } else { Outlook::Growing };
        if forecast.outlook == Outlook::Growing {
            forecast.low_seconds = None;
        }
        forecast
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_drains_within_a_range_or_grows_or_nobody_can_tell() {
        let facts = Facts { backlog_bytes: 1000, arrival: Some((5.0, 15.0)), learnt: Some(30.0), measured: Some(50.0) };
        let forecast = Forecast::of(&facts);
        assert_eq!(forecast.outlook, Outlook::Draining);
        assert_eq!(forecast.drain_seconds, Some(1000.0 / 30.0));
        assert_eq!((forecast.low_seconds, forecast.high_seconds), (Some(1000.0 / 45.0), Some(1000.0 / 15.0)));
        let more = Forecast::of(&Facts { arrival: Some((60.0, 70.0)), ..facts });
        assert_eq!((more.outlook, more.drain_seconds, more.low_seconds), (Outlook::Growing, None, None));
        let unclear = Forecast::of(&Facts { arrival: Some((5.0, 35.0)), ..facts });
        assert_eq!((unclear.outlook, unclear.high_seconds), (Outlook::Draining, None));
        assert_eq!(Forecast::of(&Facts { learnt: None, measured: None, ..facts }).outlook, Outlook::Unknown);
        assert_eq!(Forecast::of(&Facts { backlog_bytes: 0, ..facts }).outlook, Outlook::Empty);
    }
}
