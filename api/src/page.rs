//! Pages of listings.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Limit of items on a page: 1 to `MAX`, 100 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit<const MAX: usize = 1000>(pub usize);

impl<const MAX: usize> Default for Limit<MAX> {
    fn default() -> Self {
        Self(100)
    }
}

impl<const MAX: usize> From<Limit<MAX>> for String {
    fn from(limit: Limit<MAX>) -> Self {
        limit.0.to_string()
    }
}

impl<const MAX: usize> TryFrom<String> for Limit<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let limit = text.parse().ok().filter(|limit| (1..=MAX).contains(limit));
        limit.map(Self).ok_or_else(|| format!("a limit is 1 to {MAX}, not `{text}`"))
    }
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items; perhaps fewer than the limit, or none, though there are more pages.
    pub items: Vec<T>,
    /// Value to send as `cursor` for the next page; null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}
