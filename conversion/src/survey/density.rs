//! Places of a manifest that make more output, or less, for a byte of input than others: files are cut into groups by what they are
//! expected to become, and a manifest whose halves compress differently would else get outputs of other sizes than it should.

use super::Sample;
use millwork_manifest::Compression;
use millwork_ndjson::FileRange;
use std::collections::HashMap;

/// Bytes of a place that are compressed to see how dense it is: 16 KiB, of 64 places a mebibyte.
const LOOKED_AT_BYTES: usize = 16 << 10;
/// Share of a place's bytes below which it counts as this much: what costs least in the output still costs something.
const LEAST_DENSITY: f64 = 0.01;
/// Places that differ by less than this factor are taken for alike: what they hold by chance differs as well.
const ALIKE: f64 = 1.5;

/// The expected output for a byte of each range, as a factor of what a byte of all of them makes on average.
#[derive(Debug, Default)]
pub(super) struct Densities(HashMap<(u32, u64), f64>);

impl Densities {
    /// By samples from places all over the ranges. What is compressed already is taken for alike: its stored size tells.
    pub(super) fn of(ranges: &[FileRange], samples: &[Sample]) -> Self {
        let density = |sample: &Sample| {
            let lines = &sample.lines[..sample.lines.len().min(LOOKED_AT_BYTES)];
            let is_plain = sample.range.compression == Compression::None && !lines.is_empty();
            let compressed = is_plain.then(|| zstd::bulk::compress(lines, 1).ok()).flatten()?;
            let density = (compressed.len() as f64 / lines.len() as f64).max(LEAST_DENSITY);
            Some(((sample.range.file, sample.range.start), density))
        };
        let looked: HashMap<_, _> = samples.iter().filter_map(density).collect();
        let least = looked.values().copied().fold(f64::INFINITY, f64::min);
        let most = looked.values().copied().fold(0.0, f64::max);
        let is_plain = |range: &FileRange| range.compression == Compression::None;
        if most <= least * ALIKE || !ranges.iter().all(is_plain) {
            return Self::default();
        }
        // Each range is as dense as the place before it, those before the first as that.
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

    /// The factor of a range.
    pub(super) fn factor(&self, range: &FileRange) -> f64 {
        self.0.get(&(range.file, range.start)).copied().unwrap_or(1.0)
    }
}
