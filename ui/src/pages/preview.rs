//! Preview page of a file in parts: each line with its validity, and a mark below the first invalid byte.

use super::rejected::{excerpt, mark};
use crate::format;
use crate::frame::{Right, Viewer};
use crate::parts::{copy, link, state};
use crate::text;
use maud::{Markup, html};
use millwork_api::{File, FilePreview, PreviewLine};
use millwork_manifest::FileState;

/// Content of the page.
pub struct PreviewPage<'a> {
    /// User that the page is rendered for.
    pub viewer: &'a Viewer,
    /// File to preview.
    pub file: &'a File,
    /// Part of the file to show.
    pub piece: &'a FilePreview,
    /// Offset of the part in the decompressed content, in bytes.
    pub from: u64,
    /// Path and query of this page.
    pub back: &'a str,
}

/// Renders the page.
pub fn page(page: &PreviewPage<'_>) -> Markup {
    let (file, piece) = (page.file, page.piece);
    html! {
        (head(file))
        @if let Some(reason) = &file.reason { div.banner.warn { strong { (file.state.as_str()) ": " } (text::shown(reason)) } }
        @if matches!(file.state, FileState::Quarantined | FileState::Failed) { (take_back(page)) }
        @if let Some(format) = &piece.other_format { div.banner.bad { (text::shown(format)) } }
        (contents(piece, page.from))
        @for line in &piece.lines { (one(line)) }
        @if let Some(trouble) = &piece.trouble { div.banner.warn role="status" { (text::shown(trouble)) } }
        nav.pager aria-label="Pieces of the file" {
            span.muted { (format::counted(piece.lines.len() as u64, "line")) " here" }
            span.push {}
            @if page.from > 0 { a.button.quiet href=(path(&file.uri, 0)) { "⇤ first" } }
            @if let Some(next) = piece.next { a.button rel="next" data-key="n" href=(path(&file.uri, next)) { "more →" } }
        }
    }
}

fn head(file: &File) -> Markup {
    let (place, name) = link::split(&file.uri);
    html! {
        div.head {
            p.kicker { (state::of_file(file.state)) span.muted { " file, in pieces" } }
            div.titled { h1.id { (text::shown(name)) } (copy::button(&file.uri, "the file's address")) }
            p.place { (text::shown(place)) }
            p { a href=(link::file_path(&file.uri)) { "Why it is as it is, and its story" } }
        }
    }
}

/// Sentence about the part of the file, with the number of its invalid lines.
fn contents(piece: &FilePreview, from: u64) -> Markup {
    let wrong = piece.lines.iter().filter(|line| line.reason.is_some()).count() as u64;
    html! {
        p.muted {
            (format::bytes(piece.size_bytes)) " in " code { (text::shown(&piece.uri)) } ". "
            @if piece.lines.is_empty() { "Nothing is in it from here on." }
            @else {
                "Here: " (format::counted(piece.lines.len() as u64, "line")) " from byte " (format::count(from)) " on, "
                @if piece.other_format.is_some() { "none of which could be a row." }
                @else if wrong == 0 { "none of which is wrong." }
                @else { strong.s-bad { (format::count(wrong)) " of which would be rejected" } "." }
            }
        }
    }
}

/// Path of the preview of a file from a byte offset on.
pub fn path(uri: &str, from: u64) -> String {
    let from = (from > 0).then(|| from.to_string());
    link::query("/ui/preview", &[("uri", Some(uri)), ("from", from.as_deref())])
}

/// Button that creates a plan to take back the file. The plan tells if the present rules accept it.
fn take_back(page: &PreviewPage<'_>) -> Markup {
    html! {
        form.actions method="post" action="/ui/plans" {
            input type="hidden" name="back" value=(page.back);
            input type="hidden" name="file" value=(page.file.uri);
            @if page.viewer.right >= Right::Operate { button type="submit" name="action" value="redrive" { "Take back…" } }
            @else { span.action.off aria-disabled="true" role="button" { "Take back" span.reason { ": needs the role operate" } } }
            span.muted { "A plan shows first whether the rules accept it by now." }
        }
    }
}

fn one(line: &PreviewLine) -> Markup {
    let defect = line.reason.as_deref().zip(line.message.as_deref());
    let at = defect
        .and_then(|(_, message)| mark(message))
        .and_then(|at| at.checked_sub(usize::try_from(line.cut_before).ok()?));
    let body = html! {
        p {
            @if let Some((reason, message)) = defect { span.s-bad { (state::sign(state::Sign::Cross)) } " " span.tag { (text::shown(reason)) } " " (text::prose(message)) " " }
            span.muted { "byte " (format::count(line.offset)) " · " (format::bytes(line.length)) @if line.cut_before > 0 { " · shown from byte " (format::count(line.cut_before)) " of the line" } }
        }
        (excerpt(&line.text, at))
    };
    // Landmark only for invalid lines: users of screen readers navigate between these.
    html! {
        @if defect.is_some() { section.lines.panel aria-label=(format!("line at byte {}", line.offset)) { (body) } }
        @else { div.lines.plain { (body) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_a_line_that_is_cut_counts_from_the_cut() {
        let line = PreviewLine {
            offset: 7,
            length: 99_999,
            text: "{\"a\" x}".to_owned(),
            cut_before: 50_000,
            reason: Some("malformed".to_owned()),
            message: Some("expected `:`, at byte 50006 of the line".to_owned()),
        };
        let html = one(&line).into_string();
        assert!(html.contains("\n     <span class=\"s-bad\">^"), "{html}");
        let fine = PreviewLine { reason: None, message: None, cut_before: 0, ..line };
        assert!(!one(&fine).into_string().contains('^'));
    }
}
