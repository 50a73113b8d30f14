//! Queries of listings that come in pages.

use crate::{AuditQuery, FileQuery, Limit, PartQuery, QuarantineQuery, RunQuery};

/// Query of a listing that comes in pages.
pub trait PagedQuery {
    /// Sets the part of the listing that is asked for.
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
