//! Rejected lines of a run, each with a mark below the byte at which parsing failed.

use super::mend;
use crate::format;
use crate::parts::{copy, link};
use crate::text;
use maud::{Markup, html};
use millwork_api::RejectedLine;
use std::collections::BTreeMap;

/// Limit of characters shown before and after the mark.
const AROUND: usize = 160;

/// Content of a page of the file of rejected lines.
pub struct RejectedPage<'a> {
    /// Id of the run.
    pub run: &'a str,
    /// Manifests of lines of this run that were put back earlier.
    pub earlier: &'a [String],
    /// Offset of this part in the file of rejected lines, in bytes.
    pub from: u64,
    /// URI of the file of rejected lines.
    pub place: &'a str,
    /// Number of lines in the file.
    pub all: u64,
    /// Lines of this page.
    pub lines: &'a [RejectedLine],
    /// Path and query of the next page.
    pub next: Option<&'a str>,
    /// Path of the first page; none on the first page itself.
    pub first: Option<&'a str>,
}

/// Renders the lines.
pub fn page(page: &RejectedPage<'_>) -> Markup {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for line in page.lines {
        *reasons.entry(line.reason.as_str()).or_default() += 1;
    }
    html! {
        p {
            strong { (format::counted(page.all, "line")) } " rejected. On this page: "
            @for (index, (reason, count)) in reasons.iter().enumerate() { @if index > 0 { ", " } span.tag { (text::shown(reason)) } " " (count) }
        }
        @for lines in page.lines.chunk_by(|one, next| one.file == next.file) { (of_file(lines)) }
        nav.pager aria-label="Pages of the lines" {
            span.muted { (format::counted(page.lines.len() as u64, "line")) " on this page" }
            span.push {}
            @if let Some(first) = page.first { a.button.quiet href=(first) { "⇤ first" } }
            @if let Some(next) = page.next { a.button rel="next" data-key="n" href=(next) { "more →" } }
        }
        (put_back(page))
    }
}

/// Link to the page that puts mended lines back. Those lines become rows of an additional run and duplicate none.
fn put_back(page: &RejectedPage<'_>) -> Markup {
    let from = page.from.to_string();
    let here = mend::path(page.run, (page.from > 0).then_some(from.as_str()));
    let commands = [
        format!("millwork rejected {} --lines > mended.ndjson", page.run),
        format!("millwork runs put-back {} mended.ndjson", page.run),
    ];
    html! {
        section.panel aria-labelledby="put-back" {
            h2 id="put-back" { "Mend and put back" }
            @if !page.earlier.is_empty() {
                p { "Lines of this run were put back in " @for (index, run) in page.earlier.iter().enumerate() { @if index > 0 { ", " } (link::run(run)) } "." }
            }
            p { "Mended lines become rows of a run of their own; the rows of this one stay as they are." }
            p { a.button href=(here) { "Mend the " (format::counted(page.lines.len() as u64, "line")) " above…" } }
            p.muted { "All of them, in an editor:" }
            @for command in &commands { (copy::command(command)) }
            p.muted { "As they were rejected: " code { (text::shown(page.place)) } (copy::button(page.place, "the address")) }
        }
    }
}

/// Lines of one file that follow each other.
fn of_file(lines: &[RejectedLine]) -> Markup {
    let file = lines.first().map_or("", |line| line.file.as_str());
    html! {
        section.panel.lines aria-label=(format!("lines of {}", text::plain(file))) {
            p { (link::file(file)) }
            @for line in lines { (one(line)) }
        }
    }
}

fn one(line: &RejectedLine) -> Markup {
    html! {
        div.one {
            p {
                strong { "Line " (format::count(line.line)) } " " span.tag { (text::shown(&line.reason)) } " " (text::prose(&line.message)) " "
                span.muted { "· byte " (format::count(line.offset)) " of the file · " (format::bytes(line.length)) }
            }
            @match (&line.raw, &line.base64) {
                (Some(raw), _) => (excerpt(raw, mark(&line.message))),
                (None, Some(base64)) => { p.muted { "The line is not UTF-8; in base64:" } pre tabindex="0" { (cut(base64)) } },
                (None, None) => {},
            }
        }
    }
}

fn cut(text: &str) -> String {
    let cut: String = text.chars().take(2 * AROUND).collect();
    if cut.len() < text.len() { cut + " …" } else { cut }
}

/// Offset of the byte in the line that an error message names, from 0.
pub(super) fn mark(message: &str) -> Option<usize> {
    let (_, after) = message.split_once("at byte ")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// Part of the line around the mark, with the mark below. Symbols replace invisible characters, which keeps one
/// character per column.
pub(super) fn excerpt(raw: &str, mark: Option<usize>) -> Markup {
    let at = mark.map_or(0, |mark| raw.char_indices().take_while(|(index, _)| *index < mark).count());
    let from = at.saturating_sub(AROUND);
    let shown: String = raw.chars().skip(from).take(2 * AROUND).collect();
    let lead: String = raw.chars().skip(from).take(at - from).collect();
    let (before, behind) =
        (if from > 0 { "… " } else { "" }, if raw.chars().nth(from + 2 * AROUND).is_some() { " …" } else { "" });
    let column = before.chars().count() + text::plain(&lead).chars().count();
    html! {
        pre tabindex="0" {
            (before) (text::plain(&shown)) (behind)
            @if mark.is_some() { "\n" (" ".repeat(column)) span.s-bad { "^" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_the_byte() {
        assert_eq!(mark("expected `,` or `}`, at byte 8 of the line"), Some(7));
        assert_eq!(mark("longer than 5 bytes"), None);
        let html = excerpt("{\"a\":1 x}", Some(7)).into_string();
        assert!(html.contains("\n       <span class=\"s-bad\">^"), "{html}");
        let html = excerpt("é\x1b{x", Some(4)).into_string();
        assert!(html.contains("é␛{x\n   <span"), "bytes are not columns: {html}");
    }

    #[test]
    fn a_long_line_is_shown_around_the_mark() {
        let raw = format!("{}!{}", "a".repeat(5_000), "b".repeat(5_000));
        let html = excerpt(&raw, Some(5_000)).into_string();
        assert!(html.len() < 900 && html.contains("a!b"), "{}", html.len());
    }
}
