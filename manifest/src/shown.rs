//! Display of untrusted text.

use std::borrow::Cow;

/// Tells whether a character must be escaped: control characters, and those that change the direction of text or break
/// lines.
pub(crate) fn is_unsafe(character: char) -> bool {
    let is_format = matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || is_format
}

/// Escapes untrusted text for a terminal or a table, so that it cannot move the cursor or forge lines.
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
