//! Doctor page: health checks with findings and remedies.

use crate::format;
use crate::parts::{facts, state, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{Check, Examination, Origin, Setting, Verdict};

/// Content of the page.
pub struct Doctor<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// Results of the checks.
    pub examination: &'a Examination,
    /// Settings in force.
    pub settings: &'a [Setting],
}

/// Renders the page.
pub fn page(page: &Doctor<'_>) -> Markup {
    let of = |verdict| page.examination.checks.iter().filter(move |check: &&Check| check.verdict == verdict);
    let findings: Vec<&Check> = of(Verdict::Broken).chain(of(Verdict::Warning)).collect();
    let (unknown, fine): (Vec<&Check>, Vec<&Check>) = (of(Verdict::Unknown).collect(), of(Verdict::Fine).collect());
    html! {
        div.head.split {
            div {
                h1 { "Doctor" }
                p.muted { "What this scheduler stands on, each part really tried. Looked " (time::moment_and_ago(page.examination.at, page.now)) "." }
            }
            a.button href="/ui/doctor" { "Look again" }
        }
        @if findings.is_empty() {
            div.empty.good { p.title { (state::sign(state::Sign::Tick)) " All is as it must be" } p { (format::counted(fine.len() as u64, "check")) " found nothing to do." } }
        } @else {
            (facts::panel("findings", &format!("Needs you ({})", findings.len()), None, &html! { ul.concerns { @for check in &findings { (finding(check)) } } }))
        }
        @if !unknown.is_empty() { (facts::panel("unknown", "Could not be looked at", None, &list(&unknown))) }
        @if !fine.is_empty() { (facts::panel("fine", "As it must be", None, &list(&fine))) }
        @if !page.settings.is_empty() { (settings(page.settings)) }
        p.muted { "Certificates and queues that only other machines know are looked at by " code { "millwork doctor" } " there, with its options." }
    }
}

fn finding(check: &Check) -> Markup {
    let (sign, class) = sign(check.verdict);
    html! {
        li.(class) {
            (state::sign(sign))
            div {
                p.title { (text::shown(&check.name)) span.visually-hidden { ", " (word(check.verdict)) } }
                p { (text::sentence(&check.found)) }
                @if let Some(remedy) = &check.remedy { p { strong { "Do: " } (text::prose(remedy)) } }
                @if let Some((href, name)) = place(&check.name) { p { a href=(href) { (name) } } }
            }
        }
    }
}

/// The page on which a finding is looked at and mended, if there is one.
fn place(check: &str) -> Option<(&'static str, &'static str)> {
    match check {
        "failed files" => Some(("/ui/files?state=failed", "Failed files")),
        "scheduler" | "executors" | "builders" | "lock" => Some(("/ui/cluster", "Cluster")),
        _ => None,
    }
}

fn list(checks: &[&Check]) -> Markup {
    html! {
        ul.rows.checks {
            @for check in checks {
                @let (sign, _) = sign(check.verdict);
                li { (state::state(sign, &text::plain(&check.name), if check.verdict == Verdict::Fine { "s-done" } else { "s-idle" })) span.muted { (text::prose(&check.found)) } }
            }
        }
    }
}

fn sign(verdict: Verdict) -> (state::Sign, &'static str) {
    match verdict {
        Verdict::Fine => (state::Sign::Tick, "good"),
        Verdict::Warning => (state::Sign::Mark, "warn"),
        Verdict::Broken => (state::Sign::Cross, "bad"),
        Verdict::Unknown => (state::Sign::Empty, "plain"),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "fine",
        Verdict::Warning => "needs a look",
        Verdict::Broken => "broken",
        Verdict::Unknown => "not known",
    }
}

/// Settings in force. Those at their default are collapsed.
fn settings(all: &[Setting]) -> Markup {
    let (default, chosen): (Vec<&Setting>, Vec<&Setting>) =
        all.iter().partition(|setting| setting.origin == Origin::Default);
    let rows = |settings: &[&Setting]| {
        html! {
            dl.keys.settings {
                @for setting in settings {
                    div { dt { code { (setting.name) } } dd { (text::shown(setting.value.as_deref().unwrap_or("–"))) @if setting.origin == Origin::Env { span.muted { " from " (setting.variable.as_deref().unwrap_or("the environment")) } } } }
                }
            }
        }
    };
    let body = html! {
        @if chosen.is_empty() { p.muted { "None was given: all are as they come." } } @else { (rows(&chosen)) }
        @if !default.is_empty() { details { summary { (format::counted(default.len() as u64, "setting")) " as they come" } (rows(&default)) } }
    };
    facts::panel("settings", "Configuration", None, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_stands_first_with_what_to_do() {
        let checks = vec![
            Check::fine("state", "it answers"),
            Check::warning("lock", "LOCK#<b>", "sweep"),
            Check::broken("output", "denied", "allow s3:PutObject"),
            Check::unknown("queue", "not asked"),
        ];
        let examination = Examination { at: DateTime::UNIX_EPOCH, version: String::new(), checks };
        let html = page(&Doctor { now: DateTime::UNIX_EPOCH, examination: &examination, settings: &[] }).into_string();
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text}: {html}"));
        assert!(
            at("allow s3:PutObject") < at("LOCK#&lt;b&gt;")
                && at("sweep") < at("not asked")
                && at("not asked") < at("it answers")
        );
        assert!(html.contains("Needs you (2)") && !html.contains("All is as it must be"));
    }
}
