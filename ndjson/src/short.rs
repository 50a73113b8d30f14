//! Copies of short texts.

/// Appends `bytes[start..end]`, which is usually short.
#[inline(always)]
pub fn push_text(text: &mut Vec<u8>, bytes: &[u8], start: usize, end: usize) {
    const SHORT: usize = 16;
    let length = end - start;
    match bytes[start..].first_chunk::<SHORT>().filter(|_| length <= SHORT) {
        // Copying sixteen bytes takes a single instruction.
        Some(chunk) => {
            let kept = text.len() + length;
            text.extend_from_slice(chunk);
            text.truncate(kept);
        }
        None => text.extend_from_slice(&bytes[start..end]),
    }
}
