//! Limits of what input may cost that an operator can set. Those that are part of the format are constants, here or beside the
//! code that keeps them.

use serde::{Deserialize, Serialize};

/// Limit of the columns of a manifest: 20,000. Keys that are data, such as ids, make a column each.
pub const MAX_COLUMNS: usize = 20_000;

/// Limit of the bytes of all columns' keys together: 8 MiB, over 400 for each of the most columns there may be. Plans, reports and
/// footers have many copies of them, and travel in messages of 64 MiB.
pub(crate) const MAX_NAME_BYTES: usize = 8 << 20;

/// Content of a compressed file that is read whatever its stored size, in bytes: 1 GiB. Small files of logs compress a thousandfold now
/// and then; a thousand of them at once still fit into a day.
pub const MIN_CONTENT_BYTES: u64 = 1 << 30;

/// Bounds of the windows that a zstd decoder takes, as powers of two (zstd.h, ZSTD_WINDOWLOG_ABSOLUTEMIN and ZSTD_WINDOWLOG_MAX_64).
const MIN_WINDOW_LOG: u32 = 10;
const MAX_WINDOW_LOG: u32 = 31;

/// Limits of one conversion. Each run has those with which its scheduler was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Content of a compressed file, in multiples of its stored size; up to [`MIN_CONTENT_BYTES`] are read in any case.
    pub max_expansion: u64,
    /// Bytes of the files of rejected lines of one manifest.
    pub max_rejected_bytes: u64,
    /// Bytes of the window of a zstd frame, of which each decoder keeps as many in memory.
    pub max_zstd_window_bytes: u64,
}

impl Limits {
    /// Default of [`Self::max_expansion`]: gzip comes to 1,032 at most, and text that people store to less than 100.
    pub const MAX_EXPANSION: u64 = 1000;
    /// Default of [`Self::max_rejected_bytes`], in MiB: more than an ordinary manifest has in all.
    pub const MAX_REJECTED_MB: u64 = 1024;

    /// Default of [`Self::max_zstd_window_bytes`], in MiB: zstd's own, which `zstd --long` keeps to.
    pub const MAX_ZSTD_WINDOW_MB: u64 = 128;

    /// Limit of the window of a zstd frame as a power of two, which is what a decoder takes.
    pub fn zstd_window_log(&self) -> u32 {
        self.max_zstd_window_bytes.max(1).ilog2().clamp(MIN_WINDOW_LOG, MAX_WINDOW_LOG)
    }

    /// Limit of the content of a compressed file of this stored size, in bytes.
    pub fn content_bytes(&self, stored_bytes: u64) -> u64 {
        stored_bytes.saturating_mul(self.max_expansion).max(MIN_CONTENT_BYTES)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_expansion: Self::MAX_EXPANSION,
            max_rejected_bytes: Self::MAX_REJECTED_MB << 20,
            max_zstd_window_bytes: Self::MAX_ZSTD_WINDOW_MB << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_may_have_a_gibibyte_and_large_ones_a_multiple() {
        let limits = Limits { max_expansion: 1000, ..Limits::default() };
        assert_eq!([0, 1_073_741].map(|stored| limits.content_bytes(stored)), [1 << 30; 2]);
        assert_eq!(limits.content_bytes(1_073_742), 1_073_742_000);
        assert_eq!(limits.content_bytes(u64::MAX), u64::MAX);
    }
}
