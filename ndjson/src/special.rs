//! Bytes at which the text of a JSON string does not go on as it stands.

/// Position of the next quote, backslash or control character from `at` on, or the end of `bytes`.
#[inline(always)]
pub(crate) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let offset = first_special(chunk);
        if offset < 16 {
            return at + offset;
        }
        at += 16;
    }
    while bytes.get(at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)) {
        at += 1;
    }
    at
}

/// Index of the first quote, backslash or control character in sixteen bytes, or 16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn first_special(chunk: &[u8; 16]) -> usize {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: SSE2 is part of every x86-64 processor, and the load reads the sixteen bytes of `chunk`.
    let mask = unsafe {
        let v = _mm_loadu_si128(chunk.as_ptr().cast::<__m128i>());
        let quote = _mm_cmpeq_epi8(v, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control))
    };
    (mask | 0x1_0000).trailing_zeros() as usize
}

/// Index of the first quote, backslash or control character in sixteen bytes, or 16.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn first_special(chunk: &[u8; 16]) -> usize {
    chunk.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(16)
}
