//! Cursors of filtered listings: each is bound to its filters, and refused for others.

use super::error::ApiError;
use millwork_api::{ErrorCode, PagedQuery};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Length of the digest of the filters at the start of a cursor, in bytes: 4, which detects mistakes, not attacks.
const MARK: usize = 4;

/// Digest of a query without its page.
pub(super) fn mark(query: &(impl PagedQuery + Serialize + Clone)) -> Result<String, ApiError> {
    let mut list = query.clone();
    list.set_page(1, None);
    let text = serde_json::to_vec(&list).map_err(|error| ApiError::new(ErrorCode::Bug, error))?;
    Ok(Sha256::digest(&text).iter().take(MARK).map(|byte| format!("{byte:02x}")).collect())
}

/// The store's cursor inside one that a client sent.
pub(super) fn open(mark: &str, given: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    match given.strip_prefix(mark).and_then(|rest| rest.strip_prefix('.')) {
        Some(inner) => Ok(Some(inner.to_owned())),
        None => Err(ApiError::new(
            ErrorCode::BadQuery,
            "the cursor is of another list, whose filters were others: begin again without `cursor`",
        )),
    }
}

/// Wraps the store's cursor for a client.
pub(super) fn seal(mark: &str, inner: Option<String>) -> Option<String> {
    inner.map(|inner| format!("{mark}.{inner}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_api::{FileQuery, RunQuery};

    #[test]
    fn a_cursor_is_of_its_list_whatever_the_page() {
        let failed = RunQuery { prefix: Some("2025".to_owned()), ..RunQuery::default() };
        let of_failed = mark(&failed).unwrap();
        let handed = seal(&of_failed, Some("a.b".to_owned())).unwrap();
        let mut next = failed.clone();
        next.set_page(7, Some(handed.clone()));
        assert_eq!(open(&mark(&next).unwrap(), Some(&handed)).unwrap().as_deref(), Some("a.b"));
        for other in [mark(&RunQuery::default()).unwrap(), mark(&FileQuery::default()).unwrap()] {
            assert!(open(&other, Some(&handed)).is_err());
        }
        assert!(open(&of_failed, Some("a.b")).is_err() && open(&of_failed, None).unwrap().is_none());
        assert_eq!(seal(&of_failed, None), None);
    }
}
