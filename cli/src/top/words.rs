//! Short forms of numbers and times.

use crate::table::bytes;
use chrono::{DateTime, TimeDelta, Utc};
use millwork_api::Point;
use millwork_diagnosis::span;
use millwork_manifest::RunState;

/// Block characters for bars, in eighths of the height.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Number of bars for an hour.
const COUNT: usize = 12;

/// Rate in bytes per second.
pub(super) fn rate(bytes_per_second: f64) -> String {
    // The cast turns negative and undefined numbers into 0.
    format!("{}/s", bytes(bytes_per_second as u64))
}

/// Part of an amount of bytes, in the unit of the whole.
pub(super) fn share(part: u64, all: u64) -> String {
    let whole = bytes(all);
    let unit = whole.split_once(' ').map_or("B", |(_, unit)| unit);
    let power = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].iter().position(|name| *name == unit).unwrap_or(0);
    let scaled = |size: u64| size as f64 / 1024_f64.powi(power as i32);
    let digits = usize::from(power > 0 && scaled(all) < 10.0);
    format!("{:.digits$}/{:.digits$} {unit}", scaled(part), scaled(all))
}

/// Remaining time, from seconds.
pub(super) fn left(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{:.1} s", seconds.max(0.0)),
        _ => span(TimeDelta::seconds(seconds as i64)),
    }
}

/// Time of day; with the date if it is not today.
pub(super) fn time(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let form = if at.date_naive() == now.date_naive() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    at.format(form).to_string()
}

/// Time after this many seconds, to the minute; `None` if it cannot be represented.
pub(super) fn later(now: DateTime<Utc>, seconds: f64) -> Option<String> {
    let at = now.checked_add_signed(TimeDelta::try_seconds(seconds as i64)?)?;
    let form = if at.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    Some(at.format(form).to_string())
}

/// Symbol of a state.
pub(super) fn dot(state: RunState) -> &'static str {
    match state {
        RunState::Draft | RunState::Queued => "·",
        RunState::Planning | RunState::Running | RunState::Committing => "●",
        RunState::Completed => "✓",
        RunState::Failed | RunState::Cancelled => "✗",
    }
}

/// Last hour as bars, newest on the right; `None` without data.
pub(super) fn bars(points: &[Point], now: DateTime<Utc>) -> Option<String> {
    let step = TimeDelta::minutes(60 / COUNT as i64);
    let from = now - step * COUNT as i32;
    let mut sums = [0.0_f64; COUNT];
    for point in points {
        let at = (point.at - from).num_seconds().div_euclid(step.num_seconds());
        if let Some(sum) = usize::try_from(at).ok().and_then(|at| sums.get_mut(at)) {
            *sum += point.value.max(0.0);
        }
    }
    let most = sums.iter().copied().fold(0.0, f64::max);
    let bar = |sum: &f64| BARS[((sum / most * 7.0).ceil() as usize).min(BARS.len() - 1)];
    (most > 0.0).then(|| sums.iter().map(bar).collect())
}

/// Gauge of `width` characters that shows a used share.
pub(super) fn gauge(used: u64, all: u64, width: usize) -> String {
    let full = match all {
        0 => 0,
        // Any use shows at least one character, and only full use fills the gauge.
        _ => (used.min(all) as f64 / all as f64 * width as f64).floor() as usize,
    };
    let full = full.max(usize::from(used > 0 && all > 0)).min(width);
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-01-02T14:03:22Z".parse().unwrap()
    }

    #[test]
    fn times_have_their_date_if_it_is_another() {
        assert_eq!(time(now(), now()), "14:03:22");
        assert_eq!(time(now() - TimeDelta::days(1), now()), "2026-01-01 14:03");
        assert_eq!(later(now(), 9_400.0).unwrap(), "16:40");
        assert_eq!(later(now(), 86_400.0).unwrap(), "2026-01-03 14:03");
        assert_eq!(later(now(), f64::INFINITY), None);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([rate(0.0), rate(20_761_804.8), rate(-1.0)], ["0 B/s", "19.8 MiB/s", "0 B/s"]);
        assert_eq!([share(0, 12), share(511_705_088, 751_828_992)], ["0/12 B", "488/717 MiB"]);
        assert_eq!(share(524_288, 4 << 20), "0.5/4.0 MiB");
        assert_eq!([left(0.6), left(38.2), left(600.0)], ["0.6 s", "38 s", "10 min"]);
    }

    #[test]
    fn bars_are_of_the_last_hour() {
        assert_eq!(bars(&[], now()), None);
        let point = |minutes, value| Point { at: now() - TimeDelta::minutes(minutes), value };
        let text = bars(&[point(600, 9.0), point(59, 4.0), point(30, 8.0), point(1, 1.0)], now()).unwrap();
        assert_eq!(text, "▅▁▁▁▁▁█▁▁▁▁▂");
    }

    #[test]
    fn a_gauge_shows_the_least_use() {
        assert_eq!([gauge(0, 4, 4), gauge(1, 64, 4), gauge(63, 64, 4)], ["░░░░", "█░░░", "███░"]);
        assert_eq!([gauge(64, 64, 4), gauge(9, 4, 4), gauge(0, 0, 4)], ["████", "████", "░░░░"]);
    }
}
