//! Date of a file.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A valid calendar day, written `YYYY-MM-DD`: the date of a file, of its manifest and of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatePrefix(NaiveDate);

/// Length of `YYYY-MM-DD`.
const LENGTH: usize = 10;

impl DatePrefix {
    /// Date in an object key: at the start of its file name, else the first one anywhere in the key.
    pub fn of_key(key: &str) -> Option<Self> {
        let file_name = key.rsplit('/').next().unwrap_or(key);
        Self::at(file_name.as_bytes(), 0).or_else(|| {
            let bytes = key.as_bytes();
            (0..bytes.len().saturating_sub(LENGTH - 1)).find_map(|i| Self::at(bytes, i))
        })
    }

    /// Date at the start of the file name in a key.
    pub fn of_file_name(key: &str) -> Option<Self> {
        Self::at(key.rsplit('/').next().unwrap_or(key).as_bytes(), 0)
    }

    /// Date in the ten characters at `start`, if they are a valid day.
    fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let text = bytes.get(start..start + LENGTH)?;
        let is_date = text.iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
        let number = |range: std::ops::Range<usize>| text[range].iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        if !is_date {
            return None;
        }
        NaiveDate::from_ymd_opt(number(0..4) as i32, number(5..7), number(8..10)).map(Self)
    }
}

impl From<NaiveDate> for DatePrefix {
    fn from(date: NaiveDate) -> Self {
        Self(date)
    }
}

impl fmt::Display for DatePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl FromStr for DatePrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::at(text.as_bytes(), 0)
            .filter(|_| text.len() == LENGTH)
            .ok_or_else(|| format!("`{text}` is not a calendar day written YYYY-MM-DD"))
    }
}

impl TryFrom<String> for DatePrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DatePrefix> for String {
    fn from(date: DatePrefix) -> Self {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> Option<String> {
        DatePrefix::of_key(key).map(|d| d.to_string())
    }

    #[test]
    fn the_start_of_the_file_name_wins_over_the_folder() {
        assert_eq!(of("date=2024-01-01/2025-12-23-a.ndjson").as_deref(), Some("2025-12-23"));
    }

    #[test]
    fn else_the_first_date_anywhere_in_the_key() {
        assert_eq!(of("in/date=2025-12-24/part-2025-12-25.ndjson").as_deref(), Some("2025-12-24"));
    }

    #[test]
    fn only_real_days_count() {
        assert_eq!(of("2025-02-30-a.ndjson"), None);
        assert_eq!(of("2025-02-30/x-2024-02-29.ndjson").as_deref(), Some("2024-02-29"));
        assert_eq!(of("20251223-a.ndjson"), None);
        assert_eq!(of("é2025-1"), None);
        assert!("2025-12-23x".parse::<DatePrefix>().is_err());
    }
}
