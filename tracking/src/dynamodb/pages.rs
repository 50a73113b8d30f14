//! Pages of listings, and the cursors between them.
//!
//! A cursor is the key after which the next page begins, as JSON in base64. It remains valid if its item changes or is
//! removed.

use super::DynamoStore;
use super::item::Item;
use super::request::{Query, unavailable};
use crate::{TrackingError, TrackingResult};
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;

/// Items returned by one request of a listing.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) items: Vec<Item>,
    /// Key after which there may be more items.
    pub(super) next: Option<Item>,
}

impl DynamoStore {
    /// Reads at most `limit` items of a query, after a key.
    pub(super) async fn query_some(
        &self,
        table: &str,
        query: &Query,
        after: Option<Item>,
        limit: usize,
    ) -> TrackingResult<Part> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let request = self.query_request(table, query).set_exclusive_start_key(after).limit(limit);
        let output = request.send().await.map_err(|e| unavailable(table, &e))?;
        Ok(Part { items: output.items.unwrap_or_default(), next: output.last_evaluated_key })
    }
}

/// Encodes a key, all of whose attributes are texts.
pub(super) fn cursor_of(key: &Item) -> String {
    let key: BTreeMap<&str, &str> =
        key.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_s().ok()?.as_str()))).collect();
    URL_SAFE_NO_PAD.encode(serde_json::json!(key).to_string())
}

/// Decodes the key in a cursor, of any kind.
pub(super) fn key_of(cursor: &str) -> TrackingResult<Item> {
    let json = URL_SAFE_NO_PAD.decode(cursor).ok();
    let key: Option<BTreeMap<String, String>> = json.and_then(|json| serde_json::from_slice(&json).ok());
    let key = key.ok_or_else(|| TrackingError::BadCursor(cursor.to_owned()))?;
    Ok(key.into_iter().map(|(name, value)| (name, AttributeValue::S(value))).collect())
}

/// Decodes the key in a cursor, which must be in this partition of an index, with exactly these other attributes.
pub(super) fn place_of(
    cursor: &str,
    others: &[&str],
    (partition, value): (&str, &AttributeValue),
) -> TrackingResult<Item> {
    let key = key_of(cursor)?;
    let fits = key.len() == others.len() + 1 && others.iter().all(|name| key.contains_key(*name));
    if fits && key.get(partition) == Some(value) { Ok(key) } else { Err(TrackingError::BadCursor(cursor.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::super::item::text;
    use super::*;

    #[test]
    fn a_cursor_is_good_in_its_own_partition_only() {
        let key = [("manifest_id", "m"), ("status", "queued")].map(|(name, value)| (name.to_owned(), text(value)));
        let key = Item::from(key);
        let cursor = cursor_of(&key);
        assert_eq!(place_of(&cursor, &["manifest_id"], ("status", &text("queued"))).unwrap(), key);
        for (others, partition, value) in [
            (&["manifest_id"], "status", "failed"),
            (&["created_at"], "status", "queued"),
            (&["status"], "kind", "run"),
        ] {
            let place = place_of(&cursor, others, (partition, &text(value)));
            assert!(matches!(place, Err(TrackingError::BadCursor(_))), "{place:?}");
        }
    }
}
