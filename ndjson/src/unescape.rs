//! Unescaping of JSON strings.

use crate::short::push_text;
use crate::special::next_special;

/// Appends the text of a string whose escapes the scanner has validated. Returns the number of lone surrogates replaced
/// by U+FFFD.
pub fn unescape(source: &[u8], into: &mut Vec<u8>) -> u64 {
    let (mut replaced, mut at) = (0, 0);
    while at < source.len() {
        if source[at] != b'\\' {
            // The string contains no unescaped quotes or control characters, so that only backslashes are found.
            let plain = next_special(source, at + 1);
            push_text(into, source, at, plain);
            at = plain;
            continue;
        }
        match source.get(at + 1) {
            Some(b'u') => {
                let (consumed, character) = unicode_escape(&source[at..]);
                replaced += u64::from(character.is_none());
                push_char(into, character.unwrap_or(char::REPLACEMENT_CHARACTER));
                at += consumed;
            }
            Some(letter) => {
                into.push(simple_escape(*letter));
                at += 2;
            }
            None => break,
        }
    }
    replaced
}

/// Tells whether a string is longer than `limit` bytes after unescaping. Memory is bounded by `limit` as well.
pub(super) fn unescaped_is_longer(source: &[u8], limit: usize) -> bool {
    if source.len() > limit.saturating_mul(LONGEST_ESCAPE) {
        return true;
    }
    let mut text = Vec::new();
    unescape(source, &mut text);
    text.len() > limit
}

/// Length of an escape such as `\u0041`, which can stand for one byte.
const LONGEST_ESCAPE: usize = 6;

/// Byte for a backslash followed by this letter.
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

#[inline(always)]
fn push_char(into: &mut Vec<u8>, character: char) {
    let mut utf8 = [0; 4];
    let kept = into.len() + character.encode_utf8(&mut utf8).len();
    // Copying four bytes takes a single instruction.
    into.extend_from_slice(&utf8);
    into.truncate(kept);
}

/// Length of the escape at the start of `text`, and its character; `None` for a lone surrogate.
#[inline(always)]
fn unicode_escape(text: &[u8]) -> (usize, Option<char>) {
    let first = hex4(&text[2..]).unwrap_or(0);
    let is_high_surrogate = (0xd800..0xdc00).contains(&first);
    let second = text.get(6..).filter(|next| is_high_surrogate && next.starts_with(b"\\u"));
    match second.and_then(|next| hex4(&next[2..])) {
        Some(low) if (0xdc00..0xe000).contains(&low) => {
            (12, char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)))
        }
        _ => (6, char::from_u32(first)),
    }
}

/// Value of each byte as a hexadecimal digit; [`NO_DIGIT`] for other bytes.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value];
        digits[digit as usize] = value as u8;
        digits[digit.to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

/// Number formed by the four hexadecimal digits at the start of `text`.
#[inline(always)]
pub(super) fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.first_chunk::<4>()?.map(|digit| DIGITS[usize::from(digit)]);
    let [a, b, c, d] = digits.map(u32::from);
    let are_digits = a | b | c | d < 16;
    are_digits.then_some(a << 12 | b << 8 | c << 4 | d)
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
