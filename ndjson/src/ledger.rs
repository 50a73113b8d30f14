//! Ledger, which proves that nothing was lost: the result for every line and every byte of every file.

use crate::{BOM, OtherFormat};
use millwork_manifest::Compression;
use serde::{Deserialize, Serialize};

/// Ledger of a byte range of a file: number of lines, by result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeLedger {
    /// Index of the file in the manifest, from 0.
    pub file: u32,
    /// First byte of the stored object that was read.
    pub start: u64,
    /// End of the range, exclusive.
    pub end: u64,
    /// Number of lines.
    pub lines: u64,
    /// Number of lines that became rows.
    pub rows: u64,
    /// Number of rejected lines.
    pub rejected: u64,
    /// Number of lines with only white space.
    pub blank: u64,
    /// Number of characters replaced by U+FFFD: lone surrogates in keys and in values that the query reads, and invalid
    /// UTF-8.
    pub replaced_characters: u64,
    /// Format of a file that is not NDJSON, which counts as one rejected line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_format: Option<OtherFormat>,
}

/// Ledger of a file: number of lines, by result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLedger {
    /// URI of the file.
    pub uri: String,
    /// Stored size of the file, in bytes.
    pub size_bytes: u64,
    /// Number of lines.
    pub lines: u64,
    /// Number of lines that became rows.
    pub rows: u64,
    /// Number of rejected lines.
    pub rejected: u64,
    /// Number of lines with only white space.
    pub blank: u64,
    /// Number of characters replaced by U+FFFD: lone surrogates in keys and in values that the query reads, and invalid
    /// UTF-8.
    pub replaced_characters: u64,
    /// Format of a file that is not NDJSON, which counts as one rejected line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_format: Option<OtherFormat>,
}

/// Advice for a file of unknown format without any row.
const ONE_A_LINE: &str =
    "write one JSON object a line, as `jq -c .` does with objects over several lines, and `jq -c '.[]'` with arrays";

impl FileLedger {
    /// Defect and remedy of a file of which no line became a row; `None` for a file with only blank lines.
    pub fn without_rows(&self) -> Option<String> {
        if self.rows > 0 || self.rejected == 0 {
            return None;
        }
        let stored_as = Compression::of_key(&self.uri).unwrap_or(Compression::None);
        Some(match (self.other_format, self.rejected) {
            (Some(format), _) => format.describe(stored_as),
            (None, 1) => format!("its only line is no row, for the reason kept with it: {ONE_A_LINE}"),
            (None, lines) => {
                format!("none of its {lines} lines is a row, each for the reason kept with it: {ONE_A_LINE}")
            }
        })
    }
}

/// Reason why a ledger does not add up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LedgerError {
    /// Bytes were read twice or not at all.
    #[error("ledger: of `{uri}`, {size_bytes} bytes, the ranges read do not cover each byte once: {ranges:?}")]
    Coverage {
        /// URI of the file.
        uri: String,
        /// Stored size of the file.
        size_bytes: u64,
        /// Ranges, ordered.
        ranges: Vec<(u64, u64)>,
    },
    /// The file has content, but no line.
    #[error("ledger: `{uri}` has {size_bytes} bytes, but no lines")]
    NoLines {
        /// URI of the file.
        uri: String,
        /// Stored size of the file, in bytes.
        size_bytes: u64,
    },
    /// Lines are missing from the sum of rows, rejected and blank ones.
    #[error("ledger: `{uri}` has {lines} lines, but {rows} rows + {rejected} rejected + {blank} blank")]
    Lines {
        /// URI of the file.
        uri: String,
        /// Number of lines in the file.
        lines: u64,
        /// Lines that became rows.
        rows: u64,
        /// Lines that were rejected.
        rejected: u64,
        /// Lines of white space only.
        blank: u64,
    },
    /// The manifest has no such file.
    #[error("ledger: a range of file {0}, which the manifest does not have")]
    Unknown(u32),
}

/// Adds up the ranges of a manifest's files, which are given with their stored sizes. Checks that every byte was read
/// once and every line is accounted for.
pub fn add_up(files: &[(String, u64)], ranges: &[RangeLedger]) -> Result<Vec<FileLedger>, LedgerError> {
    let mut by_file: Vec<Vec<&RangeLedger>> = vec![Vec::new(); files.len()];
    for range in ranges {
        by_file.get_mut(range.file as usize).ok_or(LedgerError::Unknown(range.file))?.push(range);
    }
    files.iter().zip(by_file).map(|((uri, size_bytes), ranges)| add_up_file(uri, *size_bytes, ranges)).collect()
}

fn add_up_file(uri: &str, size_bytes: u64, mut ranges: Vec<&RangeLedger>) -> Result<FileLedger, LedgerError> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let covered = ranges.iter().try_fold(0, |end, range| (range.start == end).then_some(range.end));
    if ranges.is_empty() || covered != Some(size_bytes) {
        let ranges = ranges.iter().map(|range| (range.start, range.end)).collect();
        return Err(LedgerError::Coverage { uri: uri.to_owned(), size_bytes, ranges });
    }
    let sum = |of: fn(&RangeLedger) -> u64| ranges.iter().map(|range| of(range)).fold(0, u64::saturating_add);
    let file = FileLedger {
        uri: uri.to_owned(),
        size_bytes,
        lines: sum(|r| r.lines),
        rows: sum(|r| r.rows),
        rejected: sum(|r| r.rejected),
        blank: sum(|r| r.blank),
        replaced_characters: sum(|r| r.replaced_characters),
        other_format: ranges.iter().find_map(|range| range.other_format),
    };
    // A compressed file can have empty content, and a byte order mark is not a line.
    if size_bytes > BOM.len() as u64 && file.lines == 0 && Compression::of_key(uri) == Some(Compression::None) {
        return Err(LedgerError::NoLines { uri: file.uri, size_bytes });
    }
    if Some(file.lines) == file.rows.checked_add(file.rejected).and_then(|lines| lines.checked_add(file.blank)) {
        return Ok(file);
    }
    let FileLedger { uri, lines, rows, rejected, blank, .. } = file;
    Err(LedgerError::Lines { uri, lines, rows, rejected, blank })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> RangeLedger {
        RangeLedger { start, end, lines: 3, rows: 1, rejected: 1, blank: 1, ..RangeLedger::default() }
    }

    fn of(size: u64, ranges: &[RangeLedger]) -> Result<Vec<FileLedger>, LedgerError> {
        add_up(&[("a".to_owned(), size)], ranges)
    }

    #[test]
    fn a_file_without_rows_is_told_with_its_remedy() {
        let file = |rows, rejected, other_format| {
            let lines = rows + rejected + 1;
            let range = RangeLedger { end: 9, lines, rows, rejected, blank: 1, other_format, ..RangeLedger::default() };
            of(9, &[range]).unwrap()[0].without_rows()
        };
        assert_eq!([file(0, 0, None), file(1, 8, None)], [None, None]);
        assert_eq!(
            file(0, 8, None).unwrap(),
            "none of its 8 lines is a row, each for the reason kept with it: write one JSON object a line, as `jq -c .` does with objects over \
             several lines, and `jq -c '.[]'` with arrays"
        );
        assert_eq!(
            file(0, 1, None).unwrap(),
            format!("its only line is no row, for the reason kept with it: {ONE_A_LINE}")
        );
        assert!(file(0, 1, Some(OtherFormat::Zip)).unwrap().starts_with("the file is a zip archive, not NDJSON: "));
    }

    #[test]
    fn ranges_in_any_order_add_up() {
        let file = &of(20, &[range(10, 20), range(0, 10)]).unwrap()[0];
        assert_eq!((file.lines, file.rows), (6, 2));
        assert!(of(0, &[range(0, 0)]).is_ok());
    }

    #[test]
    fn gaps_overlaps_and_missing_ends_are_found() {
        for ranges in [
            vec![],
            vec![range(0, 10)],
            vec![range(0, 10), range(11, 20)],
            vec![range(0, 11), range(10, 20)],
            vec![range(0, 20), range(0, 20)],
        ] {
            assert!(matches!(of(20, &ranges), Err(LedgerError::Coverage { .. })), "{ranges:?}");
        }
    }

    #[test]
    fn a_lost_line_is_found() {
        let ledger = RangeLedger { rows: 0, ..range(0, 20) };
        assert!(matches!(of(20, &[ledger]), Err(LedgerError::Lines { .. })));
        assert_eq!(of(20, &[RangeLedger { file: 1, ..range(0, 20) }]), Err(LedgerError::Unknown(1)));
        let huge = RangeLedger { rows: u64::MAX, rejected: u64::MAX, ..range(0, 20) };
        assert!(matches!(of(20, &[huge]), Err(LedgerError::Lines { .. })));
    }

    #[test]
    fn content_has_lines() {
        let none = [RangeLedger { end: 20, ..RangeLedger::default() }];
        let of_name = |name: &str| add_up(&[(name.to_owned(), 20)], &none);
        assert!(matches!(of_name("a.ndjson"), Err(LedgerError::NoLines { .. })));
        assert!(of_name("a.ndjson.gz").is_ok());
        for size in [0, 3] {
            let none = [RangeLedger { end: size, ..RangeLedger::default() }];
            assert!(add_up(&[("a.ndjson".to_owned(), size)], &none).is_ok());
        }
    }
}
