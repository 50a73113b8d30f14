//! Forecast of when the backlog is done: a time range, or that the backlog grows, or that it cannot be predicted.

use millwork_api::{Forecast, Outlook};

/// Input of a forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Bytes that are not converted yet.
    pub(crate) backlog_bytes: u64,
    /// Arrival rate in bytes per second: the lower and the higher of those of the last ten minutes and the last hour.
    pub(crate) arrival: Option<(f64, f64)>,
    /// Speed of all slots when busy, in bytes per second, as measured over a longer time.
    pub(crate) learnt: Option<f64>,
    /// Recent speed while there was work, in bytes per second.
    pub(crate) measured: Option<f64>,
}

impl Facts {
    /// Forecast from these facts.
    pub(crate) fn forecast(&self) -> Forecast {
        let Self { backlog_bytes, arrival, learnt, measured } = *self;
        let arrivals = arrival.unwrap_or((0.0, 0.0));
        let middle = |(low, high): (f64, f64)| f64::midpoint(low, high);
        let speeds: Vec<f64> = [learnt, measured].into_iter().flatten().filter(|speed| *speed > 0.0).collect();
        let capacity = (!speeds.is_empty()).then(|| {
            let (low, high) =
                speeds.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), speed| (low.min(*speed), high.max(*speed)));
            (low, high)
        });
        let mut forecast = Forecast {
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
        let forecast = facts.forecast();
        assert_eq!(forecast.outlook, Outlook::Draining);
        assert_eq!(forecast.drain_seconds, Some(1000.0 / 30.0));
        assert_eq!((forecast.low_seconds, forecast.high_seconds), (Some(1000.0 / 45.0), Some(1000.0 / 15.0)));
        let more = Facts { arrival: Some((60.0, 70.0)), ..facts }.forecast();
        assert_eq!((more.outlook, more.drain_seconds, more.low_seconds), (Outlook::Growing, None, None));
        let unclear = Facts { arrival: Some((5.0, 35.0)), ..facts }.forecast();
        assert_eq!((unclear.outlook, unclear.high_seconds), (Outlook::Draining, None));
        assert_eq!(Facts { learnt: None, measured: None, ..facts }.forecast().outlook, Outlook::Unknown);
        assert_eq!(Facts { backlog_bytes: 0, ..facts }.forecast().outlook, Outlook::Empty);
    }
}
