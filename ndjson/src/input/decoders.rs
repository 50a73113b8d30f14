//! Decoders of compressed files, and what is known of their errors.

use crate::members::Members;
use millwork_manifest::Compression;
use std::io::{self, BufReader, Read};

/// Content of what is stored. A decoder of zstd takes no window larger than this power of two.
pub(super) fn decompressed(
    stored: impl Read + Send + 'static,
    compression: Compression,
    window_log: u32,
) -> Box<dyn Read + Send> {
    match compression {
        Compression::None => Box::new(stored),
        Compression::Gzip => Box::new(Late::Stored(Some(stored), |stored| Ok(Members::new(stored)))),
        Compression::Zstd => Box::new(Late::Stored(Some(stored), move |stored| zstd_decoder(stored, window_log))),
    }
}

type ZstdDecoder<R> = zstd::stream::read::Decoder<'static, BufReader<R>>;

fn zstd_decoder<R: Read>(stored: R, window_log: u32) -> io::Result<ZstdDecoder<R>> {
    let mut decoder = ZstdDecoder::new(stored)?;
    decoder.window_log_max(window_log)?;
    Ok(decoder)
}

/// Recognises the zstd decoder's error for content that is not a frame.
pub(super) fn is_no_frame(error: &io::Error) -> bool {
    error.to_string().contains("Unknown frame descriptor")
}

/// Recognises decoders' errors for a wrong start of the file.
pub(super) fn is_about_start(error: &io::Error) -> bool {
    is_no_frame(error) || error.to_string().contains("invalid gzip header")
}

/// Recognises the zstd decoder's error for a window that is too large, which is distinguishable only by its text.
pub(super) fn is_about_window(error: &io::Error) -> bool {
    error.to_string().contains("requires too much memory")
}

/// Decoder that is created on first read: some decoders read when created, which would block a file that is opened
/// ahead.
enum Late<R, D, F> {
    Stored(Option<R>, F),
    Decoder(D),
}

impl<R, D: Read, F: Fn(R) -> io::Result<D>> Read for Late<R, D, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Self::Decoder(decoder) => return decoder.read(buffer),
                Self::Stored(stored, make) => {
                    let stored = stored.take().ok_or_else(|| io::Error::other("its decoder could not be made"))?;
                    *self = Self::Decoder(make(stored)?);
                }
            }
        }
    }
}
