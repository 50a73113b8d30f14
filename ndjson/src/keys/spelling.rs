//! Spellings of keys, recognised at a glance.

/// A spelling of a key in the input.
pub(super) struct Spelling {
    /// The key as written in lines, for recognising later occurrences.
    pub(super) token: Token,
    pub(super) has_come: bool,
    pub(super) key: Box<[u8]>,
    /// The two spellings that most recently followed this one.
    pub(super) next: [u32; 2],
}

/// A key with its quotes and colon, in words for a fast comparison.
pub(super) struct Token {
    words: [u128; 2],
    masks: [u128; 2],
    /// Length; zero for a key that is too long, or never written in this form.
    pub(super) length: usize,
}

impl Token {
    const MAX_BYTES: usize = 32;
    /// Token that never matches.
    pub(super) const NONE: Self = Self { words: [0; 2], masks: [0; 2], length: 0 };

    pub(super) fn new(key: &[u8]) -> Self {
        let text = [b"\"", key, b"\":"].concat();
        let is_plain = !key.iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        let mut token = Self::NONE;
        if is_plain && text.len() <= Self::MAX_BYTES {
            token.length = text.len();
            for (at, byte) in text.iter().enumerate() {
                token.words[at / 16] |= u128::from(*byte) << (at % 16 * 8);
                token.masks[at / 16] |= 0xff << (at % 16 * 8);
            }
        }
        token
    }

    /// Tells whether this key is at `at`, with its quotes and colon.
    #[inline(always)]
    pub(super) fn stands_at(&self, bytes: &[u8], at: usize) -> bool {
        let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<{ Self::MAX_BYTES }>) else { return false };
        let word = |at: usize| chunk[at..].first_chunk().map_or(0, |chunk| u128::from_le_bytes(*chunk));
        let difference = (word(0) & self.masks[0]) ^ self.words[0] | (word(16) & self.masks[1]) ^ self.words[1];
        difference == 0 && self.length > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_quotes_is_no_token() {
        assert_eq!(Token::new(b"a\"b").length, 0);
        let padded = [b"\"key\": 1}".as_slice(), &[b' '; 32]].concat();
        assert!(Token::new(b"key").stands_at(&padded, 0) && !Token::new(b"ke").stands_at(&padded, 0));
    }
}
