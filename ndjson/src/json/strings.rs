//! Ends of strings.

use super::{Defect, Step, byte};
use crate::special::next_special;
use crate::unescape::hex4;

/// Finds the end of the string that starts at `at`, and tells whether it has escapes.
#[inline(always)]
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Defect> {
    let mut is_escaped = false;
    loop {
        at = next_special(bytes, at);
        match byte(bytes, at) {
            b'"' => return Ok((at, is_escaped)),
            b'\\' => {
                is_escaped = true;
                at = escapes_end(bytes, at)?;
            }
            b'\n' => return Err(Defect::Malformed(at, "the line ends inside a string")),
            _ => return Err(Defect::Malformed(at, "a control character inside a string must be escaped")),
        }
    }
}

/// Finds the end of escapes that follow each other at once.
// Not inlined, to keep the code for strings without escapes short.
#[inline(never)]
fn escapes_end(bytes: &[u8], mut at: usize) -> Step {
    while byte(bytes, at) == b'\\' {
        at = escape_end(bytes, at)?;
    }
    Ok(at)
}

#[inline(always)]
fn escape_end(bytes: &[u8], at: usize) -> Step {
    match byte(bytes, at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
        b'u' if hex4(&bytes[at + 2..]).is_some() => Ok(at + 6),
        b'u' => Err(Defect::Malformed(at, "expected four hexadecimal digits after `\\u`")),
        _ => Err(Defect::Malformed(at, "no such escape")),
    }
}
