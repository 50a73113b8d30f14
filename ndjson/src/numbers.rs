//! Vectorised skipping of arrays of numbers, such as embeddings and time series, 64 bytes at a time.
//!
//! Each rule of RFC 8259, section 6, concerns a byte and its predecessor, except for the ends of digit runs, which an
//! addition finds: its carry passes through all digits of a run. Each rule thus takes a few operations on words
//! with one bit per byte.

/// Number of bytes that are processed at once.
const WINDOW: usize = 64;

/// Skips numbers from the start of a value in an array. Returns the start of a later value, before which there are only
/// numbers, each followed by a comma and at most one space. May return the given position, even if a number follows.
pub(super) fn skip_numbers(bytes: &[u8], mut at: usize) -> usize {
    while let Some(window) = bytes.get(at..).and_then(<[u8]>::first_chunk::<WINDOW>) {
        let end = numbers_end(window);
        if end == 0 {
            return at;
        }
        at += end;
        at += usize::from(bytes.get(at) == Some(&b' '));
    }
    at
}

/// End of the last number of a window that is followed by a comma, including the comma; 0 if there is none. The window
/// begins with a value.
#[inline(always)]
fn numbers_end(window: &[u8; WINDOW]) -> usize {
    let Classes { digits, zeros, dots, minuses, commas } = Classes::of(window);
    let others = !(digits | dots | minuses | commas);
    let is = |byte| within(window, byte, byte);
    // Most numbers have no exponent and no space before them.
    let (exponents, pluses, spaces) = match others {
        0 => (0, 0, 0),
        _ => (is(b'e') | is(b'E'), is(b'+'), is(b' ')),
    };
    // Positions where a value must begin, and where digits must follow a dot, an exponent, or nothing.
    let values = ((commas << 1 | 1) & !spaces) | spaces << 1;
    let fractions = dots << 1;
    let signs = (minuses | pluses) & exponents << 1;
    let powers = ((exponents << 1) | (signs << 1)) & digits;
    let wholes = (values | (minuses & values) << 1) & digits;
    let ends_of = |starts: u64| digits.wrapping_add(starts) & !digits;
    let wrong = (others & !(exponents | pluses | spaces))
        | values & !(digits | minuses)
        | minuses & !(values | exponents << 1)
        | pluses & !(exponents << 1)
        | spaces & !(commas << 1)
        | (dots | exponents | commas) & !(digits << 1)
        | (minuses << 1 | pluses << 1 | fractions) & !digits
        | exponents << 1 & !(digits | minuses | pluses)
        | ends_of(fractions & digits) & !(commas | exponents)
        | ends_of(powers) & !commas
        // A leading zero may not be followed by another digit.
        | (wholes & zeros) << 1 & digits;
    let right = commas & wrong.wrapping_sub(1) & !wrong;
    WINDOW - right.leading_zeros() as usize
}

/// Classes of the bytes of a window: one bit per byte, the lowest for the first.
struct Classes {
    digits: u64,
    zeros: u64,
    dots: u64,
    minuses: u64,
    commas: u64,
}

impl Classes {
    #[inline(always)]
    fn of(window: &[u8; WINDOW]) -> Self {
        Self {
            digits: within(window, b'0', b'9'),
            zeros: within(window, b'0', b'0'),
            dots: within(window, b'.', b'.'),
            minuses: within(window, b'-', b'-'),
            commas: within(window, b',', b','),
        }
    }
}

/// Bit mask of the bytes from `first` to `last`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn within(window: &[u8; WINDOW], first: u8, last: u8) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8, _mm_sub_epi8,
    };
    let bits_of = |at: usize| {
        // SAFETY: SSE2 is part of every x86-64 processor, and each load reads sixteen of the 64 bytes of `window`.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(window[at..at + 16].as_ptr().cast::<__m128i>());
            let above = _mm_sub_epi8(bytes, _mm_set1_epi8(first as i8));
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8((last - first) as i8)), above))
        };
        (mask as u64) << at
    };
    bits_of(0) | bits_of(16) | bits_of(32) | bits_of(48)
}

/// Bit mask of the bytes from `first` to `last`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn within(window: &[u8; WINDOW], first: u8, last: u8) -> u64 {
    (0..).zip(window).map(|(number, byte)| u64::from((first..=last).contains(byte)) << number).sum()
}

#[cfg(test)]
mod tests {
    use super::super::json::skip_number;
    use super::*;
    use proptest::prelude::*;

    /// Starts of values that follow numbers with commas, found byte by byte.
    fn starts(bytes: &[u8]) -> Vec<usize> {
        let mut starts = vec![0];
        while let Some(end) = starts.last().and_then(|start| skip_number(bytes, *start).ok())
            && bytes[end] == b','
        {
            starts.push(end + 1 + usize::from(bytes[end + 1] == b' '));
        }
        starts
    }

    /// Checks that the vectorised search agrees, and stops less than a window before the last start.
    fn check(text: &str) -> Result<(), TestCaseError> {
        let bytes = [text.as_bytes(), b"]\n"].concat();
        let (starts, found) = (starts(&bytes), skip_numbers(&bytes, 0));
        prop_assert!(starts.contains(&found), "{found} of {starts:?} in {text:?}");
        let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let is_near_end = found + WINDOW > bytes.len();
        let is_long = longest > WINDOW / 2;
        prop_assert!(is_near_end || is_long || starts.last() == Some(&found), "{found} of {starts:?} in {text:?}");
        Ok(())
    }

    #[test]
    fn each_rule_is_kept() {
        let fine = ["0", "-0", "12", "0.5", "-1.25", "1e5", "1E+05", "2.5e-07", "-0.0e0", "1234567890.0123456789"];
        let wrong = [
            "", "-", "--1", "+1", "01", "-01", "00", "1.", ".5", "-.5", "1.2.3", "1..2", "1e", "1e+", "1e-", "1ee5",
            "1e5e5", "1e5.5", "1e+-5", "1-", "1-2", "1e5-", "1+", "1 2", "  1", "1 ", "1x", "1.e5", "1.-5", "0x1",
            "\u{e9}", "1e05 ", "\t1",
        ];
        let around = ["3,", "0.25,", "-1e-05,", "7, "].map(|number| number.repeat(40));
        for (before, after) in around.iter().flat_map(|before| around.iter().map(move |after| (before, after))) {
            for value in fine {
                let bytes = [before, value, ",", after, "9]\n"].concat();
                let end = skip_numbers(bytes.as_bytes(), 0);
                assert!(end + WINDOW > bytes.len(), "{end} of {bytes:?}");
            }
            for value in wrong {
                let bytes = [before, value, ",", after, "9]\n"].concat();
                let end = skip_numbers(bytes.as_bytes(), 0);
                // A second space is left to the function that skips spaces.
                let is_spaced = value.starts_with(' ') && before.ends_with(',');
                assert!(end == before.len() || is_spaced && end == before.len() + 1, "{end} of {bytes:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn numbers_are_skipped_as_one_by_one(
            numbers in prop::collection::vec("-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?", 0..60),
            separator in ", ?",
            (at, with) in (any::<prop::sample::Index>(), "[-0-9.,eE+ x]{0,2}"),
        ) {
            let mut text = numbers.join(&separator);
            check(&text)?;
            if !text.is_empty() {
                let at = at.index(text.len());
                text.replace_range(at..at + 1, &with);
                check(&text)?;
            }
        }

        #[test]
        fn noise_is_skipped_as_one_by_one(text in "([-0-9.eE+ ]{0,5},){0,30}", few in "([-01.e]{1,3},){0,60}") {
            check(&text)?;
            check(&few)?;
        }
    }
}
