//! The page of a chunk that is being filled.

use crate::dictionary::Dictionary;
use crate::hybrid::put_indices;
use crate::levels::Levels;
use crate::pages::MAX_SPARE_BYTES;
use crate::statistics::{Bounds, prefix};
use arrow::array::StringArray;
use arrow::buffer::NullBuffer;
use millwork_ndjson::push_text;
use std::ops::Range;

/// Limit of the rows of a page with values. With thousands of columns, pages have fewer values.
pub(super) const PAGE_ROWS: usize = 20_000;
/// Limit of the rows of a page of nulls only, which takes a few bytes whatever their number, so that 20,000 almost
/// empty columns need hardly any pages. Readers decode the levels of a page at once, which takes two megabytes.
pub(super) const NULL_PAGE_ROWS: usize = 1 << 20;
/// Limit of the bytes of a page before compression: 256 KiB.
pub(super) const PAGE_BYTES: usize = 256 << 10;
/// Space reserved for levels before the text of an open page: at least one bit for each of [`PAGE_ROWS`].
pub(super) const HEADROOM: usize = 4096;

/// The page that is being filled. Its values are either dictionary indices or text.
pub(super) struct OpenPage {
    pub(super) levels: Levels,
    pub(super) indices: Vec<u32>,
    /// Text in PLAIN encoding, after [`HEADROOM`].
    pub(super) plain: Vec<u8>,
    pub(super) bounds: Bounds,
    pub(super) text_bytes: usize,
    /// Buffer in which levels and indices of a page are assembled.
    pub(super) content: Vec<u8>,
}

impl OpenPage {
    pub(super) fn new() -> Self {
        Self {
            levels: Levels::new(),
            indices: Vec::new(),
            plain: vec![0; HEADROOM],
            bounds: Bounds::default(),
            text_bytes: 0,
            content: Vec::new(),
        }
    }

    /// Limit of the rows of the page, depending on its content so far.
    pub(super) fn max_rows(&self) -> usize {
        if self.levels.nulls() == self.levels.rows() { NULL_PAGE_ROWS } else { PAGE_ROWS }
    }

    pub(super) fn bytes(&self) -> usize {
        self.plain.len() - HEADROOM + self.indices.len() * 4
    }

    /// Number of rows, of at most `most`, that the page has room for, and of their values, whose offsets are `offsets`:
    /// at least one row; the last value may exceed the limit of the page.
    pub(super) fn what_fits(
        &self,
        offsets: &[i32],
        (rows, most): (usize, usize),
        validity: Option<&NullBuffer>,
    ) -> (usize, usize) {
        let values = match validity {
            None => most,
            Some(_) if most == rows => offsets.len() - 1,
            Some(validity) => most - validity.slice(0, most).null_count(),
        };
        let room = PAGE_BYTES.saturating_sub(self.bytes());
        let bytes = |values: usize| (offsets[values] - offsets[0]) as usize + 4 * values;
        if bytes(values) <= room {
            return (most, values);
        }
        let (mut low, mut high) = (0, values);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if bytes(middle) <= room { low = middle } else { high = middle - 1 }
        }
        let fitting = (low + 1).min(values);
        (if fitting == values { most } else { row_of(fitting, validity) }, fitting)
    }

    /// Appends values as text.
    pub(super) fn add_plain(&mut self, values: &StringArray, range: Range<usize>) {
        let (text, offsets) = (values.value_data(), &values.value_offsets()[range.start..=range.end]);
        for value in offsets.windows(2) {
            let (from, to) = (value[0] as usize, value[1] as usize);
            let place = self.plain.len() as u32;
            self.plain.extend_from_slice(&((to - from) as u32).to_le_bytes());
            push_text(&mut self.plain, text, from, to);
            self.bounds.add(&text[from..to], prefix(text, from, to), &self.plain, || place);
        }
        self.text_bytes += (offsets[range.len()] - offsets[0]) as usize;
    }

    /// Replaces the indices by the text.
    pub(super) fn make_plain(&mut self, dictionary: &Dictionary) {
        self.bounds = Bounds::default();
        for index in self.indices.drain(..) {
            let place = self.plain.len() as u32;
            let plain = dictionary.plain(index);
            self.plain.extend_from_slice(plain);
            self.bounds.add(&plain[4..], prefix(plain, 4, plain.len()), &self.plain, || place);
        }
    }

    /// Content of the page: levels, followed by indices of this width, or text.
    pub(super) fn content(&mut self, has_levels: bool, index_width: Option<u8>) -> &[u8] {
        self.content.clear();
        if has_levels {
            self.levels.flush(&mut self.content);
        }
        if let Some(width) = index_width {
            self.content.push(width);
            put_indices(&mut self.content, &self.indices, width);
            return &self.content;
        }
        let levels = self.content.len();
        match HEADROOM.checked_sub(levels) {
            Some(start) => {
                self.plain[start..HEADROOM].copy_from_slice(&self.content);
                &self.plain[start..]
            }
            None => {
                self.content.extend_from_slice(&self.plain[HEADROOM..]);
                &self.content
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.levels.clear();
        self.indices.clear();
        self.plain.truncate(HEADROOM);
        self.plain.shrink_to(MAX_SPARE_BYTES);
        self.content.shrink_to(MAX_SPARE_BYTES);
        (self.bounds, self.text_bytes) = (Bounds::default(), 0);
    }

    /// Reduces each buffer to this size. Must be called when the page is empty.
    pub(super) fn give_back(&mut self, spare_bytes: usize) {
        self.plain.shrink_to(HEADROOM + spare_bytes);
        self.content.clear();
        self.content.shrink_to(spare_bytes);
        self.indices.shrink_to(spare_bytes / 4);
    }
}

/// Row of a value, both counted from zero.
pub(super) fn row_of(value: usize, validity: Option<&NullBuffer>) -> usize {
    let Some(validity) = validity else { return value };
    validity.valid_indices().nth(value).unwrap_or(validity.len())
}
