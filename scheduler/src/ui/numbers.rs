//! Pages of dates, costs, and throughput over time.

use super::asked::{Asked, Shown};
use crate::api::{Api, ApiError};
use crate::cost::used as used_by;
use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use millwork_api::{Cost, ErrorCode, Forecast, Outlook, Used};
use millwork_manifest::{DatePrefix, RunState};
use millwork_tracking::{DateTotals, Sample, Span};
use millwork_ui::frame::Section;
use millwork_ui::pages::cost::{self, CostPage, Spent};
use millwork_ui::pages::dates::{self, DateNumbers};
use millwork_ui::pages::flow::{self, Measured};
use millwork_ui::{Markup, format};

/// Time range of the throughput charts.
const LOOK_BACK: TimeDelta = TimeDelta::hours(2);

pub(super) async fn get_dates(asked: Asked, State(api): State<Api>) -> Response {
    let made = list_dates(&asked, &api).await;
    asked.answer(Section::Dates, made)
}

async fn list_dates(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let first = asked.parse::<NaiveDate>("cursor")?;
    let found = all_dates(api).await?;
    let body = dates::page(&found, first, asked.now);
    Ok(Shown {
        json: Some("/api/v1/dates".to_owned()),
        command: Some("millwork dates".to_owned()),
        ..Shown::new("Dates", Section::Dates, body)
    })
}

pub(super) async fn get_date(asked: Asked, State(api): State<Api>, Path(date): Path<String>) -> Response {
    let made = one_date(&asked, &api, &date).await;
    asked.answer(Section::Dates, made)
}

async fn one_date(asked: &Asked, api: &Api, text: &str) -> Result<Shown, ApiError> {
    let bad = |error| ApiError::new(ErrorCode::BadPath, format!("`{text}` is no date: {error}"));
    let date: DatePrefix = text.parse().map_err(bad)?;
    let found = api.service.store().date_totals(Some(date), Some(date)).await?;
    let totals = found.into_iter().find(|(known, _)| *known == date).map(|(_, totals)| totals).unwrap_or_default();
    let numbers = of_totals(date, totals);
    let why = super::why::of_date(asked, api, date).await;
    let body = match numbers {
        Some(numbers) => dates::one(&numbers, why.as_ref(), &asked.viewer, &asked.path, asked.now),
        None => return Err(ApiError::new(ErrorCode::BadPath, format!("`{text}` is no date"))),
    };
    Ok(Shown {
        json: Some(format!("/api/v1/dates/{date}")),
        command: Some(format!("millwork why {date}")),
        ..Shown::new(date.to_string(), Section::Dates, body)
    })
}

/// All dates, newest first.
pub(super) async fn all_dates(api: &Api) -> Result<Vec<DateNumbers>, ApiError> {
    Ok(newest_first(totals(api).await?))
}

/// Converts totals to numbers of dates, newest first.
pub(super) fn newest_first(totals: Vec<(DatePrefix, DateTotals)>) -> Vec<DateNumbers> {
    let mut dates: Vec<DateNumbers> = totals.into_iter().filter_map(|(date, totals)| of_totals(date, totals)).collect();
    dates.sort_by_key(|date| std::cmp::Reverse(date.date));
    dates
}

/// Totals of all dates, cached for all pages.
pub(super) async fn totals(api: &Api) -> Result<Vec<(DatePrefix, DateTotals)>, ApiError> {
    let store = api.service.store().clone();
    let look = async move { Ok(store.date_totals(None, None).await?) };
    api.date_totals.get(Some(api.last_change()), look).await
}

fn of_totals(date: DatePrefix, totals: DateTotals) -> Option<DateNumbers> {
    let date: NaiveDate = date.to_string().parse().ok()?;
    Some(DateNumbers {
        date,
        files: totals.files.into_iter().map(|(state, total)| (state, total.files, total.bytes)).collect(),
        runs: totals.runs.into_iter().collect(),
        refused: totals.refused.into_iter().collect(),
        rows: totals.output.rows,
        rejected: totals.output.rejected,
        output_bytes: totals.output.output_bytes,
        oldest_pending: totals.oldest_pending,
        last_commit: totals.last_commit,
    })
}

pub(super) async fn get_cost(asked: Asked, State(api): State<Api>) -> Response {
    let made = costs(&asked, &api).await;
    asked.answer(Section::Cost, made)
}

async fn costs(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let first = asked.parse::<NaiveDate>("cursor")?;
    let prices = api.prices;
    let mut sum = Used::default();
    let mut found = Vec::new();
    for (date, totals) in totals(api).await? {
        let used = used_by(totals.runs.get(&RunState::Completed).copied().unwrap_or(0), &totals.output);
        if used == Used::default() {
            continue;
        }
        sum = sum.plus(used);
        if let Ok(date) = date.to_string().parse::<NaiveDate>() {
            found.push((date, spent(&used, &Cost::of(&used, &prices))));
        }
    }
    found.sort_by_key(|(date, _)| std::cmp::Reverse(*date));
    let named = [
        ("vcpu_hour", prices.vcpu_hour),
        ("s3_write_1000", prices.s3_write_1000),
        ("s3_read_1000", prices.s3_read_1000),
        ("glue_dpu_hour", prices.glue_dpu_hour),
        ("glue_dpu", prices.glue_dpu),
        ("glue_minutes_a_manifest", prices.glue_minutes_a_manifest),
    ];
    let page = CostPage { dates: &found, first, sum: spent(&sum, &Cost::of(&sum, &prices)), prices: &named };
    Ok(Shown {
        json: Some("/api/v1/cost".to_owned()),
        command: Some("millwork cost".to_owned()),
        ..Shown::new("Cost", Section::Cost, cost::page(&page))
    })
}

fn spent(used: &Used, cost: &Cost) -> Spent {
    Spent {
        runs: used.runs,
        input_bytes: used.input_bytes,
        cpu_seconds: used.cpu_seconds,
        requests: used.reads + used.writes,
        compute: cost.compute,
        storage: cost.requests,
        total: cost.total,
        glue: cost.glue,
    }
}

/// Charts of the last hours; `None` if there are no measurements.
pub(super) async fn flow(api: &Api, forecast: &Forecast, now: DateTime<Utc>) -> Option<Markup> {
    let samples = api.history.samples(&**api.service.store(), Span::Minute, (now - LOOK_BACK, now), now).await.ok()?;
    let measured: Vec<Measured> = samples.iter().filter_map(of_sample).collect();
    let drained = drained(forecast, now).filter(|_| forecast.backlog_bytes > 0);
    (!measured.is_empty()).then(|| flow::charts(&measured, drained))
}

fn of_sample(sample: &Sample) -> Option<Measured> {
    let second = |bytes: u64| (sample.watched_seconds > 0.0).then(|| bytes as f64 / sample.watched_seconds);
    Some(Measured {
        at: DateTime::from_timestamp(sample.at, 0)?,
        arrived: second(sample.arrived_bytes),
        converted: second(sample.input_bytes),
        backlog: Some(sample.backlog_bytes as f64),
    })
}

fn drained(forecast: &Forecast, now: DateTime<Utc>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let after = |seconds: f64| {
        TimeDelta::try_milliseconds((seconds.clamp(0.0, 1e9) * 1000.0) as i64)
            .and_then(|span| now.checked_add_signed(span))
    };
    Some((after(forecast.low_seconds?)?, after(forecast.high_seconds?)?))
}

/// The forecast as a sentence.
pub(super) fn said(forecast: &Forecast, now: DateTime<Utc>) -> Option<String> {
    let clock = |at: DateTime<Utc>| match at.date_naive() == now.date_naive() {
        true => at.format("%H:%M UTC").to_string(),
        false => at.format("%Y-%m-%d %H:%M UTC").to_string(),
    };
    match (forecast.outlook, drained(forecast, now)) {
        (Outlook::Empty, _) => None,
        (Outlook::Draining, Some((early, late))) if clock(early) == clock(late) => {
            Some(format!("At this rate done by {}.", clock(late)))
        }
        (Outlook::Draining, Some((early, late))) => {
            Some(format!("At this rate done by {} ({} at the earliest).", clock(late), clock(early)))
        }
        (Outlook::Draining, None) => Some("Gets less; when it is done cannot be said.".to_owned()),
        (Outlook::Growing, _) => {
            let (arrival, capacity) = (forecast.arrival_bytes_per_second?, forecast.capacity_bytes_per_second?);
            Some(format!("Growing: {} arrive, {} can be converted.", format::rate(arrival), format::rate(capacity)))
        }
        (Outlook::Unknown, _) => Some("When it is done is not known: nothing has been completed yet.".to_owned()),
    }
}
