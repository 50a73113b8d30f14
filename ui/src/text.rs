//! Display of untrusted text: keys, ids, messages and lines.

use maud::{Markup, html};

/// Limit of characters of one text on a page; of longer ones, the rest is only counted. Keys of S3 have at most 1,024
/// bytes.
pub const MAX_SHOWN: usize = 2_000;

/// Text with visible symbols in place of control and formatting characters. Its direction is isolated: right-to-left
/// characters do not reorder the rest of the page.
pub fn shown(text: &str) -> Markup {
    let parts = parts(text);
    let more = text.chars().count().saturating_sub(MAX_SHOWN);
    html! {
        bdi {
            @for part in &parts {
                @match part {
                    Part::Plain(text) => (text),
                    Part::Sign(sign) => span.ctl { (sign) },
                }
            }
            @if more > 0 { span.muted { " … " (crate::format::count(more as u64)) " characters more" } }
        }
    }
}

/// First 240 characters of a text, to the end of a name that is among them: more than two lines of a list.
pub fn begun(text: &str) -> Markup {
    const MOST: usize = 240;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => {
            // A name is whole, so that its last part is.
            let is_open = !text[..end].matches('`').count().is_multiple_of(2);
            let rest = if is_open { text[end..].find('`').map_or(0, |rest| rest + 1) } else { 0 };
            html! { (brief(&text[..end + rest])) @if end + rest < text.len() { " …" } }
        }
        None => brief(text),
    }
}

/// A sentence as [`prose`] has it, in which addresses are shown by their last part; the whole is their title.
pub fn brief(text: &str) -> Markup {
    pieces(text, name)
}

/// The last part of an address; any other name as it is.
fn name(text: &str) -> Markup {
    match text.rsplit_once('/').filter(|(place, name)| place.contains("://") && !name.is_empty()) {
        Some((_, name)) => html! { code title=(plain(text)) { "…/" (shown(name)) } },
        None => html! { code { (shown(text)) } },
    }
}

/// Sentence with names between backticks, rendered as code.
pub fn prose(text: &str) -> Markup {
    pieces(text, |name| html! { code { (shown(name)) } })
}

/// A sentence, each name between backticks of which is drawn by `code`.
fn pieces(text: &str, code: fn(&str) -> Markup) -> Markup {
    let pieces: Vec<&str> = text.split('`').collect();
    // Unpaired backtick: part of a name, so the text is not split.
    if pieces.len().is_multiple_of(2) || text.len() > MAX_SHOWN {
        return shown(text);
    }
    html! {
        @for (index, piece) in pieces.iter().enumerate() {
            @if index % 2 == 1 { (code(piece)) } @else if !piece.is_empty() { (shown(piece)) }
        }
    }
}

/// Text formatted as by [`prose`], with the first letter in upper case unless the first word is a name.
pub fn sentence(text: &str) -> Markup {
    prose(&capital(text))
}

/// A sentence as [`sentence`] has it, with addresses as [`brief`] shows them.
pub fn brief_sentence(text: &str) -> Markup {
    brief(&capital(text))
}

fn capital(text: &str) -> String {
    let first_word = text.split(' ').next().unwrap_or_default();
    match first_word.chars().all(|letter| letter.is_ascii_lowercase() || letter == ',' || letter == ':') {
        true => text.get(..1).unwrap_or_default().to_uppercase() + text.get(1..).unwrap_or_default(),
        false => text.to_owned(),
    }
}

/// Text escaped as by [`shown`], without markup, for titles and attributes.
pub fn plain(text: &str) -> String {
    parts(text)
        .into_iter()
        .map(|part| match part {
            Part::Plain(text) => text,
            Part::Sign(sign) => sign,
        })
        .collect()
}

enum Part {
    Plain(String),
    Sign(String),
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut run = String::new();
    for character in text.chars().take(MAX_SHOWN) {
        match sign(character) {
            None => run.push(character),
            Some(sign) => {
                if !run.is_empty() {
                    parts.push(Part::Plain(std::mem::take(&mut run)));
                }
                parts.push(Part::Sign(sign));
            }
        }
    }
    if !run.is_empty() {
        parts.push(Part::Plain(run));
    }
    parts
}

/// Symbol for an invisible character; none for visible ones.
fn sign(character: char) -> Option<String> {
    let code = character as u32;
    match code {
        // Control pictures of Unicode.
        0x00..=0x1f => char::from_u32(0x2400 + code).map(String::from),
        0x7f => Some("\u{2421}".to_owned()),
        0x80..=0x9f
        | 0xad
        | 0x61c
        | 0x180e
        | 0x200b..=0x200f
        | 0x2028..=0x202e
        | 0x2060..=0x206f
        | 0xfeff
        | 0xfff9..=0xfffb
        | 0xe0000..=0xe007f => Some(format!("‹U+{code:04X}›")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_moves_or_becomes_markup() {
        let html = shown("a\u{202e}b\x1b[2J\0<script>\"'&").into_string();
        assert!(html.contains("‹U+202E›") && html.contains('␛') && html.contains('␀'), "{html}");
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"), "{html}");
        assert!(!html.contains(['\x1b', '\0', '\u{202e}']));
        assert_eq!(plain("a\tb\n"), "a␉b␊");
    }

    #[test]
    fn names_in_a_sentence_are_code() {
        let html = sentence("run `a<b>` failed: `input`").into_string();
        assert_eq!(
            html,
            "<bdi>Run </bdi><code><bdi>a&lt;b&gt;</bdi></code><bdi> failed: </bdi><code><bdi>input</bdi></code>"
        );
        assert_eq!(sentence("a`b").into_string(), shown("a`b").into_string());
        assert_eq!(sentence("`run` failed").into_string(), "<code><bdi>run</bdi></code><bdi> failed</bdi>");
        assert_eq!(sentence("part-1.ndjson: gone").into_string(), shown("part-1.ndjson: gone").into_string());
    }

    #[test]
    fn an_address_is_shown_by_its_name() {
        let html = brief_sentence("file `s3://in/f/a.gz` is cut").into_string();
        assert_eq!(html, "<bdi>File </bdi><code title=\"s3://in/f/a.gz\">…/<bdi>a.gz</bdi></code><bdi> is cut</bdi>");
        assert_eq!(brief("`a/b` and `s3://in/`").into_string(), prose("`a/b` and `s3://in/`").into_string());
    }

    #[test]
    fn a_line_of_a_list_has_the_beginning() {
        assert_eq!(begun("é").into_string(), shown("é").into_string());
        assert!(begun(&"é".repeat(5_000)).into_string().len() < 600);
    }

    #[test]
    fn what_is_too_long_is_counted() {
        let html = shown(&"x".repeat(1 << 20)).into_string();
        assert!(html.len() < 3_000 && html.contains("1,046,576 characters more"), "{}", html.len());
    }
}
