//! Strict scanner for the top level of a JSON object (RFC 8259).
//!
//! Finds the keys and the spans of their values, and validates everything else without building a tree: nested values
//! are checked and kept as text. Every line ends in a newline, which no JSON token may contain; it serves as a
//! sentinel, so that loops need no bounds check.

mod strings;

use super::numbers::skip_numbers;
use super::unescape::unescaped_is_longer;
use strings::string_end;

/// Limit of the nesting depth of objects and arrays, including the line's own object.
pub const MAX_DEPTH: u32 = 128;

/// Limit of a top-level key, in bytes after unescaping: 4 KiB. A key becomes a column name, of which plans, reports and
/// footers have many copies; longer keys are data.
pub const MAX_KEY_BYTES: usize = 4 << 10;

/// Limit of the top-level fields of a line, including repeated keys: 80,000, four times the limit of columns. All of
/// them are in memory at once, at 24 bytes each.
pub const MAX_FIELDS: usize = 80_000;

/// Kind of a value, by its conversion to text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `null`
    Null,
    /// Copied unchanged: a number, `true`, `false`, an object or an array.
    Verbatim,
    /// A string without escapes; the span excludes the quotes.
    Text,
    /// A string with escapes; the span excludes the quotes.
    Escaped,
}

/// A top-level key and the span of its value, as positions in the scanned bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Start of the key, after its quote.
    pub key_start: u32,
    /// End of the key, before its quote.
    pub key_end: u32,
    /// Start of the value.
    pub start: u32,
    /// End of the value.
    pub end: u32,
    /// True if the key has escapes.
    pub key_is_escaped: bool,
    /// Kind of the value.
    pub kind: ValueKind,
    /// Number of the key's spelling, if it is known.
    pub spelling: u32,
}

/// Kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Only white space.
    Blank,
    /// An object; its fields are in the list.
    Object,
}

/// Reason why a line is not a row, with the position of the defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Not JSON; with the expected token.
    Malformed(usize, &'static str),
    /// JSON, but not an object.
    NotAnObject(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep(usize),
    /// A top-level key longer than [`MAX_KEY_BYTES`]; with its length in the line, in bytes.
    KeyTooLong(usize, usize),
    /// More fields than [`MAX_FIELDS`].
    TooManyKeys(usize),
}

/// Number of array elements that are scanned singly before the vectorised search for numbers is tried.
const ELEMENTS_BETWEEN_LOOKS: u32 = 8;

type Step = Result<usize, Defect>;

/// Known keys of lines.
pub(crate) trait Keys {
    /// Number for an unknown key.
    const UNKNOWN: u32 = u32::MAX;

    /// Starts a new line.
    fn start_line(&mut self);

    /// The number of the expected next key, and the position after its colon, if that key is at `at`, with quotes and
    /// colon.
    fn expect(&mut self, bytes: &[u8], at: usize) -> Option<(u32, usize)>;

    /// Number of an unexpected key in its source form, or [`Self::UNKNOWN`].
    fn find(&mut self, key: &[u8], is_escaped: bool) -> u32;
}

/// Implementation without any known keys.
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

/// Scans the line that starts at `start`, and lists its fields. Returns its kind and the position of its newline.
///
/// `bytes` must contain a newline at or after `start`; the scan never reads beyond it.
pub fn scan_line(bytes: &[u8], start: usize, fields: &mut Vec<Field>) -> Result<(Scanned, usize), Defect> {
    scan_fields(bytes, start, fields, &mut NoKeys)
}

/// Scans as [`scan_line`], with numbers for known keys.
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

/// Reserves memory for more fields, up to the limit: the limit is then checked only when memory runs out.
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

/// Scans an unexpected key, up to the start of its value.
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

/// Refuses a key between the quotes at `at` and `end` that is too long after unescaping.
#[cold]
#[inline(never)]
fn check_long_key(bytes: &[u8], at: usize, end: usize, is_escaped: bool) -> Result<(), Defect> {
    let key = &bytes[at + 1..end];
    if is_escaped && !unescaped_is_longer(key, MAX_KEY_BYTES) {
        return Ok(());
    }
    Err(Defect::KeyTooLong(at, key.len()))
}

/// The byte at a position; beyond the end, the newline that ends every line.
#[inline(always)]
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(b'\n')
}

/// Skips JSON white space except the newline.
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

/// Skips a value of any kind inside `depth` containers.
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

/// Skips digits like [`skip_digits`], eight at once, for the fraction of a number, which usually has several.
#[inline(always)]
fn skip_many_digits(bytes: &[u8], at: usize) -> Step {
    let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) else { return skip_digits(bytes, at) };
    // XOR maps digits to 0 to 9. Adding then sets the highest bit of all larger bytes, at least up to the first one.
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
    // A minus sign is unpredictable, and therefore counted without a branch.
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

/// Skips an object or array with its contents, without recursion: one bit per open container tells which of the two it
/// is.
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
                        // Counted because a vectorised search only pays in long arrays, most of which contain numbers.
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

#[cfg(test)]
mod tests;
