//! Times in UTC, with the zone. A script converts them to local time if the user chose that.

use crate::format;
use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

fn exact(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Date, time and zone.
pub fn moment(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(exact(at)) data-show="full" title=(exact(at)) { (at.format("%Y-%m-%d %H:%M:%S").to_string()) " UTC" } }
}

/// Time of day with its zone; the date only if it is not today.
pub fn moment_short(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    if at.date_naive() != now.date_naive() {
        return moment(at);
    }
    html! { time datetime=(exact(at)) data-show="short" title=(exact(at)) { (at.format("%H:%M:%S").to_string()) " UTC" } }
}

/// Hour and minute with the zone, for the ends of an axis.
pub fn minute(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(exact(at)) data-show="minute" title=(exact(at)) { (at.format("%H:%M").to_string()) " UTC" } }
}

/// Time as [`moment_short`] formats it, followed by the time relative to now.
pub fn moment_and_ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { (moment_short(at, now)) " " span.muted { "· " (ago_text(at, now)) } }
}

/// Time relative to now, with the absolute time in the title.
pub fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { time datetime=(exact(at)) data-show="none" title=(exact(at)) { (ago_text(at, now)) } }
}

fn ago_text(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format::ago(at, now)
}
