//! Text of others, as a terminal may see it.

use std::fmt::Write as _;

/// A text in which nothing steers a terminal or a reader's eye: control characters, and those that change the direction of text or
/// end lines, are shown by their number.
pub(crate) fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            _ if letter.is_control() || is_direction(letter) => {
                // A `String` takes all that is written to it.
                let _ = match u32::from(letter) {
                    number @ ..0x80 => write!(safe, "\\x{number:02x}"),
                    number => write!(safe, "\\u{{{number:x}}}"),
                };
            }
            _ => safe.push(letter),
        }
    }
    safe
}

fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(shown("s3://in/\u{1b}[31mred\u{7}\0\u{9b}2J"), "s3://in/\\x1b[31mred\\x07\\x00\\u{9b}2J");
        assert_eq!(shown("a\nb\tc\r\u{202e}gnp"), "a\\nb\\tc\\r\\u{202e}gnp");
        assert_eq!(shown("öä 日本 👍"), "öä 日本 👍");
    }
}
