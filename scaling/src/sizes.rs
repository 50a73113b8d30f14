//! Estimated sizes of files of unknown size.

/// Assumed size of a file while no size is known, in bytes: 3.5 MiB, the average in a large delivery.
pub const FILE_BYTES: f64 = 3.5 * 1024.0 * 1024.0;

/// Known sizes of files, from which others are estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sizes {
    files: u64,
    bytes: u64,
}

impl Sizes {
    /// Adds files of known size.
    pub fn add(&mut self, files: u64, bytes: u64) {
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Estimated bytes of this many files: the mean of known ones, or [`FILE_BYTES`] if none is known, for each.
    pub fn of(self, files: u64) -> u64 {
        let mean = if self.files > 0 { self.bytes as f64 / self.files as f64 } else { FILE_BYTES };
        (files as f64 * mean).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_size_counts_as_others_do() {
        let mut sizes = Sizes::default();
        assert_eq!((sizes.of(0), sizes.of(2)), (0, 7 * 1024 * 1024));
        sizes.add(3, 30);
        sizes.add(1, 2);
        assert_eq!((sizes.of(0), sizes.of(1), sizes.of(100)), (0, 8, 800));
        assert_eq!(sizes.of(u64::MAX), u64::MAX);
    }
}
