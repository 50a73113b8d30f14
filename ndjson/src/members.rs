//! Members of a gzip file, read one after another. Trailing NUL padding is skipped, as in gzip and Python; any other
//! trailing data is an error.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// First byte of a member (RFC 1952, 2.3.1).
const FIRST_BYTE: u8 = 0x1f;

/// Number of members that a file may have regardless of their size: each costs about 20 microseconds.
const MAX_TINY_MEMBERS: u64 = 65_536;
/// Least average stored size of the members beyond that number, in bytes; smaller than a single compressed log line.
const MIN_MEMBER_BYTES: u64 = 64;

/// Decompressed content of all members.
pub(crate) struct Members<R> {
    /// Current member; `None` after the last one.
    member: Option<GzDecoder<BufReader<Counted<R>>>>,
    /// Number of members begun.
    begun: u64,
}

/// Reader that counts stored bytes.
struct Counted<R> {
    stored: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stored.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl<R: Read> Members<R> {
    pub(crate) fn new(stored: R) -> Self {
        Self { member: Some(GzDecoder::new(BufReader::new(Counted { stored, bytes: 0 }))), begun: 1 }
    }

    /// Moves to the next member, if there is one.
    fn next(&mut self) -> io::Result<()> {
        let Some(member) = self.member.take() else { return Ok(()) };
        let mut stored = member.into_inner();
        let bytes = stored.get_ref().bytes;
        if self.begun > MAX_TINY_MEMBERS && self.begun.saturating_mul(MIN_MEMBER_BYTES) > bytes {
            let words = format!(
                "it has more than {MAX_TINY_MEMBERS} gzip members, the limit where they have less than {MIN_MEMBER_BYTES} bytes on \
                 average"
            );
            return Err(io::Error::new(ErrorKind::InvalidData, words));
        }
        loop {
            let ahead = match stored.fill_buf() {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                ahead => ahead?,
            };
            let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
            match ahead.get(zeros) {
                Some(&FIRST_BYTE) => {
                    stored.consume(zeros);
                    self.member = Some(GzDecoder::new(stored));
                    self.begun += 1;
                    return Ok(());
                }
                Some(_) => {
                    let words = "bytes that are no gzip stand after its last member";
                    return Err(io::Error::new(ErrorKind::InvalidData, words));
                }
                None if zeros == 0 => return Ok(()),
                None => stored.consume(zeros),
            }
        }
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(buffer)? {
                0 if !buffer.is_empty() => self.next()?,
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn member(content: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn read(stored: &[u8]) -> Result<String, String> {
        let mut content = String::new();
        let read = Members::new(stored).read_to_string(&mut content);
        read.map(|_| content).map_err(|e| e.to_string())
    }

    #[test]
    fn tiny_members_have_a_limit_and_larger_ones_none() {
        let many = |content: &str, count| member(content).repeat(count);
        let most = MAX_TINY_MEMBERS as usize;
        assert_eq!(read(&many("", most)).unwrap(), "");
        let error = read(&many("", most + 1)).unwrap_err();
        assert!(error.starts_with("it has more than 65536 gzip members, the limit"), "{error}");
        let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n";
        assert_eq!(read(&many(line, most + 2)).unwrap().len(), line.len() * (most + 2));
    }

    #[test]
    fn members_and_padding_are_read_and_other_bytes_named() {
        let (a, b) = (member("a\n"), member("b\n"));
        let zeros = vec![0; 100_000];
        assert_eq!(read(&[&*a, &b].concat()).unwrap(), "a\nb\n");
        assert_eq!(read(&[&*a, &zeros].concat()).unwrap(), "a\n");
        assert_eq!(read(&[&*a, &zeros, &b, &[0]].concat()).unwrap(), "a\nb\n");
        assert_eq!(read(&member("")).unwrap(), "");
        for after in [&b"{}\n"[..], b"\0\0x", b"PK\x03\x04"] {
            let error = read(&[&*a, after].concat()).unwrap_err();
            assert!(error.starts_with("bytes that are no gzip stand after its last member"), "{error}");
        }
        for broken in [&a[..a.len() - 1], &b"\x1f\x8b"[..], &[&*a, &b[..5]].concat()] {
            assert!(read(broken).is_err());
        }
    }
}
