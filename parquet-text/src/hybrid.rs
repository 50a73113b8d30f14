//! Parquet's RLE/bit-packing hybrid encoding, for dictionary indices and definition levels.
//!
//! A run is a header `count << 1` and the value; a bit-packed section is a header `groups << 1 | 1` and groups of eight
//! values. Both headers are LEB128.

/// Least length of a run; shorter ones are packed with their neighbours.
const MIN_RUN: usize = 16;

/// Number of bits of the largest of `count` dictionary indices.
pub(super) fn index_width(count: usize) -> u8 {
    (usize::BITS - count.saturating_sub(1).leading_zeros()) as u8
}

fn put_varint(into: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Appends `indices` of at most `width` bits each.
pub(super) fn put_indices(into: &mut Vec<u8>, indices: &[u32], width: u8) {
    let (mut packed_from, mut at) = (0, 0);
    while let Some(group) = indices.get(at..at + 8) {
        let first = group[0];
        if group.iter().any(|index| *index != first) {
            at += 8;
            continue;
        }
        let run = 8 + indices[at + 8..].iter().take_while(|index| **index == first).count();
        if run < MIN_RUN {
            at += 8;
            continue;
        }
        put_packed(into, &indices[packed_from..at], width);
        put_varint(into, run << 1);
        into.extend_from_slice(&first.to_le_bytes()[..usize::from(width.div_ceil(8))]);
        at += run;
        packed_from = at;
    }
    put_packed(into, &indices[packed_from..], width);
}

/// Appends a bit-packed section, whose last group is padded with zeros.
fn put_packed(into: &mut Vec<u8>, indices: &[u32], width: u8) {
    if indices.is_empty() {
        return;
    }
    put_varint(into, indices.len().div_ceil(8) << 1 | 1);
    into.reserve(indices.len().div_ceil(8) * usize::from(width) + 8);
    let (mut bits, mut filled) = (0u64, 0);
    for index in indices {
        bits |= u64::from(*index) << filled;
        filled += u32::from(width);
        if filled >= 32 {
            into.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    let missing = indices.len().next_multiple_of(8) - indices.len();
    filled += missing as u32 * u32::from(width);
    // A group has a whole number of bytes.
    while filled > 0 {
        into.push(bits as u8);
        bits >>= 8;
        filled = filled.saturating_sub(8);
    }
}

/// Appends a run of levels, which are zero or one.
pub(super) fn put_level_run(into: &mut Vec<u8>, level: bool, count: usize) {
    put_varint(into, count << 1);
    into.push(u8::from(level));
}

/// Appends `count` levels from a bitmap, whose bits beyond the last level are zero. Runs are formed only from whole
/// groups of eight equal levels.
pub(super) fn put_level_bits(into: &mut Vec<u8>, bitmap: &[u8], count: usize) {
    let whole = &bitmap[..count / 8];
    let eight = |at: usize| whole.get(at..).and_then(<[u8]>::first_chunk).map(|groups| u64::from_le_bytes(*groups));
    let (mut packed_from, mut at) = (0, 0);
    while let Some(groups) = eight(at) {
        if !matches!(groups, 0 | u64::MAX) {
            at += 8;
            continue;
        }
        put_packed_levels(into, &whole[packed_from..at]);
        let start = at;
        while eight(at) == Some(groups) {
            at += 8;
        }
        at += whole[at..].iter().take_while(|group| **group == groups as u8).count();
        put_level_run(into, groups != 0, (at - start) * 8);
        packed_from = at;
    }
    put_packed_levels(into, &bitmap[packed_from..count.div_ceil(8)]);
}

fn put_packed_levels(into: &mut Vec<u8>, groups: &[u8]) {
    if !groups.is_empty() {
        put_varint(into, groups.len() << 1 | 1);
        into.extend_from_slice(groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes runs and packed groups.
    fn read(mut from: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut header, mut shift) = (0usize, 0);
            loop {
                let byte = from[0];
                from = &from[1..];
                header |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let bytes =
                if header & 1 == 1 { (header >> 1) * usize::from(width) } else { usize::from(width.div_ceil(8)) };
            let (now, later) = from.split_at(bytes);
            from = later;
            if header & 1 == 0 {
                let mut value = [0; 4];
                value[..bytes].copy_from_slice(now);
                values.resize(values.len() + (header >> 1), u32::from_le_bytes(value));
            } else {
                let bit = |at: usize| u32::from(now[at / 8] >> (at % 8) & 1);
                let value =
                    |at: usize| (0..usize::from(width)).map(|b| bit(at * usize::from(width) + b) << b).sum::<u32>();
                values.extend((0..(header >> 1) * 8).map(value));
            }
        }
        assert!(from.is_empty(), "bytes that no value needs");
        values.truncate(count);
        values
    }

    fn runs() -> impl Strategy<Value = Vec<(u32, usize)>> {
        prop::collection::vec((0u32..1 << 20, prop_oneof![1usize..4, 1usize..60]), 0..40)
    }

    proptest! {
        #[test]
        fn indices_are_read_back(runs in runs(), width in 0u8..21) {
            let values: Vec<u32> = runs.iter().flat_map(|(v, n)| vec![v & ((1 << width) - 1); *n]).collect();
            let mut bytes = Vec::new();
            put_indices(&mut bytes, &values, width);
            prop_assert_eq!(read(&bytes, width, values.len()), values);
        }

        #[test]
        fn levels_are_read_back(runs in runs(), scale in 1usize..5) {
            let levels: Vec<u32> = runs.iter().flat_map(|(v, n)| vec![v & 1; *n * scale]).collect();
            let mut bitmap = vec![0; levels.len().div_ceil(8)];
            for (at, level) in levels.iter().enumerate() {
                bitmap[at / 8] |= (*level as u8) << (at % 8);
            }
            let mut bytes = Vec::new();
            put_level_bits(&mut bytes, &bitmap, levels.len());
            prop_assert_eq!(read(&bytes, 1, levels.len()), levels);
        }
    }

    #[test]
    fn an_index_has_as_many_bits_as_the_largest_needs() {
        assert_eq!([0, 1, 2, 3, 4, 5, 256, 257].map(index_width), [0, 0, 1, 2, 2, 3, 8, 9]);
    }
}
