//! Rules for accepting an arriving file.

use crate::{DatePrefix, MAX_OBJECT_BYTES};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Bytes per megabyte in the size rules (1024²).
const MB: f64 = 1024.0 * 1024.0;

/// Compression of a file, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// `.ndjson`
    None,
    /// `.ndjson.gz`: one or more gzip members (RFC 1952).
    Gzip,
    /// `.ndjson.zst`: one or more Zstandard frames (RFC 8878).
    Zstd,
}

impl Compression {
    /// Compression indicated by the extension of `key`; `None` for an unsupported extension.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| key.ends_with(compression.extension()))
    }

    /// Every compression.
    pub const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    /// End of the names of files of this compression.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => ".ndjson",
            Self::Gzip => ".ndjson.gz",
            Self::Zstd => ".ndjson.zst",
        }
    }

    /// Name of the format that files of this compression are stored in.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NDJSON",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Tells whether a file of this compression can be read from the middle.
    pub fn is_splittable(self) -> bool {
        self == Self::None
    }
}

/// Treatment of a file whose key has no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingDate {
    /// Quarantines the file.
    Quarantine,
    /// Assigns today's date, in UTC.
    Today,
}

impl FromStr for MissingDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "quarantine" => Ok(Self::Quarantine),
            "today" => Ok(Self::Today),
            _ => Err(format!("`{text}` is neither `quarantine` nor `today`")),
        }
    }
}

/// Rules for accepting a file. The defaults accept 0.1 to 19.9 MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileRules {
    /// Expected size of a file, in MiB.
    pub expected_file_size_mb: f64,
    /// Accepted deviation from the expected size in either direction, in percent.
    pub size_tolerance_percent: f64,
    /// Treatment of a file whose key has no date.
    pub missing_date: MissingDate,
}

impl Default for FileRules {
    fn default() -> Self {
        Self { expected_file_size_mb: 10.0, size_tolerance_percent: 99.0, missing_date: MissingDate::Quarantine }
    }
}

/// Reason for quarantining a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineReason {
    /// The extension is not `.ndjson`, `.ndjson.gz` or `.ndjson.zst`.
    BadExtension,
    /// The file is below the least accepted size.
    TooSmall,
    /// The file is above the largest accepted size.
    TooLarge,
    /// The key contains no calendar day.
    NoDate,
    /// The object does not exist, although it was announced or tracked.
    MissingObject,
}

/// Reason of a file that an operator refused, beside those of [`QuarantineReason`]: it stays refused in every listing, until its
/// content changes or an operator takes it back.
pub const BY_OPERATOR: &str = "by-operator";

impl QuarantineReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::BadExtension, Self::TooSmall, Self::TooLarge, Self::NoDate, Self::MissingObject];

    /// Name under which the reason is stored and shown, and of its folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadExtension => "bad-extension",
            Self::TooSmall => "too-small",
            Self::TooLarge => "too-large",
            Self::NoDate => "no-date",
            Self::MissingObject => "missing-object",
        }
    }
}

impl FromStr for QuarantineReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| {
            format!("`{text}` is no reason: files are refused for {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decision on an arriving file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The file can be converted, with this date.
    Accepted(DatePrefix),
    /// The file is refused for this reason; with its date, if the key has one.
    Quarantined(QuarantineReason, Option<DatePrefix>),
}

impl FileRules {
    /// Least and largest accepted size in bytes, both inclusive; limited to the largest possible object.
    pub fn size_bounds_bytes(&self) -> (u64, u64) {
        let share = self.size_tolerance_percent / 100.0;
        let low = (self.expected_file_size_mb * (1.0 - share)).max(0.0) * MB;
        let high = self.expected_file_size_mb * (1.0 + share) * MB;
        (low.ceil() as u64, (high.floor() as u64).min(MAX_OBJECT_BYTES))
    }

    /// Explains the refusal of a file of this size, and the remedy: with the size, the limit and the options.
    pub fn explain(&self, reason: QuarantineReason, size_bytes: u64) -> String {
        let (low, high) = self.size_bounds_bytes();
        let Self { expected_file_size_mb: expected, size_tolerance_percent: percent, .. } = self;
        let options = format!("--expected-file-size-mb {expected} and --size-tolerance-percent {percent}");
        match reason {
            QuarantineReason::BadExtension => {
                "its name ends in none of .ndjson, .ndjson.gz and .ndjson.zst; put it into the input again under a name that does, or keep it out"
                    .to_owned()
            }
            QuarantineReason::TooSmall => format!(
                "it has {size_bytes} bytes, less than the {low} that {options} ask for; raise the tolerance (100 takes any smaller \
                 file), then redrive it"
            ),
            QuarantineReason::TooLarge => format!(
                "it has {size_bytes} bytes, more than the {high} that {options} allow; raise one of them, then redrive it"
            ),
            QuarantineReason::NoDate => {
                "there is no day such as 2025-12-23 in its name or path; put it into the input again under a name with its day, or redrive it \
                 with --missing-date today"
                    .to_owned()
            }
            QuarantineReason::MissingObject => "it was announced or listed, and is not there; put it there again".to_owned(),
        }
    }

    /// Judges a file by its key and stored size. Checks the extension first, then the size, then the date.
    pub fn judge(&self, key: &str, size_bytes: u64, today: DatePrefix) -> Arrival {
        let date = DatePrefix::of_key(key);
        let refused = |reason| Arrival::Quarantined(reason, date);
        let (low, high) = self.size_bounds_bytes();
        if Compression::of_key(key).is_none() {
            return refused(QuarantineReason::BadExtension);
        }
        if size_bytes < low {
            return refused(QuarantineReason::TooSmall);
        }
        if size_bytes > high {
            return refused(QuarantineReason::TooLarge);
        }
        match (date, self.missing_date) {
            (Some(date), _) => Arrival::Accepted(date),
            (None, MissingDate::Today) => Arrival::Accepted(today),
            (None, MissingDate::Quarantine) => refused(QuarantineReason::NoDate),
        }
    }
}

/// Extensions under which programs write incomplete files: downloaders, copiers, editors.
const UNFINISHED: [&str; 18] = [
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".filepart",
    ".download",
    ".opdownload",
    ".inprogress",
    ".uploading",
    ".writing",
    ".swp",
    "._copying_",
    ".incomplete",
    ".gstmp",
    ".aria2",
    ".part.minio",
    "~",
];

/// Number of hexadecimal digits that `aws s3 cp` and boto3 append to a file's name, after a dot, during a download.
const AWS_DIGITS: usize = 8;

/// Tells whether a name is one under which programs write incomplete files, which they rename when complete.
pub fn is_unfinished_name(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key).to_ascii_lowercase();
    UNFINISHED.iter().any(|ending| name.ends_with(ending)) || is_download_of_aws(&name)
}

/// Tells whether a name is that of an input file, followed by the random suffix of AWS download tools.
fn is_download_of_aws(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(whole, random)| {
        random.len() == AWS_DIGITS
            && random.bytes().all(|digit| digit.is_ascii_hexdigit())
            && Compression::of_key(whole).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> DatePrefix {
        text.parse().unwrap()
    }

    fn judge(key: &str, size_bytes: u64) -> Arrival {
        FileRules::default().judge(key, size_bytes, day("2030-01-01"))
    }

    #[test]
    fn defaults_accept_a_tenth_to_19_9_megabytes() {
        assert_eq!(FileRules::default().size_bounds_bytes(), (104_858, 20_866_662));
        let key = "2025-12-23-a.ndjson";
        let date = Some(day("2025-12-23"));
        assert_eq!(judge(key, 104_858), Arrival::Accepted(day("2025-12-23")));
        assert_eq!(judge(key, 104_857), Arrival::Quarantined(QuarantineReason::TooSmall, date));
        assert_eq!(judge(key, 20_866_662), Arrival::Accepted(day("2025-12-23")));
        assert_eq!(judge(key, 20_866_663), Arrival::Quarantined(QuarantineReason::TooLarge, date));
    }

    #[test]
    fn a_tolerance_of_one_hundred_percent_accepts_an_empty_file() {
        let rules = FileRules { size_tolerance_percent: 100.0, ..FileRules::default() };
        assert_eq!(rules.size_bounds_bytes().0, 0);
    }

    #[test]
    fn no_rule_accepts_more_than_an_object_can_have() {
        let rules = FileRules { expected_file_size_mb: 1e15, size_tolerance_percent: 100.0, ..FileRules::default() };
        let judge = |size_bytes| rules.judge("2025-12-23-a.ndjson", size_bytes, day("2030-01-01"));
        assert_eq!(judge(MAX_OBJECT_BYTES), Arrival::Accepted(day("2025-12-23")));
        for size_bytes in [MAX_OBJECT_BYTES + 1, i64::MAX as u64, u64::MAX] {
            assert!(matches!(judge(size_bytes), Arrival::Quarantined(QuarantineReason::TooLarge, _)), "{size_bytes}");
        }
    }

    #[test]
    fn names_of_what_is_not_whole_yet_are_known() {
        for name in [
            "2025-12-23.ndjson.part",
            "a/b.TMP",
            "x.crdownload",
            "x.filepart",
            "x.ndjson._COPYING_",
            "x.ndjson~",
            "2025-12-23.ndjson.gz.6eF5b5dA",
        ] {
            assert!(is_unfinished_name(name), "{name}");
        }
        for name in [
            "2025-12-23.ndjson",
            "x.part/2025-12-23.ndjson",
            "party",
            "x.csv",
            "x.csv.6eF5b5dA",
            "x.ndjson.20251223T",
            "x.ndjson.6eF5b5d",
        ] {
            assert!(!is_unfinished_name(name), "{name}");
        }
    }

    #[test]
    fn a_refusal_names_size_limit_and_option() {
        let rules = FileRules::default();
        let why = rules.explain(QuarantineReason::TooSmall, 12);
        for part in ["12 bytes", "104858", "--expected-file-size-mb 10", "--size-tolerance-percent 99"] {
            assert!(why.contains(part), "{why}");
        }
        assert!(rules.explain(QuarantineReason::TooLarge, 99_999_999).contains("20866662"));
    }

    #[test]
    fn three_extensions_are_read() {
        for good in ["2025-12-23.ndjson", "2025-12-23.ndjson.gz", "2025-12-23.ndjson.zst"] {
            assert!(matches!(judge(good, 1 << 20), Arrival::Accepted(_)), "{good}");
        }
        for bad in ["2025-12-23.json", "2025-12-23.ndjson.bz2", "2025-12-23.NDJSON", "2025-12-23"] {
            assert!(matches!(judge(bad, 1 << 20), Arrival::Quarantined(QuarantineReason::BadExtension, _)), "{bad}");
        }
    }

    #[test]
    fn a_missing_date_is_quarantined_or_today() {
        assert_eq!(judge("a.ndjson", 1 << 20), Arrival::Quarantined(QuarantineReason::NoDate, None));
        let rules = FileRules { missing_date: MissingDate::Today, ..FileRules::default() };
        assert_eq!(rules.judge("a.ndjson", 1 << 20, day("2030-01-01")), Arrival::Accepted(day("2030-01-01")));
    }
}
