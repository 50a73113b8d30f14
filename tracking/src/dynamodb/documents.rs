//! Long texts: manifest documents and commit records, compressed.
//!
//! A short text is an attribute. A long one is cut into parts in items of their own, which are named by a hash of the
//! text and written before the item that refers to them, so that a reader of that item finds all parts of one version.
//! A crash in between leaves unreferenced parts, which are harmless.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{Item, number, parsed, text};
use super::key;
use super::request::{all, put_action};
use crate::{TrackingError, TrackingResult};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use chrono::DateTime;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use millwork_manifest::{Manifest, ManifestId};
use std::collections::HashMap;
use std::io::{Read, Write};

/// Limit of a compressed text that is stored as an attribute, in bytes: two of them fit in an item of 400 KB.
const MAX_INLINE: usize = 150_000;
/// Limit of a compressed part of a longer text, in bytes: an item has at most 400 KB.
const PART_BYTES: usize = 350_000;

impl DynamoStore {
    /// Stores a text of a manifest. Returns the attribute that contains or refers to it.
    pub(super) async fn store_text(&self, id: &ManifestId, content: &str) -> TrackingResult<AttributeValue> {
        let bytes = compressed(content)?;
        if bytes.len() <= MAX_INLINE {
            return Ok(AttributeValue::B(Blob::new(bytes)));
        }
        let hash = key::hash(&bytes);
        let parts = bytes.chunks(PART_BYTES).enumerate().map(|(index, bytes)| {
            let mut item = key::part(&hash, id, index);
            item.insert("content".to_owned(), AttributeValue::B(Blob::new(bytes)));
            item
        });
        let parts: Vec<Item> = parts.collect();
        let (count, anyway) = (parts.len(), Expression::new());
        all(parts.into_iter().map(|part| self.put(&self.names.runs, part, &anyway)).collect()).await?;
        let pointer = Item::from([("hash".to_owned(), text(hash)), ("parts".to_owned(), number(count))]);
        Ok(AttributeValue::M(pointer))
    }

    /// Text that an attribute contains or refers to.
    pub(super) async fn load_text(&self, id: &ManifestId, attribute: &AttributeValue) -> TrackingResult<String> {
        let lost = || TrackingError::Corrupt { what: "document of manifest", value: id.to_string() };
        let pointer = match attribute {
            AttributeValue::B(bytes) => return expanded(bytes.as_ref()).map_err(|_| lost()),
            AttributeValue::M(pointer) => pointer,
            _ => return Err(lost()),
        };
        let hash: String = parsed(pointer, "hash", "hash")?;
        let count: usize = parsed(pointer, "parts", "number of parts")?;
        let parts = (0..count).map(|index| self.get(&self.names.runs, key::part(&hash, id, index)));
        let mut bytes = Vec::new();
        for part in all(parts.collect()).await? {
            let content = part.as_ref().and_then(|part| part.get("content")?.as_b().ok()).ok_or_else(lost)?;
            bytes.extend_from_slice(content.as_ref());
        }
        expanded(&bytes).map_err(|_| lost())
    }

    /// Builds the write of a manifest's document, for the transaction that creates its run.
    pub(super) async fn document_action(&self, manifest: &Manifest) -> TrackingResult<TransactWriteItem> {
        let mut item = key::document(&manifest.id);
        item.insert("document".to_owned(), self.store_text(&manifest.id, &manifest.to_json()).await?);
        put_action(&self.names.runs, item, &Expression::new())
    }

    /// The manifest of a run; `None` if there is no such run.
    pub(super) async fn manifest_of(&self, id: &ManifestId) -> TrackingResult<Option<Manifest>> {
        match self.get(&self.names.runs, key::document(id)).await? {
            Some(item) => self.manifest_of_item(id, Some(&item)).await.map(Some),
            None => Ok(None),
        }
    }

    /// The manifest of a run that must exist.
    pub(super) async fn known_manifest(&self, id: &ManifestId) -> TrackingResult<Manifest> {
        let item = self.get(&self.names.runs, key::document(id)).await?;
        self.manifest_of_item(id, item.as_ref()).await
    }

    /// The manifests of many runs, in order, with a result for each.
    pub(super) async fn manifests(&self, ids: &[ManifestId]) -> TrackingResult<Vec<TrackingResult<Manifest>>> {
        let items = self.get_many(&self.names.runs, ids.iter().map(key::document).collect()).await?;
        let key_of = |item: &Item| item.get("manifest_id").cloned();
        let mut by_key: HashMap<String, Item> =
            items.into_iter().filter_map(|item| Some((key_of(&item)?.as_s().ok()?.clone(), item))).collect();
        let mut manifests = Vec::with_capacity(ids.len());
        for id in ids {
            let key = key_of(&key::document(id)).and_then(|key| key.as_s().ok().cloned()).unwrap_or_default();
            manifests.push(self.manifest_of_item(id, by_key.remove(&key).as_ref()).await);
        }
        Ok(manifests)
    }

    async fn manifest_of_item(&self, id: &ManifestId, item: Option<&Item>) -> TrackingResult<Manifest> {
        let lost = || TrackingError::Corrupt { what: "document of manifest", value: id.to_string() };
        let attribute = item.and_then(|item| item.get("document")).ok_or_else(lost)?;
        let document = self.load_text(id, attribute).await?;
        Manifest::parse_own(id.as_str(), document.as_bytes(), DateTime::default())
            .map_err(|e| TrackingError::Corrupt { what: "a manifest", value: e.to_string() })
    }
}

pub(super) fn compressed(content: &str) -> TrackingResult<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let bytes = encoder.write_all(content.as_bytes()).and_then(|()| encoder.finish());
    // Writing to memory cannot fail.
    bytes.map_err(|e| TrackingError::Corrupt { what: "document", value: e.to_string() })
}

pub(super) fn expanded(bytes: &[u8]) -> std::io::Result<String> {
    let mut content = String::new();
    GzDecoder::new(bytes).read_to_string(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        let content = "{\"é\":1}".repeat(1000);
        let bytes = compressed(&content).unwrap();
        assert!(bytes.len() < content.len() / 10);
        assert_eq!(expanded(&bytes).unwrap(), content);
        assert!(expanded(b"x").is_err());
    }
}
