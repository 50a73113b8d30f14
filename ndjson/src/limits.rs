//! Limits of the cost of input that an operator can change. Limits that belong to the format are constants, here
//! or where they are enforced.

use serde::{Deserialize, Serialize};

/// Limit of the columns of a manifest: 20,000. Reached if keys are data, such as ids, each of which makes a column.
pub const MAX_COLUMNS: usize = 20_000;

/// Limit of the total length of all columns' keys: 8 MiB, more than 400 bytes for each of 20,000 columns. Plans,
/// reports and footers have many copies of them, and are sent in messages of 64 MiB.
pub(crate) const MAX_NAME_BYTES: usize = 8 << 20;

/// Decompressed content that is always allowed, whatever the stored size: 1 GiB. Small log files occasionally compress
/// a thousandfold; even a thousand of 1 GiB can be converted within a day.
pub const MIN_CONTENT_BYTES: u64 = 1 << 30;

/// Bounds of the window sizes that a zstd decoder accepts, as powers of two (zstd.h, ZSTD_WINDOWLOG_ABSOLUTEMIN and
/// ZSTD_WINDOWLOG_MAX_64).
const MIN_WINDOW_LOG: u32 = 10;
const MAX_WINDOW_LOG: u32 = 31;

/// Limits of a conversion, as configured in the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Limit of the content of a compressed file, as a multiple of its stored size; up to [`MIN_CONTENT_BYTES`] are
    /// always allowed.
    pub max_expansion: u64,
    /// Limit of the rejected-line records of a manifest, in bytes.
    pub max_rejected_bytes: u64,
    /// Limit of the window of a zstd frame, in bytes; each decoder has a window in memory.
    pub max_zstd_window_bytes: u64,
}

impl Limits {
    /// Default of [`Self::max_expansion`]: gzip reaches at most 1,032, and ordinary text less than 100.
    pub const MAX_EXPANSION: u64 = 1000;
    /// Default of [`Self::max_rejected_bytes`], in MiB: more than a whole ordinary manifest.
    pub const MAX_REJECTED_MB: u64 = 1024;

    /// Default of [`Self::max_zstd_window_bytes`], in MiB: the default of zstd, which `zstd --long` uses as well.
    pub const MAX_ZSTD_WINDOW_MB: u64 = 128;

    /// Limit of the window of a zstd frame as a power of two, as the decoder expects it.
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
