//! Times: UTC with the zone written, turned into local ones by the script if the reader wants that.

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

/// The time of day with its zone, and the date unless it is today's.
pub fn moment_short(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    if at.date_naive() != now.date_naive() {
        return moment(at);
    }
    html! { time datetime=(exact(at)) data-show="short" title=(exact(at)) { (at.format("%H:%M:%S").to_string()) " UTC" } }
}

/// The minute of the day with its zone, for the ends of an axis.
pub fn minute(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(exact(at)) data-show="minute" title=(exact(at)) { (at.format("%H:%M").to_string()) " UTC" } }
}

/// Moment as [`moment_short`] shows it, and how far it is from now.
pub fn moment_and_ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { (moment_short(at, now)) " " span.muted { "· " (ago_text(at, now)) } }
}

/// Only how far it is from now; the moment is its title.
pub fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { time datetime=(exact(at)) data-show="none" title=(exact(at)) { (ago_text(at, now)) } }
}

fn ago_text(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format::ago(at, now)
}
