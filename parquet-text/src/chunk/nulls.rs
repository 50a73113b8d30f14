//! Column chunks without any value.

use super::TextChunk;
use crate::pages::{Compressor, PageHeader};
use arrow::buffer::NullBuffer;
use parquet::basic::{Encoding, PageType};
use parquet::errors::ParquetError;

impl TextChunk {
    /// Removes the dictionary of a chunk without values, since some readers refuse an empty one.
    pub(super) fn make_nulls_plain(&mut self, compressor: &mut Compressor) -> Result<(), ParquetError> {
        self.has_dictionary = false;
        if self.pages.is_empty() {
            return Ok(());
        }
        self.encoded.take();
        let open = self.open.levels.rows();
        self.open.levels.clear();
        let has_levels = self.descriptor.max_def_level() > 0;
        for page in &mut self.pages {
            self.open.levels.append(page.rows, Some(&NullBuffer::new_null(page.rows)));
            page.encoding = Encoding::PLAIN;
            let header = PageHeader { kind: PageType::DATA_PAGE, encoding: page.encoding, values: page.rows };
            page.size = compressor.page(&header, self.open.content(has_levels, None), &mut self.encoded)?;
        }
        if open > 0 {
            self.open.levels.append(open, Some(&NullBuffer::new_null(open)));
        }
        Ok(())
    }
}
