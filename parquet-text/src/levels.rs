//! Definition levels of a page: which rows have a value.

use super::hybrid::{put_level_bits, put_level_run};
use arrow::array::BooleanBufferBuilder;
use arrow::buffer::NullBuffer;

/// Levels of the rows of an open page. While all are equal, they are only counted.
pub(super) struct Levels {
    rows: usize,
    nulls: usize,
    /// Levels so far; `None` while all are equal.
    bits: Option<BooleanBufferBuilder>,
    spare: Option<BooleanBufferBuilder>,
}

impl Levels {
    pub(super) fn new() -> Self {
        Self { rows: 0, nulls: 0, bits: None, spare: None }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn nulls(&self) -> usize {
        self.nulls
    }

    /// Appends null rows.
    pub(super) fn append_nulls(&mut self, rows: usize) {
        self.add(rows, rows, None);
    }

    /// Appends `rows` rows, all of them with a value unless `validity` is given.
    pub(super) fn append(&mut self, rows: usize, validity: Option<&NullBuffer>) {
        self.add(rows, validity.map_or(0, NullBuffer::null_count), validity);
    }

    fn add(&mut self, rows: usize, nulls: usize, validity: Option<&NullBuffer>) {
        let mixed = validity.filter(|_| nulls > 0 && nulls < rows);
        let before_alike = self.nulls == 0 || self.nulls == self.rows;
        let stays_alike = mixed.is_none() && before_alike && (self.rows == 0 || (nulls == 0) == (self.nulls == 0));
        if self.bits.is_none() && !stays_alike {
            let mut bits = self.spare.take().unwrap_or_else(|| BooleanBufferBuilder::new(0));
            bits.truncate(0);
            bits.append_n(self.rows, self.nulls == 0);
            self.bits = Some(bits);
        }
        if let Some(bits) = &mut self.bits {
            match mixed {
                Some(validity) => bits.append_buffer(validity.inner()),
                None => bits.append_n(rows, nulls == 0),
            }
        }
        self.rows += rows;
        self.nulls += nulls;
    }

    /// Appends the levels in the form of a data page (version 1), and starts again.
    pub(super) fn flush(&mut self, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&[0; 4]);
        match self.bits.take() {
            Some(bits) => {
                put_level_bits(into, bits.as_slice(), self.rows);
                self.spare = Some(bits);
            }
            None => put_level_run(into, self.nulls == 0, self.rows),
        }
        let length = (into.len() - start - 4) as u32;
        into[start..start + 4].copy_from_slice(&length.to_le_bytes());
        (self.rows, self.nulls) = (0, 0);
    }

    /// Starts again.
    pub(super) fn clear(&mut self) {
        self.spare = self.bits.take().or(self.spare.take());
        (self.rows, self.nulls) = (0, 0);
    }
}
