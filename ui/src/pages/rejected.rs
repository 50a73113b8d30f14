//! Rejected lines of a run, each with a mark below the byte at which it stopped to be JSON.

use crate::format;
use crate::parts::{copy, link};
use crate::text;
use maud::{Markup, html};
use millwork_api::RejectedLine;
use millwork_manifest::{DatePrefix, ObjectUri};
use std::collections::BTreeMap;

/// Characters of a line that are shown before and behind the mark.
const AROUND: usize = 160;

/// Content of a page of a file of rejected lines.
pub struct RejectedPage<'a> {
    /// Address of the file.
    pub place: &'a str,
    /// Lines in it.
    pub all: u64,
    /// Lines that were read for this page.
    pub lines: &'a [RejectedLine],
    /// Path and query of the page of those that follow.
    pub next: Option<&'a str>,
    /// Path of the first page, if this is another.
    pub first: Option<&'a str>,
}

/// The lines.
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
        @for line in page.lines { (one(line)) }
        nav.pager aria-label="Pages of the lines" {
            span.muted { (format::counted(page.lines.len() as u64, "line")) " on this page" }
            span.push {}
            @if let Some(first) = page.first { a.button.quiet href=(first) { "⇤ first" } }
            @if let Some(next) = page.next { a.button rel="next" data-key="n" href=(next) { "more →" } }
        }
        (put_back(page.place))
    }
}

/// The way of mended lines into the output: a new file of the date. The rows that are there already are in no line of it.
fn put_back(place: &str) -> Markup {
    let path = place.parse::<ObjectUri>().ok().and_then(|uri| uri.to_path());
    let read = match path {
        Some(path) => format!("cat {}", quoted(&path.display().to_string())),
        None => format!("aws s3 cp {} -", quoted(place)),
    };
    let command = format!("{read} | jq -r 'select(.raw != null) | .raw' > {}", mended(place));
    html! {
        section.panel aria-labelledby="put-back" {
            h2 id="put-back" { "Put mended lines back" }
            p { "All of them, as they stood: " code { (text::shown(place)) } (copy::button(place, "the address")) }
            ol.do {
                li { "Take the lines out: " (copy::command(&text::plain(&command))) }
                li { "Mend the lines in that file. The date in its name is that of its rows." }
                li { "Put it into the input, beside the other files. Only these lines are converted: the rows of this run stay as they are." }
                li { "A file below the least size is refused there: gather the lines of several runs in it, or submit it in a manifest of its own, with " code { "millwork submit" } "." }
            }
        }
    }
}

/// Name for the file of mended lines: that of the date of the run, which is the folder of its rejected lines.
fn mended(place: &str) -> String {
    let date = place.rsplit('/').nth(1).filter(|folder| folder.parse::<DatePrefix>().is_ok());
    format!("{}-mended.ndjson", date.unwrap_or("YYYY-MM-DD"))
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn one(line: &RejectedLine) -> Markup {
    html! {
        section.panel.lines aria-label=(format!("line {} of {}", line.line, line.file)) {
            p {
                (link::file(&line.file)) " "
                span.muted { "line " (format::count(line.line)) " · byte " (format::count(line.offset)) " · " (format::bytes(line.length)) }
            }
            p { span.tag { (text::shown(&line.reason)) } " " (text::prose(&line.message)) }
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

/// The byte of the line that a message names, from 0.
pub(super) fn mark(message: &str) -> Option<usize> {
    let (_, after) = message.split_once("at byte ")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// The line around the mark, and the mark below it. Signs stand for what cannot be seen, so that one column is one sign.
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
    fn the_lines_are_taken_from_where_they_are() {
        assert!(
            put_back("s3://q/it's.ndjson")
                .into_string()
                .contains(r"aws s3 cp &#39;s3://q/it&#39;\&#39;&#39;s.ndjson&#39; -")
                || put_back("s3://q/it's.ndjson").into_string().contains(r"aws s3 cp 's3://q/it'\''s.ndjson' -")
        );
        assert!(put_back("file:///q/a%20b.ndjson").into_string().contains("cat '/q/a b.ndjson' | jq"));
    }

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
