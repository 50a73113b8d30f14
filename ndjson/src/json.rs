//! A strict scanner for the top level of one JSON object (RFC 8259).
//!
//! It finds the keys and the spans of their values and validates all the rest without building anything: nested
//! values are checked and kept as they stand. It relies on every line ending in a newline, which no JSON token may
//! contain, so that no loop needs to know where the line ends.

use super::numbers::skip_numbers;
use super::unescape::{hex4, unescaped_is_longer};

/// Limit of the depth to which objects and arrays may nest, the line's own object included.
pub const MAX_DEPTH: u32 = 128;

/// Limit of a key of the line's own object, in bytes after unescaping: 4 KiB. It becomes the name of a column, of which plans, reports
/// and footers have many copies; longer ones are data.
pub const MAX_KEY_BYTES: usize = 4 << 10;

/// Limit of the fields of a line's own object, repeated keys included: 80,000, four for each column that there may be. All of them
/// are in memory at once, 24 bytes each.
pub const MAX_FIELDS: usize = 80_000;

/// Kind of a value, as far as its text in a column depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `null`
    Null,
    /// Kept as it stands in the source: a number, `true`, `false`, an object or an array.
    Verbatim,
    /// A string without escapes; the span is what is between the quotes.
    Text,
    /// A string with escapes; the span is what is between the quotes.
    Escaped,
}

/// A key of the line's object and where its value stands, as positions in the scanned bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Start of the key's text, after its quote.
    pub key_start: u32,
    /// End of the key's text, before its quote.
    pub key_end: u32,
    /// Start of the value's text.
    pub start: u32,
    /// End of the value's text.
    pub end: u32,
    /// True if the key has escapes.
    pub key_is_escaped: bool,
    /// Kind of the value.
    pub kind: ValueKind,
    /// The number of the key, if it is a known one.
    pub spelling: u32,
}

/// Kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// White space only.
    Blank,
    /// An object; its fields are in the list.
    Object,
}

/// Reason why a line is no row, with the position at which that was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Not JSON; the text says what was expected.
    Malformed(usize, &'static str),
    /// JSON, but not an object.
    NotAnObject(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep(usize),
    /// A key of the line's own object that is longer than [`MAX_KEY_BYTES`]; and its bytes as it stands in the line.
    KeyTooLong(usize, usize),
    /// More fields than [`MAX_FIELDS`].
    TooManyKeys(usize),
}

/// Number of elements of arrays that are scanned one by one before a look whether many numbers follow.
const ELEMENTS_BETWEEN_LOOKS: u32 = 8;

type Step = Result<usize, Defect>;

/// Knowledge of the keys that a line may have.
pub(crate) trait Keys {
    /// A key that is not known.
    const UNKNOWN: u32 = u32::MAX;

    /// A line begins.
    fn start_line(&mut self);

    /// The number of the key that is expected next, and the place after its colon, if that key stands at `at`, with its quotes and
    /// its colon.
    fn expect(&mut self, bytes: &[u8], at: usize) -> Option<(u32, usize)>;

    /// The number of a key that was not expected, as it stands in the source, or [`Self::UNKNOWN`].
    fn find(&mut self, key: &[u8], is_escaped: bool) -> u32;
}

/// Knows no keys.
struct NoKeys;

impl Keys for NoKeys {
    fn start_line(&mut self) {}

    fn expect(&mut self, _bytes: &[u8], _at: usize) -> Option<(u32, usize)> {
        None
    }

    fn find(&mut self, _key: &[u8], _is_escaped: bool) -> u32 {
        Self::UNKNOWN
    }
}

/// Scans the line that starts at `start`, listing its fields. Returns what it is and where its newline stands.
///
/// `bytes` must hold a newline at or after `start`; the scan never looks past it.
pub fn scan_line(bytes: &[u8], start: usize, fields: &mut Vec<Field>) -> Result<(Scanned, usize), Defect> {
    scan_fields(bytes, start, fields, &mut NoKeys)
}

/// [`scan_line`], with numbers for known keys.
pub(crate) fn scan_fields(
    bytes: &[u8],
    start: usize,
    fields: &mut Vec<Field>,
    keys: &mut impl Keys,
) -> Result<(Scanned, usize), Defect> {
    fields.clear();
    keys.start_line();
    let mut at = skip_space(bytes, start);
    match byte(bytes, at) {
        b'\n' => return Ok((Scanned::Blank, at)),
        b'{' => {}
        _ => {
            let after = skip_space(bytes, skip_value(bytes, at, 0)?);
            let whole = byte(bytes, after) == b'\n';
            return Err(if whole { Defect::NotAnObject(at) } else { trailing(after) });
        }
    }
    at = skip_space(bytes, at + 1);
    if byte(bytes, at) == b'}' {
        at += 1;
    } else {
        loop {
            at = field(bytes, at, fields, keys)?;
            match byte(bytes, at) {
                b',' => at = skip_space(bytes, at + 1),
                b'}' => {
                    at += 1;
                    break;
                }
                _ => return Err(Defect::Malformed(at, "expected `,` or `}`")),
            }
        }
    }
    at = skip_space(bytes, at);
    if byte(bytes, at) == b'\n' { Ok((Scanned::Object, at)) } else { Err(trailing(at)) }
}

fn trailing(at: usize) -> Defect {
    Defect::Malformed(at, "expected the end of the line")
}

/// Scans a member, `"key": value`, up to the `,` or `}` after it.
#[inline(always)]
fn field(bytes: &[u8], at: usize, fields: &mut Vec<Field>, keys: &mut impl Keys) -> Step {
    let mut field = Field {
        key_start: at as u32 + 1,
        key_end: 0,
        start: 0,
        end: 0,
        key_is_escaped: false,
        kind: ValueKind::Verbatim,
        spelling: 0,
    };
    let value = match keys.expect(bytes, at) {
        Some((spelling, after)) => {
            field.spelling = spelling;
            field.key_end = after as u32 - 2;
            after
        }
        None => key(bytes, at, &mut field, keys)?,
    };
    let at = skip_space(bytes, value);
    field.start = at as u32;
    let after = match byte(bytes, at) {
        b'"' => {
            let (end, is_escaped) = string_end(bytes, at + 1)?;
            field.start = at as u32 + 1;
            field.end = end as u32;
            field.kind = if is_escaped { ValueKind::Escaped } else { ValueKind::Text };
            end + 1
        }
        b'n' => {
            let end = literal(bytes, at, b"null")?;
            field.end = end as u32;
            field.kind = ValueKind::Null;
            end
        }
        _ => {
            let end = skip_value(bytes, at, 1)?;
            field.end = end as u32;
            end
        }
    };
    if fields.len() == fields.capacity() {
        make_room(fields, field.key_start as usize - 1)?;
    }
    fields.push(field);
    Ok(skip_space(bytes, after))
}

/// Makes room for more fields, never for more than there may be: so nothing is compared with the limit as long as there is room.
#[cold]
#[inline(never)]
fn make_room(fields: &mut Vec<Field>, at: usize) -> Result<(), Defect> {
    let (count, wanted) = (fields.len(), (fields.len() * 2).clamp(16, MAX_FIELDS));
    if wanted <= count {
        return Err(Defect::TooManyKeys(at));
    }
    fields.reserve_exact(wanted - count);
    Ok(())
}

/// A key that was not expected, up to what is after its colon.
fn key(bytes: &[u8], at: usize, field: &mut Field, keys: &mut impl Keys) -> Step {
    if byte(bytes, at) != b'"' {
        return Err(Defect::Malformed(at, "expected a key"));
    }
    let (end, is_escaped) = string_end(bytes, at + 1)?;
    field.key_end = end as u32;
    field.key_is_escaped = is_escaped;
    if end - at - 1 > MAX_KEY_BYTES {
        check_long_key(bytes, at, end, is_escaped)?;
    }
    let colon = skip_space(bytes, end + 1);
    if byte(bytes, colon) != b':' {
        return Err(Defect::Malformed(colon, "expected `:`"));
    }
    field.spelling = keys.find(&bytes[at + 1..end], is_escaped);
    Ok(colon + 1)
}

/// Refuses a key whose text stands between the quotes at `at` and `end` if it is too long once it is unescaped.
#[cold]
#[inline(never)]
fn check_long_key(bytes: &[u8], at: usize, end: usize, is_escaped: bool) -> Result<(), Defect> {
    let key = &bytes[at + 1..end];
    if is_escaped && !unescaped_is_longer(key, MAX_KEY_BYTES) {
        return Ok(());
    }
    Err(Defect::KeyTooLong(at, key.len()))
}

/// The byte at a position; past the end, the newline that ends every line.
#[inline(always)]
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(b'\n')
}

/// Skips JSON white space other than the newline.
#[inline(always)]
fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    if byte(bytes, at) > b' ' {
        return at;
    }
    while matches!(byte(bytes, at), b' ' | b'\t' | b'\r') {
        at += 1;
    }
    at
}

/// Skips a value of any kind that stands inside `depth` containers.
#[inline(always)]
fn skip_value(bytes: &[u8], at: usize, depth: u32) -> Step {
    match byte(bytes, at) {
        b'{' | b'[' => skip_container(bytes, at, depth),
        _ => skip_scalar(bytes, at),
    }
}

#[inline(always)]
fn skip_scalar(bytes: &[u8], at: usize) -> Step {
    match byte(bytes, at) {
        b'"' => string_end(bytes, at + 1).map(|(end, _)| end + 1),
        b'-' | b'0'..=b'9' => skip_number(bytes, at),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        _ => Err(Defect::Malformed(at, "expected a value")),
    }
}

#[inline(always)]
fn literal(bytes: &[u8], at: usize, text: &'static [u8]) -> Step {
    let end = at + text.len();
    if bytes.get(at..end) == Some(text) { Ok(end) } else { Err(Defect::Malformed(at, "expected a value")) }
}

#[inline(always)]
fn skip_digits(bytes: &[u8], at: usize) -> Step {
    let mut end = at;
    while byte(bytes, end).is_ascii_digit() {
        end += 1;
    }
    if end > at { Ok(end) } else { Err(Defect::Malformed(at, "expected a digit")) }
}

/// [`skip_digits`], eight at once: the digits of a fraction are more than a few, and of any number.
#[inline(always)]
fn skip_many_digits(bytes: &[u8], at: usize) -> Step {
    let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) else { return skip_digits(bytes, at) };
    // Digits become 0 to 9. What is more has its highest bit set then, up to the first one at least.
    let digits = u64::from_le_bytes(*chunk) ^ 0x3030_3030_3030_3030;
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    match others.trailing_zeros() / 8 {
        0 => Err(Defect::Malformed(at, "expected a digit")),
        8 => skip_digits(bytes, at + 8).or(Ok(at + 8)),
        count => Ok(at + count as usize),
    }
}

#[inline(always)]
pub(super) fn skip_number(bytes: &[u8], mut at: usize) -> Step {
    // A sign is as likely as not: counted without a branch.
    at += usize::from(byte(bytes, at) == b'-');
    let first = at;
    at = skip_digits(bytes, at)?;
    if at > first + 1 && byte(bytes, first) == b'0' {
        return Ok(first + 1);
    }
    if byte(bytes, at) == b'.' {
        at = skip_many_digits(bytes, at + 1)?;
    }
    if matches!(byte(bytes, at), b'e' | b'E') {
        at += 1;
        if matches!(byte(bytes, at), b'+' | b'-') {
            at += 1;
        }
        at = skip_digits(bytes, at)?;
    }
    Ok(at)
}

/// Skips an object or array with all that is in it, without recursion: one bit per open container says which of
/// the two it is.
fn skip_container(bytes: &[u8], start: usize, outer_depth: u32) -> Step {
    enum Next {
        Key,
        Value,
        After,
    }
    let mut open: u128 = 0;
    let mut depth = outer_depth;
    let mut at = start;
    let mut next = Next::Value;
    let mut elements = 0u32;
    loop {
        match next {
            Next::Key => {
                if byte(bytes, at) != b'"' {
                    return Err(Defect::Malformed(at, "expected a key"));
                }
                at = skip_space(bytes, string_end(bytes, at + 1)?.0 + 1);
                if byte(bytes, at) != b':' {
                    return Err(Defect::Malformed(at, "expected `:`"));
                }
                at = skip_space(bytes, at + 1);
                next = Next::Value;
            }
            Next::Value => {
                let first = byte(bytes, at);
                if first != b'{' && first != b'[' {
                    at = skip_scalar(bytes, at)?;
                    next = Next::After;
                    continue;
                }
                if depth >= MAX_DEPTH {
                    return Err(Defect::TooDeep(at));
                }
                let is_object = first == b'{';
                depth += 1;
                open = (open << 1) | u128::from(is_object);
                at = skip_space(bytes, at + 1);
                next = match (byte(bytes, at), is_object) {
                    (b'}', true) | (b']', false) => Next::After,
                    (_, true) => Next::Key,
                    (_, false) => Next::Value,
                };
            }
            Next::After => {
                at = skip_space(bytes, at);
                match (byte(bytes, at), open & 1 == 1) {
                    (b',', true) => {
                        at = skip_space(bytes, at + 1);
                        next = Next::Key;
                    }
                    (b',', false) => {
                        at = skip_space(bytes, at + 1);
                        // Few arrays are so long that a look at much of them at once pays; of those, most hold numbers.
                        elements += 1;
                        if elements.is_multiple_of(ELEMENTS_BETWEEN_LOOKS) {
                            at = skip_space(bytes, skip_numbers(bytes, at));
                        }
                        next = Next::Value;
                    }
                    (b'}', true) | (b']', false) => {
                        at += 1;
                        depth -= 1;
                        open >>= 1;
                        if depth == outer_depth {
                            return Ok(at);
                        }
                    }
                    (_, true) => return Err(Defect::Malformed(at, "expected `,` or `}`")),
                    (_, false) => return Err(Defect::Malformed(at, "expected `,` or `]`")),
                }
            }
        }
    }
}

/// Finds the end of the string whose text starts at `at`, and tells whether it has escapes.
#[inline(always)]
fn string_end(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Defect> {
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
// Strings without escapes are to be short work.
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

/// The position of the next quote, backslash or control character at or after `at`, or the end of `bytes`.
#[inline(always)]
pub(super) fn next_special(bytes: &[u8], mut at: usize) -> usize {
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

/// The index of the first quote, backslash or control character of sixteen bytes, or 16.
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

/// The index of the first quote, backslash or control character of sixteen bytes, or 16.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn first_special(chunk: &[u8; 16]) -> usize {
    chunk.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(16)
}

#[cfg(test)]
mod tests;
