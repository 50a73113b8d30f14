//! Formatting of numbers, times and names in sentences.

use chrono::{DateTime, Duration, Utc};
use std::fmt::Write as _;

/// Limit of a name or message within a sentence, in characters: 400. Longer ones are shortened in the
/// middle, where they differ least.
const MAX_SHOWN_CHARS: usize = 400;

/// Escapes untrusted text for terminals, logs and pages: control characters and those that change the direction of text
/// become `\xNN` or `\u{NNNN}`; long text is shortened in the middle.
pub fn shown(text: &str) -> String {
    let count = text.chars().count();
    let mut safe = String::with_capacity(text.len().min(4 * MAX_SHOWN_CHARS));
    let half = MAX_SHOWN_CHARS / 2;
    for (i, character) in text.chars().enumerate() {
        if count > MAX_SHOWN_CHARS && i == half {
            safe.push('…');
        }
        if count > MAX_SHOWN_CHARS && (half..count - half).contains(&i) {
            continue;
        }
        push_safe(&mut safe, character);
    }
    safe
}

fn push_safe(safe: &mut String, character: char) {
    let is_format =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    // Writing to a string cannot fail.
    let _ = match character {
        _ if character.is_control() && u32::from(character) < 0x80 => write!(safe, "\\x{:02x}", u32::from(character)),
        _ if character.is_control() || is_format => write!(safe, "\\u{{{:x}}}", u32::from(character)),
        _ => write!(safe, "{character}"),
    };
}

/// Quotes a name within a sentence.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}

/// Quotes a word for a shell, if necessary.
pub fn shell_word(text: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | '@' | '%' | '+');
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) {
        // Control characters can be expressed only in `$'…'`.
        let escaped: String = text.chars().fold(String::new(), |mut done, c| {
            match c {
                '\'' | '\\' => done.extend(['\\', c]),
                c => push_safe(&mut done, c),
            }
            done
        });
        return format!("$'{escaped}'");
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A number with commas between thousands.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun, in the plural unless it is 1.
pub fn many(value: u64, noun: &str) -> String {
    let s = if value == 1 { "" } else { "s" };
    format!("{} {noun}{s}", number(value))
}

/// A size in units of 1024.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    // A size that would be rounded to 1024.0 is shown as 1.0 of the next unit.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// A duration, at least 0.
pub fn span(span: Duration) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A time in UTC: without the date on the day of `now`, else with it.
pub fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let form = if at.date_naive() == now.date_naive() { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    at.format(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_can_do_nothing_to_a_terminal() {
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}é\u{9b}"), "a\\x1b[2J\\x0a\\u{202e}é\\u{9b}");
        let long = shown(&format!("begin{}end", "é".repeat(10_000)));
        assert!(long.starts_with("begin") && long.ends_with("end") && long.contains('…'));
        assert_eq!(long.chars().count(), MAX_SHOWN_CHARS + 1);
    }

    #[test]
    fn sizes_have_one_unit() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3_670_016, "3.5 MiB"),
            (1_048_575, "1.0 MiB"),
            (3_758_096_384, "3.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn commands_hold_any_name() {
        assert_eq!(shell_word("s3://in/f1/2025-12-23-a.ndjson"), "s3://in/f1/2025-12-23-a.ndjson");
        assert_eq!(shell_word("s3://in/it's $(x).ndjson"), "'s3://in/it'\\''s $(x).ndjson'");
        assert_eq!(shell_word("a\u{1b}'b"), "$'a\\x1b\\'b'");
    }

    #[test]
    fn numbers_are_as_people_write_them() {
        assert_eq!([number(0), number(999), number(1_203_441)], ["0", "999", "1,203,441"]);
        assert_eq!([many(1, "file"), many(0, "file"), many(2_000, "file")], ["1 file", "0 files", "2,000 files"]);
        assert_eq!([bytes(12), bytes(1 << 20), bytes(u64::MAX)], ["12 B", "1.0 MiB", "16384.0 PiB"]);
        let spans = [-5, 119, 120, 7_200, 172_800].map(|s| span(Duration::seconds(s)));
        assert_eq!(spans, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
