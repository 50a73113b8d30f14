//! Time series.

use super::Api;
use super::error::ApiError;
use super::extract::Query;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Duration, Utc};
use millwork_api::{ErrorCode, Point, Series, SeriesName, SeriesQuery};
use millwork_tracking::{Sample, Span};

/// Limit of the points in one answer: a chart has no room for more.
const MAX_POINTS: i64 = 2000;
/// Limit of the points if no step is given.
const USUAL_POINTS: i64 = 360;
/// Range that is used if none is given.
const USUAL_RANGE: Duration = Duration::hours(1);

/// Value of a sample; `None` if its span was not observed at all.
fn value(name: SeriesName, sample: &Sample) -> Option<f64> {
    let second = |sum: f64| (sample.watched_seconds > 0.0).then(|| sum / sample.watched_seconds);
    match name {
        SeriesName::ArrivalFiles => second(sample.arrived_files as f64),
        SeriesName::ArrivalBytes => second(sample.arrived_bytes as f64),
        SeriesName::ThroughputIn => second(sample.input_bytes as f64),
        SeriesName::ThroughputOut => second(sample.output_bytes as f64),
        SeriesName::BusySlots => second(sample.busy_slot_seconds),
        SeriesName::BacklogBytes => Some(sample.backlog_bytes as f64),
        SeriesName::Rows => Some(sample.rows as f64),
        SeriesName::Rejected => Some(sample.rejected as f64),
        SeriesName::CompletedRuns => Some(sample.completed_runs as f64),
        SeriesName::FailedRuns => Some(sample.failed_runs as f64),
    }
}

/// Range and step of the samples to read for a query.
struct Plan {
    span: Span,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: i64,
}

impl Plan {
    fn of(query: &SeriesQuery, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let bad = |message: String| ApiError::new(ErrorCode::BadQuery, message);
        let to = query.to.unwrap_or(now);
        let from = query.from.unwrap_or_else(|| to.checked_sub_signed(USUAL_RANGE).unwrap_or(to));
        let seconds = to.signed_duration_since(from).num_seconds();
        if seconds <= 0 {
            return Err(bad("a range ends after it begins".to_owned()));
        }
        // Samples per minute are kept for two days, those per hour for more than a year.
        let oldest = now - Span::Hour.keep();
        let from = from.max(oldest);
        let seconds = to.signed_duration_since(from).num_seconds().max(1);
        let has_minutes = from >= now - Span::Minute.keep();
        let least = if has_minutes { 60 } else { 3600 };
        let step = match query.step {
            None => ((seconds / USUAL_POINTS).max(1) + least - 1) / least * least,
            Some(step) if step < 60 || step % 60 != 0 => {
                return Err(bad(format!("a step is a multiple of 60 seconds, not {step}")));
            }
            Some(step) if step > Span::Hour.keep().num_seconds() => {
                return Err(bad(format!(
                    "a step is at most {} seconds, the time for which numbers are kept, not {step}",
                    Span::Hour.keep().num_seconds()
                )));
            }
            Some(step) if step < least => {
                return Err(bad(format!(
                    "of what is older than 48 hours, steps of at least 3600 seconds are known, not {step}"
                )));
            }
            Some(step) => step,
        };
        if seconds / step > MAX_POINTS {
            return Err(bad(format!(
                "{} steps are more than {MAX_POINTS}: say a longer step or a shorter range",
                seconds / step
            )));
        }
        let span =
            if has_minutes && step % 3600 != 0 || least == 60 && seconds < 7200 { Span::Minute } else { Span::Hour };
        Ok(Self { span, from, to, step })
    }
}

/// A number over time: minutes for 48 hours, hours for 400 days, written by whoever runs the manifests. What nobody watched has no
/// point.
#[utoipa::path(get, path = "/api/v1/series", tag = "numbers", params(SeriesQuery), responses(
    (status = 200, description = "The series", body = Series)
))]
pub(super) async fn get_series(
    State(api): State<Api>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<Series>, ApiError> {
    let now = Utc::now();
    let Plan { span, from, to, step } = Plan::of(&query, now)?;
    let begin = DateTime::from_timestamp(from.timestamp().div_euclid(step) * step, 0).unwrap_or(from);
    let samples = api.history.samples(&**api.service.store(), span, (begin, to), now).await?;
    let mut points: Vec<(i64, Sample)> = Vec::new();
    for sample in &samples {
        let at = sample.at.div_euclid(step) * step;
        match points.last_mut().filter(|(last, _)| *last == at) {
            Some((_, all)) => all.add(sample),
            None => points.push((at, *sample)),
        }
    }
    let point = |(at, sample): &(i64, Sample)| {
        Some(Point { at: DateTime::from_timestamp(*at, 0)?, value: value(query.name, sample)? })
    };
    Ok(Json(Series { name: query.name, from, to, step, points: points.iter().filter_map(point).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(from: Duration, step: Option<i64>) -> Result<(Span, i64), String> {
        let now = DateTime::from_timestamp(1_766_498_400, 0).unwrap();
        let query = SeriesQuery { name: SeriesName::Rows, from: Some(now - from), to: Some(now), step };
        Plan::of(&query, now).map(|plan| (plan.span, plan.step)).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_range_has_as_many_points_as_a_chart_has_room_for() {
        assert_eq!(plan(Duration::hours(1), None), Ok((Span::Minute, 60)));
        assert_eq!(plan(Duration::hours(24), None), Ok((Span::Minute, 240)));
        assert_eq!(plan(Duration::days(7), None), Ok((Span::Hour, 3600)));
        assert_eq!(plan(Duration::days(399), None).unwrap().0, Span::Hour);
        assert!(plan(Duration::days(399), None).unwrap().1 % 3600 == 0);
        assert!(plan(Duration::hours(47), Some(60)).unwrap_err().contains("2000"));
        assert!(plan(Duration::days(3), Some(60)).unwrap_err().contains("3600"));
        assert!(plan(Duration::days(399), Some(i64::MAX / 60 * 60)).unwrap_err().contains("at most"));
        assert!(plan(Duration::hours(1), Some(90)).is_err() && plan(Duration::zero(), None).is_err());
        assert!(plan(Duration::days(100_000), None).is_ok());
    }
}
