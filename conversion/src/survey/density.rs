//! Density of the input: how much output a byte of content makes, by place in the manifest. Used to cut files into
//! groups by expected output; otherwise a manifest whose halves compress differently would give outputs of uneven
//! sizes.

use super::Sample;
use millwork_manifest::Compression;
use millwork_ndjson::FileRange;
use std::collections::HashMap;

/// Bytes of a sample that are compressed to estimate its density: 16 KiB, a mebibyte over 64 samples.
const LOOKED_AT_BYTES: usize = 16 << 10;
/// Least density of a sample, as a share of its bytes: even content that compresses to almost nothing costs something
/// in the output.
const LEAST_DENSITY: f64 = 0.01;
/// Factor below which densities count as equal: random variation of the samples is about as large.
const ALIKE: f64 = 1.5;

/// Output for a byte of a sample, as far as compression tells; none of what is compressed already.
fn density(sample: &Sample) -> Option<f64> {
    let lines = &sample.lines[..sample.lines.len().min(LOOKED_AT_BYTES)];
    let is_plain = sample.range.compression == Compression::None && !lines.is_empty();
    let compressed = is_plain.then(|| zstd::bulk::compress(lines, 1).ok()).flatten()?;
    Some((compressed.len() as f64 / lines.len() as f64).max(LEAST_DENSITY))
}

/// Expected output per byte of each range, relative to the average over all ranges.
#[derive(Debug, Default)]
pub(super) struct Densities(HashMap<(u32, u64), f64>);

impl Densities {
    /// Estimates densities from samples spread over the ranges. All ranges count as equal if any is compressed, since
    /// stored sizes then reflect the density, or if the samples differ by less than [`ALIKE`].
    pub(super) fn of(ranges: &[FileRange], samples: &[Sample]) -> Self {
        let of_place = |sample: &Sample| Some(((sample.range.file, sample.range.start), density(sample)?));
        let looked: HashMap<_, _> = samples.iter().filter_map(of_place).collect();
        let least = looked.values().copied().fold(f64::INFINITY, f64::min);
        let most = looked.values().copied().fold(0.0, f64::max);
        let is_plain = |range: &FileRange| range.compression == Compression::None;
        if most <= least * ALIKE || !ranges.iter().all(is_plain) {
            return Self::default();
        }
        // A range takes the density of the last sample before it; ranges before the first sample take that one's.
        let mut last = ranges.iter().find_map(|range| looked.get(&(range.file, range.start))).copied().unwrap_or(1.0);
        let mut densities = HashMap::with_capacity(ranges.len());
        let (mut stored, mut weighted) = (0.0, 0.0);
        for range in ranges {
            last = looked.get(&(range.file, range.start)).copied().unwrap_or(last);
            let bytes = (range.end - range.start) as f64;
            (stored, weighted) = (stored + bytes, weighted + bytes * last);
            densities.insert((range.file, range.start), last);
        }
        let scale = if weighted > 0.0 { stored / weighted } else { 1.0 };
        densities.values_mut().for_each(|density| *density *= scale);
        Self(densities)
    }

    /// Relative density of a range; 1 if it is not known.
    pub(super) fn factor(&self, range: &FileRange) -> f64 {
        self.0.get(&(range.file, range.start)).copied().unwrap_or(1.0)
    }
}
