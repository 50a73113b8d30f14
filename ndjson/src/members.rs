//! The members of a gzip file, one after the other: padding with zeros is passed over, as gzip and Python do; anything else that follows
//! is named.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// The first byte of a member (RFC 1952, 2.3.1).
const FIRST_BYTE: u8 = 0x1f;

/// The content of all members.
pub(crate) struct Members<R> {
    /// None behind the last member.
    member: Option<GzDecoder<BufReader<R>>>,
}

impl<R: Read> Members<R> {
    pub(crate) fn new(stored: R) -> Self {
        Self { member: Some(GzDecoder::new(BufReader::new(stored))) }
    }

    /// Goes on to the next member, if there is one.
    fn next(&mut self) -> io::Result<()> {
        let Some(member) = self.member.take() else { return Ok(()) };
        let mut stored = member.into_inner();
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
                    return Ok(());
                }
                Some(_) => {
                    let words =
                        "bytes that are no gzip stand after its last member: cut them off, or compress it again";
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
