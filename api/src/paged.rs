//! Queries of paged listings.

use crate::{AuditQuery, FileQuery, Limit, PartQuery, QuarantineQuery, RunQuery};

/// Query of a paged listing.
pub trait PagedQuery {
    /// Selects the page: at most `limit` items, from the cursor on.
    fn set_page(&mut self, limit: usize, cursor: Option<String>);
}

macro_rules! paged {
    ($($query:ty),*) => {$(
        impl PagedQuery for $query {
            fn set_page(&mut self, limit: usize, cursor: Option<String>) {
                (self.limit, self.cursor) = (Limit(limit), cursor);
            }
        }
    )*};
}

paged!(RunQuery, FileQuery, QuarantineQuery, PartQuery, AuditQuery);
