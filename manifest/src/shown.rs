//! Text from outside, as it is shown.

use std::borrow::Cow;

/// Tells whether a character is shown escaped: a control, or one that changes the direction of text or ends a line of it.
pub(crate) fn is_unsafe(character: char) -> bool {
    let is_format = matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || is_format
}

/// Text that may hold names from outside, for a terminal or a table: what could move a cursor or forge a line is escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let escaped = |character: char| match is_unsafe(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(text.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_steers_is_escaped() {
        assert_eq!(printable("s3://b/ü \\ 😀"), "s3://b/ü \\ 😀");
        assert_eq!(printable("a\n\u{1b}[31m\u{202e}\u{9b}"), "a\\n\\u{1b}[31m\\u{202e}\\u{9b}");
    }
}
