//! Filters as text: `state=failed class=storage date=2025-12-23`.

use chrono::{DateTime, Duration, Utc};
use millwork_api::{AnyOf, RunQuery};

/// Parses a time such as `2025-12-23T10:00:00Z`, or an age such as `24h`, `90m` or `7d`.
pub(crate) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = text.parse::<DateTime<Utc>>() {
        return Ok(at);
    }
    let refused = || format!("`{text}` is no time: say 2025-12-23T10:00:00Z, or how long ago, such as 90m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(refused)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(refused()),
    };
    let number: u32 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(refused)?;
    let ago = Duration::try_seconds(i64::from(number) * seconds).ok_or_else(refused)?;
    Utc::now().checked_sub_signed(ago).ok_or_else(refused)
}

/// Parses a filter for runs, with the names of the listing's options.
pub(crate) fn runs(text: &str) -> Result<RunQuery, String> {
    let mut query = RunQuery::default();
    for part in text.split_whitespace() {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` has no `=`: {KNOWN}"))?;
        match name {
            "state" => query.state = AnyOf::parse(value)?,
            "class" | "failure_class" | "failure-class" => query.failure_class = AnyOf::parse(value)?,
            "date" => query.date = Some(value.parse().map_err(|e| format!("date: {e}"))?),
            "prefix" => query.prefix = Some(value.to_owned()),
            "since" => query.since = Some(time(value)?),
            "until" => query.until = Some(time(value)?),
            _ => return Err(format!("`{name}` is no filter: {KNOWN}")),
        }
    }
    match query == RunQuery::default() {
        true => Err(format!("all runs there are is too much: {KNOWN}")),
        false => Ok(query),
    }
}

const KNOWN: &str = "say state=…, class=…, date=YYYY-MM-DD, prefix=…, since=… or until=…, with spaces between them, such as `state=failed class=storage since=24h`";

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::{FailureClass, RunState};

    #[test]
    fn filters_are_read() {
        assert!(time("24h").unwrap() < time("90m").unwrap() && time("2025-12-23T10:00:00Z").is_ok());
        let query = runs("state=failed,cancelled  class=storage date=2025-12-23").unwrap();
        assert_eq!(query.state.words(), [RunState::Failed, RunState::Cancelled]);
        assert_eq!(query.failure_class.words(), [FailureClass::Storage]);
        assert_eq!(query.date, Some("2025-12-23".parse().unwrap()));
        for bad in [
            "",
            "  ",
            "failed",
            "state=done",
            "colour=red",
            "date=2025-13-01",
            "since=yesterday",
            "since=h",
            "since=-1h",
        ] {
            assert!(runs(bad).is_err(), "{bad}");
        }
    }
}
