//! The text that a JSON string with escapes stands for.

use super::columns::push_text;

/// Appends the text of a string whose escapes the scanner has accepted. Returns how many lone surrogates were
/// replaced by U+FFFD.
pub fn unescape(source: &[u8], into: &mut Vec<u8>) -> u64 {
    let (mut replaced, mut at) = (0, 0);
    while let Some(plain) = memchr::memchr(b'\\', &source[at..]) {
        let backslash = at + plain;
        push_text(into, source, at, backslash);
        at = match source.get(backslash + 1) {
            Some(b'u') => {
                let (consumed, character) = unicode_escape(&source[backslash..]);
                replaced += u64::from(character.is_none());
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                (backslash + consumed).min(source.len())
            }
            Some(letter) => {
                into.push(simple_escape(*letter));
                backslash + 2
            }
            None => source.len(),
        };
    }
    push_text(into, source, at, source.len());
    replaced
}

/// What a backslash and this stand for.
#[inline(always)]
fn simple_escape(letter: u8) -> u8 {
    match letter {
        b'b' => 0x8,
        b'f' => 0xc,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

/// The length of the escape that `text` starts with, and its character; none for a lone surrogate.
fn unicode_escape(text: &[u8]) -> (usize, Option<char>) {
    let first = hex4(text);
    let is_high_surrogate = (0xd800..0xdc00).contains(&first);
    let second = text.get(6..).filter(|next| is_high_surrogate && next.starts_with(b"\\u")).map(hex4);
    match second {
        Some(low) if (0xdc00..0xe000).contains(&low) => {
            (12, char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)))
        }
        _ => (6, char::from_u32(first)),
    }
}

/// The four hexadecimal digits after `\u`.
fn hex4(text: &[u8]) -> u32 {
    let digits = text.get(2..6).unwrap_or_default();
    digits.iter().fold(0, |n, digit| n * 16 + char::from(*digit).to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(source: &str) -> (String, u64) {
        let mut into = Vec::new();
        let replaced = unescape(source.as_bytes(), &mut into);
        (String::from_utf8(into).unwrap(), replaced)
    }

    #[test]
    fn pairs_become_one_character_and_lone_surrogates_are_replaced() {
        assert_eq!(text(r"a\ud83d\ude00b"), ("a😀b".to_owned(), 0));
        assert_eq!(text(r"\ud800"), ("\u{fffd}".to_owned(), 1));
        assert_eq!(text(r"\ud800\u0041"), ("\u{fffd}A".to_owned(), 1));
        assert_eq!(text(r"\ud800\ud800\udc00"), ("\u{fffd}\u{10000}".to_owned(), 1));
        assert_eq!(text(r"\udc00x\uD800\n"), ("\u{fffd}x\u{fffd}\n".to_owned(), 2));
        assert_eq!(text(r"\u0000\/\\\u00E9"), ("\0/\\é".to_owned(), 0));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(source in r#"([a-z é]|\\["\\/bfnrt]|\\u[0-7][0-9a-fA-F]{3}){0,30}"#) {
            let oracle: String = serde_json::from_str(&format!("\"{source}\"")).unwrap();
            prop_assert_eq!(text(&source), (oracle, 0));
        }
    }
}
