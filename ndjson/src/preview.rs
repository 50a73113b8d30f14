//! Preview of a piece of a file: its lines, each checked as in a conversion, with bounded memory and time.

use crate::blocks::BOM;
use crate::defects::describe;
use crate::formats::OtherFormat;
use crate::input::{Content, Input, open_start};
use crate::json::{Scanned, scan_line};
use crate::limits::Limits;
use crate::lossy::lossy_line;
use crate::range::FileRange;
use crate::reason::RejectReason;
use millwork_manifest::Compression;
use millwork_storage::{Located, Storage};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Limit of the content of a piece: 64 KiB, unless its first line is longer.
const PIECE: u64 = 64 << 10;
/// Limit of a line that is read to its end: 1 MiB. Longer lines are shown in part.
const LONGEST: u64 = 1 << 20;
/// Limit of the lines of a piece: 50, some screens.
const LINES: usize = 50;
/// Limit of the content of a compressed file that is skipped to reach a piece: 16 MiB, which takes a tenth of a second.
const DEEPEST: u64 = 16 << 20;
/// Limit of the text of a line that is returned: 4 KiB around its defect.
const SHOWN: usize = 4 << 10;
/// Size of the first request to a bucket, in bytes.
const FIRST_REQUEST: u64 = 256 << 10;

/// Lines of a file, from an offset on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Lines.
    pub lines: Vec<PreviewLine>,
    /// Format of the file with advice, if it is not NDJSON.
    pub other_format: Option<String>,
    /// Offset of the next piece.
    pub next: Option<u64>,
    /// Error because of which the file cannot be read further.
    pub trouble: Option<String>,
}

/// A line, and its defect if it would be rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewLine {
    /// Offset of the line in the decompressed file, in bytes.
    pub offset: u64,
    /// Length of the line without its newline, in bytes.
    pub length: u64,
    /// Text of the line, or the part around its defect, with U+FFFD for invalid UTF-8.
    pub text: String,
    /// Length of the omitted text before this part, in bytes.
    pub cut_before: u64,
    /// Kind of the defect, and its message; `None` for a line that would be a row, or is blank.
    pub defect: Option<(RejectReason, String)>,
}

/// Reads a piece, from a byte offset of the content. Blocking; aborted between reads after `patience`.
pub fn preview(storage: &Storage, found: &Located, compression: Compression, from: u64, patience: Duration) -> Preview {
    let until = Instant::now() + patience;
    match read(storage, found, compression, from, until) {
        Ok(Found { text, is_all, fault }) => {
            let preview = piece_of(&text, from, is_all, compression);
            let trouble = if preview.next.is_none() { preview.trouble.or(fault) } else { None };
            Preview { trouble, ..preview }
        }
        Err(trouble) => Preview { trouble: Some(trouble), ..Preview::default() },
    }
}

/// Bytes read from an offset on.
struct Found {
    text: Vec<u8>,
    /// True if the file ends after these bytes.
    is_all: bool,
    /// Error that ended the reading, if it was not the end of the file.
    fault: Option<String>,
}

fn read(
    storage: &Storage,
    found: &Located,
    compression: Compression,
    from: u64,
    until: Instant,
) -> Result<Found, String> {
    let size = found.object.size_bytes;
    let start = if compression == Compression::None { from.min(size) } else { 0 };
    let skipped = if compression == Compression::None { 0 } else { from };
    if skipped > DEEPEST {
        return Err(format!(
            "a compressed file can only be read from its beginning on, and here not beyond {DEEPEST} bytes of content: fetch it"
        ));
    }
    let range = FileRange {
        file: 0,
        uri: found.object.uri.clone(),
        inside: found.inside.clone(),
        etag: found.object.etag.clone(),
        size_bytes: size,
        start,
        end: size,
        compression,
        lines_before: 0,
    };
    let input = open_start(storage, &range, &Limits::default(), FIRST_REQUEST);
    let mut pieces = Pieces { input: input.map_err(|error| error.to_string())?, until, fault: None };
    let mut text = Vec::new();
    let mut passed = 0;
    while passed < skipped {
        text.clear();
        let ends = pieces.take((skipped - passed).min(PIECE), &mut text)?;
        passed += text.len() as u64;
        if ends && passed < skipped {
            return Ok(Found { text: Vec::new(), is_all: true, fault: pieces.fault });
        }
    }
    text.clear();
    let mut is_all = pieces.take(PIECE, &mut text)?;
    if !is_all && !text.contains(&b'\n') {
        is_all = pieces.take(LONGEST, &mut text)?;
    }
    Ok(Found { text, is_all, fault: pieces.fault })
}

/// Content that is read piece by piece, as long as there is time.
struct Pieces {
    input: Input,
    until: Instant,
    fault: Option<String>,
}

impl Pieces {
    /// Reads on until `into` has `most` bytes. True at the end of what can be read.
    fn take(&mut self, most: u64, into: &mut Vec<u8>) -> Result<bool, String> {
        let mut buffer = [0; 16 << 10];
        while (into.len() as u64) < most {
            if Instant::now() > self.until {
                return Err("it was not read in time: ask again".to_owned());
            }
            let room = usize::try_from(most - into.len() as u64).unwrap_or(buffer.len()).min(buffer.len());
            match self.input.read(&mut buffer[..room]) {
                Ok(0) => return Ok(true),
                Ok(read) => into.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Bytes before the error are worth showing.
                Err(error) if !into.is_empty() => {
                    self.fault = Some(self.input.explain(error).to_string());
                    return Ok(true);
                }
                Err(error) => return Err(self.input.explain(error).to_string()),
            }
        }
        Ok(false)
    }
}

/// Lines of a text; the last one only if it is complete, or too long to be read to its end.
fn piece_of(text: &[u8], from: u64, is_all: bool, compression: Compression) -> Preview {
    let mut preview = Preview::default();
    let other = (from == 0).then(|| OtherFormat::of(text)).flatten();
    preview.other_format = other.map(|format| format.describe(compression));
    let mut at = 0;
    if from == 0 && text.starts_with(BOM) {
        at = BOM.len();
    }
    while at < text.len() && preview.lines.len() < LINES {
        let offset = from + at as u64;
        match text[at..].iter().position(|byte| *byte == b'\n') {
            Some(length) => {
                preview.lines.push(line_of(&text[at..at + length], offset, other.is_none()));
                at += length + 1;
            }
            None if is_all => {
                preview.lines.push(line_of(&text[at..], offset, other.is_none()));
                at = text.len();
            }
            None if preview.lines.is_empty() => {
                preview.lines.push(line_of(&text[at..], offset, false));
                preview.trouble = Some(format!(
                    "this line has more than {LONGEST} bytes, the limit here: fetch the file to see more"
                ));
                return preview;
            }
            None => break,
        }
    }
    preview.next = (at < text.len() || !is_all).then_some(from + at as u64);
    preview
}

/// Kind and message of the defect for which a line would be rejected; `None` for a row or a blank line.
pub fn defect_of(line: &str) -> Option<(RejectReason, String)> {
    let ended = [line.as_bytes(), b"\n"].concat();
    scan_line(&ended, 0, &mut Vec::new()).err().map(|defect| describe(defect, 0))
}

fn line_of(bytes: &[u8], offset: u64, is_judged: bool) -> PreviewLine {
    let mut text = Vec::new();
    // Lines of a piece are far shorter than the limit, so that this cannot fail.
    let _ = lossy_line(bytes, &mut text);
    let judged = if is_judged { scan_line(&text, 0, &mut Vec::new()) } else { Ok((Scanned::Blank, 0)) };
    let defect = judged.err();
    text.pop();
    let place = defect.map_or(0, |defect| defect.place());
    let whole = String::from_utf8_lossy(&text);
    let start = whole.floor_char_boundary(place.saturating_sub(SHOWN / 2));
    let end = whole.floor_char_boundary((start + SHOWN).min(whole.len()));
    PreviewLine {
        offset,
        length: bytes.len() as u64,
        text: whole[start..end].to_owned(),
        cut_before: start as u64,
        defect: defect.map(|defect| describe(defect, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::ObjectUri;
    use millwork_storage::{Location, Places};
    use std::io::Write;

    fn looked(name: &str, content: &[u8], from: u64) -> Preview {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        std::fs::write(&path, content).unwrap();
        let places = Places::of(&Location::parse(root.path().to_str().unwrap()).unwrap());
        let uri = ObjectUri::from_path(&path).unwrap();
        let compression = Compression::of_key(uri.as_str()).unwrap_or(Compression::None);
        let storage = Storage::default();
        let found = storage.heads_blocking(vec![uri], Some(&places)).unwrap().pop().unwrap().unwrap();
        preview(&storage, &found, compression, from, Duration::from_secs(60))
    }

    #[test]
    fn lines_are_judged_as_the_conversion_does() {
        let seen = looked("a.ndjson", b"\xef\xbb\xbf{\"a\":1}\n\n{\"a\":1 x}\n[1]\n\xff", 0);
        let reasons: Vec<_> = seen.lines.iter().map(|line| line.defect.as_ref().map(|(reason, _)| *reason)).collect();
        assert_eq!(
            reasons,
            [None, None, Some(RejectReason::Malformed), Some(RejectReason::NotAnObject), Some(RejectReason::Malformed)]
        );
        assert_eq!(seen.lines[0].text, "{\"a\":1}");
        assert_eq!((seen.lines[0].offset, seen.lines[2].offset, seen.lines[2].length), (3, 12, 9));
        assert!(seen.lines[2].defect.as_ref().unwrap().1.contains("byte 8"), "{seen:?}");
        assert!(seen.next.is_none() && seen.trouble.is_none() && seen.other_format.is_none());
    }

    #[test]
    fn pieces_give_each_line_once_whatever_the_compression() {
        let text: String =
            (0..500).map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}\n", "x".repeat(n * 7 % 3000))).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let stored = [
            ("a.ndjson", text.clone().into_bytes()),
            ("a.ndjson.gz", gzip.finish().unwrap()),
            ("a.ndjson.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ];
        for (name, content) in stored {
            let (mut from, mut seen) = (Some(0), Vec::new());
            while let Some(place) = from {
                let piece = looked(name, &content, place);
                assert!(piece.lines.len() <= LINES && piece.trouble.is_none(), "{name}: {:?}", piece.trouble);
                seen.extend(piece.lines);
                from = piece.next;
            }
            assert_eq!(seen.len(), 500, "{name}");
            let lengths: Vec<usize> = text.lines().map(str::len).collect();
            assert!(seen.iter().zip(&lengths).all(|(line, length)| line.length == *length as u64), "{name}");
            let mut place = 0;
            for line in &seen {
                assert_eq!(line.offset, place, "{name}");
                place += line.length + 1;
            }
        }
    }

    #[test]
    fn what_expands_without_end_costs_a_piece() {
        let zeros = zstd::encode_all(io::repeat(b' ').take(64 << 20), 1).unwrap();
        assert!(zeros.len() < 1 << 20);
        let seen = looked("a.ndjson.zst", &zeros, 0);
        assert!(seen.lines.len() == 1 && seen.lines[0].text.len() <= SHOWN, "{}", seen.lines.len());
        assert!(seen.next.is_none() && seen.trouble.unwrap().contains("1048576"));
        let deep = looked("a.ndjson.zst", &zeros, DEEPEST + 1);
        assert!(deep.lines.is_empty() && deep.trouble.unwrap().contains("fetch it"));
    }

    #[test]
    fn a_file_that_is_cut_or_something_else_says_so() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        gzip.write_all(&b"{\"a\":1}\n".repeat(1000)).unwrap();
        let whole = gzip.finish().unwrap();
        let cut = looked("a.ndjson.gz", &whole[..4000], 0);
        assert!(cut.lines.len() == LINES && cut.trouble.is_none(), "what is there is shown");
        let end = looked("a.ndjson.gz", &whole[..4000], cut.next.unwrap() + 400 * 8);
        assert!(!end.lines.is_empty() && end.trouble.unwrap().contains("cannot be decompressed"), "and how it ends");
        assert!(looked("a.ndjson.gz", b"no gzip at all", 0).trouble.unwrap().contains("no gzip"));
        let zip = looked("a.csv", b"PK\x03\x04zip\n", 0);
        assert!(zip.other_format.unwrap().contains("zip") && zip.lines[0].defect.is_none());
        assert_eq!(looked("a.ndjson", b"", 0), Preview::default());
        assert_eq!(looked("a.ndjson", b"{}\n", 99), Preview::default());
    }

    #[test]
    fn a_long_line_is_shown_where_it_breaks() {
        let line = format!("{{\"a\":\"{}\" x,\"b\":\"{}\"}}\n", "a".repeat(100_000), "b".repeat(100_000));
        let seen = looked("a.ndjson", line.as_bytes(), 0);
        let broken = &seen.lines[0];
        assert!(broken.text.len() <= SHOWN && broken.text.contains("a\" x,\"b"), "{}", broken.text.len());
        assert!(broken.cut_before > 90_000 && seen.next.is_none());
    }
}
