//! Recognition of files that are not NDJSON, by their first bytes. None of their lines can be a row: the file is
//! rejected as a whole, once, with the name of its format.

use millwork_manifest::Compression;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Formats that are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtherFormat {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// A zip archive.
    Zip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// LZ4.
    Lz4,
    /// A 7z archive.
    SevenZip,
    /// A tar archive.
    Tar,
    /// Parquet.
    Parquet,
    /// Avro.
    Avro,
    /// Arrow's file format, also called Feather.
    Arrow,
    /// Text in UTF-16.
    Utf16,
    /// A single JSON array over several lines.
    JsonArray,
}

/// First bytes of files, by format (RFC 1952; RFC 8878; PKWARE's APPNOTE 4.3; bzip2; xz file format 2.1.1.1; LZ4 frame
/// format; 7zFormat.txt; parquet-format; Avro specification, object container files; Arrow columnar format, IPC file
/// format).
const STARTS: [(&[u8], OtherFormat); 10] = [
    (b"\x1f\x8b\x08", OtherFormat::Gzip),
    (b"\x28\xb5\x2f\xfd", OtherFormat::Zstd),
    (b"PK\x03\x04", OtherFormat::Zip),
    (b"BZh91AY&SY", OtherFormat::Bzip2),
    (b"\xfd7zXZ\0", OtherFormat::Xz),
    (b"\x04\x22\x4d\x18", OtherFormat::Lz4),
    (b"7z\xbc\xaf\x27\x1c", OtherFormat::SevenZip),
    (b"PAR1\x15", OtherFormat::Parquet),
    (b"Obj\x01", OtherFormat::Avro),
    (b"ARROW1\0\0", OtherFormat::Arrow),
];

/// Magic of a tar archive and its offset in the header of the first file (POSIX, pax interchange format): preceded by
/// NULs, which JSON cannot contain.
const TAR_MARK: (usize, &[u8]) = (257, b"ustar");

impl OtherFormat {
    /// The format of content with this beginning, if it is not NDJSON.
    pub fn of(start: &[u8]) -> Option<Self> {
        let found = STARTS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, format)| *format);
        found
            .or_else(|| is_tar(start).then_some(Self::Tar))
            .or_else(|| is_utf16(start).then_some(Self::Utf16))
            .or_else(|| is_array(start).then_some(Self::JsonArray))
    }

    /// Describes the file and the remedy.
    pub fn describe(self, stored_as: Compression) -> String {
        let advice = match (self, stored_as) {
            (Self::Gzip, Compression::None) => "name it .ndjson.gz, or decompress it",
            (Self::Zstd, Compression::None) => "name it .ndjson.zst, or decompress it",
            (Self::Gzip | Self::Zstd, _) => "it was compressed twice: decompress it once",
            (Self::Zip | Self::SevenZip | Self::Tar, _) => {
                "unpack it, and compress what is in it as gzip or zstd if it is to be compressed"
            }
            (Self::Bzip2 | Self::Xz | Self::Lz4, _) => {
                "decompress it, and compress it as gzip or zstd if it is to be compressed"
            }
            (Self::Parquet, _) => "it needs no conversion",
            (Self::Avro | Self::Arrow, _) => "write it as NDJSON, as readers of its format can",
            (Self::Utf16, _) => "write it as UTF-8, such as by `iconv -f UTF-16 -t UTF-8`",
            (Self::JsonArray, _) => "write one object a line, such as by `jq -c '.[]'`",
        };
        format!("the file is {self}, not NDJSON: {advice}")
    }
}

impl fmt::Display for OtherFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Zip => "a zip archive",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lz4 => "LZ4",
            Self::SevenZip => "a 7z archive",
            Self::Tar => "a tar archive",
            Self::Parquet => "Parquet",
            Self::Avro => "Avro",
            Self::Arrow => "Arrow",
            Self::Utf16 => "UTF-16",
            Self::JsonArray => "a JSON array",
        })
    }
}

/// Tells whether this is a tar archive.
fn is_tar(start: &[u8]) -> bool {
    let (at, mark) = TAR_MARK;
    start.get(at..).is_some_and(|rest| rest.starts_with(mark)) && start[..at].contains(&0)
}

/// Number of bytes that are checked for UTF-16: enough to exclude coincidence.
const UTF16_BYTES: usize = 32;

/// Tells whether this is UTF-16, with or without a byte order mark, whose first characters are ASCII: every other byte
/// is zero.
fn is_utf16(start: &[u8]) -> bool {
    let (marked, text) = match start {
        [0xff, 0xfe, rest @ ..] | [0xfe, 0xff, rest @ ..] => (true, rest),
        text => (false, text),
    };
    let text = &text[..text.len().min(UTF16_BYTES) / 2 * 2];
    let is_zero_at = |place: usize| text.iter().skip(place).step_by(2).all(|byte| *byte == 0);
    let is_ascii_at = |place: usize| text.iter().skip(place).step_by(2).all(|byte| byte.is_ascii() && *byte != 0);
    let is_long = text.len() >= if marked { 2 } else { 8 };
    is_long && (is_zero_at(0) && is_ascii_at(1) || is_zero_at(1) && is_ascii_at(0))
}

/// Lines of a text, found by a vectorised search.
fn lines_of(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let (line, rest) = match memchr::memchr(b'\n', text) {
            Some(end) => (&text[..end], &text[end + 1..]),
            None => (text, &text[text.len()..]),
        };
        text = rest;
        Some(line)
    })
}

/// Tells whether this is an array that is still open after the first line, and whose next lines cannot be NDJSON.
/// Excludes a file of objects with a broken first line.
fn is_array(start: &[u8]) -> bool {
    let start = start.strip_prefix(super::blocks::BOM).unwrap_or(start).trim_ascii_start();
    // Checked first, to avoid searching for a distant end of the line in other texts.
    if !start.starts_with(b"[") {
        return false;
    }
    let mut lines = lines_of(start).map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let Some(first) = lines.next() else { return false };
    let second = lines.next().unwrap_or_default();
    let is_in_array = second.ends_with(b"},") || second.ends_with(b"}]");
    let is_in_object = second.starts_with(b"\"");
    match first {
        b"[" if second == b"{" => lines.next().is_some_and(|third| third.starts_with(b"\"")),
        b"[" => is_in_array,
        first if first.starts_with(b"[{") && first.ends_with(b"},") => is_in_array,
        first => first.ends_with(b"{") && is_in_object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ndjson_is_known_by_its_start() {
        for (start, format) in [
            (&b"\x1f\x8b\x08\0"[..], OtherFormat::Gzip),
            (b"\x28\xb5\x2f\xfd\0", OtherFormat::Zstd),
            (b"PK\x03\x04", OtherFormat::Zip),
            (b"\x04\x22\x4d\x18\x64", OtherFormat::Lz4),
            (b"7z\xbc\xaf\x27\x1c\0", OtherFormat::SevenZip),
            (b"Obj\x01\x04\x16avro.schema", OtherFormat::Avro),
            (b"ARROW1\0\0\xff", OtherFormat::Arrow),
            (&[b"a.ndjson".as_slice(), &[0; 249], b"ustar"].concat(), OtherFormat::Tar),
            (b"\xff\xfe{\0\"\0", OtherFormat::Utf16),
            (b"\xfe\xff\0{", OtherFormat::Utf16),
            (b"{\0\"\0a\0\"\0", OtherFormat::Utf16),
            (b"\0{\0\"\0a\0\"\0:", OtherFormat::Utf16),
            (b"[\n{\"a\":1},\n{\"a\":2}\n]", OtherFormat::JsonArray),
            (b"\xef\xbb\xbf[\r\n  {\"a\":1},\r\n", OtherFormat::JsonArray),
            (b"[\n  {\n    \"a\": 1\n  }\n]\n", OtherFormat::JsonArray),
            (b"[{\"a\":1},\n{\"a\":2},\n{\"a\":3}]\n", OtherFormat::JsonArray),
            (b"[{\"a\":1},\n{\"a\":2}]\n", OtherFormat::JsonArray),
            (b"[{\n\"a\":1},\n", OtherFormat::JsonArray),
        ] {
            assert_eq!(OtherFormat::of(start), Some(format), "{start:?}");
            for stored_as in [Compression::None, Compression::Gzip] {
                let words = format.describe(stored_as);
                assert!(words.starts_with("the file is ") && words.contains(", not NDJSON: "), "{words}");
            }
        }
    }

    #[test]
    fn no_file_with_a_good_line_is_taken_for_something_else() {
        for start in [
            &b""[..],
            b"\n",
            b"{\"a\":1}\n",
            b"\xef\xbb\xbf{\"a\":1}\n",
            b"[1]\n{\"a\":1}\n",
            b"[{\"a\":1}]\n{\"a\":1}\n",
            b"[\n{\"a\":1}\n{\"a\":2}\n]\n",
            b"[\n{\"a\":1}\n]\n",
            b"[1,\n{\"a\":1}\n",
            b"[{\"a\":1},\n{\"a\":{\"b\":2}}\n",
            b"[{\"a\":1\n{\"a\":2}\n",
            b"{\0",
            b"BZhello\n{\"a\":1}\n",
            b"Obj is text\n{\"a\":1}\n",
            b"ARROW1 is text\n{\"a\":1}\n",
            &[vec![b' '; 257], b"ustar\n{\"a\":1}\n".to_vec()].concat(),
            b"PAR1 is text\n{\"a\":1}\n",
            b"\xff\xfe latin\n{\"a\":1}\n",
            b"[\n{\n{\"a\":1}\n",
            b"garbage\n{\"a\":1}\n",
            b"\0\0\0\0\n{\"a\":1}\n",
        ] {
            assert_eq!(OtherFormat::of(start), None, "{start:?}");
        }
    }
}
