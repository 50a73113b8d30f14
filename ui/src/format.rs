//! Formatting of numbers, sizes and durations, the same on all pages and in commands.

use chrono::{DateTime, TimeDelta, Utc};

/// Number with thousands separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Number with its noun in singular or plural: `1 run`, `2 runs`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Number in short form: `1.2 M`.
pub fn short_count(n: u64) -> String {
    const STEPS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e4, "k")];
    match STEPS.iter().find(|(step, _)| n as f64 >= *step) {
        None => count(n),
        Some((1e4, unit)) => format!("{} {unit}", three_digits(n as f64 / 1e3)),
        Some((step, unit)) => format!("{} {unit}", three_digits(n as f64 / step)),
    }
}

/// Bytes in units of 1,024: `717.0 MiB`.
pub fn bytes(n: u64) -> String {
    millwork_diagnosis::bytes(n)
}

/// Calculated number of bytes, formatted as [`bytes()`] formats it.
pub fn bytes_f64(n: f64) -> String {
    bytes(if n.is_finite() { n.max(0.0) as u64 } else { 0 })
}

/// Rate in bytes per second.
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes_f64(bytes_per_second))
}

/// Number with at most three significant digits: `377`, `37.7`, `3.77`, without trailing zeros.
fn three_digits(value: f64) -> String {
    let text = match value {
        v if v >= 99.95 => return format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Share in percent. Rounding never gives 100 for less than the whole, nor 0 for more than nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let share = part as f64 / whole as f64 * 100.0;
    match part {
        0 => "0 %".to_owned(),
        part if part >= whole => "100 %".to_owned(),
        _ if share < 1.0 => "< 1 %".to_owned(),
        _ => format!("{} %", share.floor().min(99.0)),
    }
}

/// A span of time: `< 0.1 s`, `0.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. Never below zero: clocks differ.
pub fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    if seconds > 0.0 && seconds < 0.05 {
        return "< 0.1 s".to_owned();
    }
    if seconds < 9.95 {
        return format!("{} s", three_digits((seconds * 10.0).round() / 10.0));
    }
    let whole = seconds.round() as u64;
    let pair = |large: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {part}"),
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => pair(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => pair(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => pair(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// Duration between two times.
pub fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    duration(seconds(to - from))
}

/// Time relative to now: `3 min ago`, `in 38 s`.
pub fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let passed = seconds(now - at);
    match passed {
        p if p < -0.5 => format!("in {}", coarse(-p)),
        p if p < 1.0 => "just now".to_owned(),
        p => format!("{} ago", coarse(p)),
    }
}

/// Duration in its largest unit.
fn coarse(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min", whole / 60),
        3_600..172_800 => format!("{} h", whole / 3_600),
        _ => format!("{} d", whole / 86_400),
    }
}

/// Duration in seconds.
pub fn seconds(span: TimeDelta) -> f64 {
    span.as_seconds_f64()
}

/// Amount in dollars: whole from 100, cents from 0.01, below that two significant digits.
pub fn dollars(amount: f64) -> String {
    match amount {
        a if a <= 0.0 => "0 USD".to_owned(),
        a if a >= 100.0 => format!("{} USD", count(a.round() as u64)),
        a if a >= 0.01 => format!("{a:.2} USD"),
        a if a >= 0.000_001 => {
            let digits = (-a.log10().floor()) as usize + 1;
            format!("{a:.digits$} USD")
        }
        _ => "< 0.000001 USD".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!((count(0), count(999), count(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        assert_eq!(
            (short_count(9_999), short_count(12_345), short_count(1_203_398)),
            ("9,999".into(), "12.3 k".into(), "1.2 M".into())
        );
        assert_eq!(
            (bytes(0), bytes(1_023), bytes(751_828_992), bytes(1 << 40)),
            ("0 B".into(), "1023 B".into(), "717.0 MiB".into(), "1.0 TiB".into())
        );
        assert_eq!(counted(1, "run"), "1 run");
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        assert_eq!(
            (percent(0, 9), percent(1, 1_000), percent(999, 1_000), percent(9, 9)),
            ("0 %".into(), "< 1 %".into(), "99 %".into(), "100 %".into())
        );
        assert_eq!(percent(0, 0), "–");
    }

    #[test]
    fn time_never_runs_backwards() {
        assert_eq!(
            [-3.0, 0.004, 0.42, 9.96, 200.0].map(duration),
            ["0 s", "< 0.1 s", "0.4 s", "10 s", "3 min 20 s"].map(str::to_owned)
        );
        let now = DateTime::UNIX_EPOCH + TimeDelta::hours(100);
        assert_eq!(ago(now - TimeDelta::minutes(3), now), "3 min ago");
        assert_eq!(ago(now + TimeDelta::seconds(38), now), "in 38 s");
        assert_eq!(dollars(0.000_02), "0.000020 USD");
    }
}
