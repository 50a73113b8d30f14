//! Decoding of object events in messages.
//!
//! Three forms are supported: an S3 event notification, the same wrapped by SNS, and an EventBridge event (Amazon S3
//! User Guide, "Event message structure" and "Using EventBridge"). The keys of the first two are form-encoded, those of
//! the third are not.

use crate::{BadMessage, BadReason};
use millwork_manifest::ObjectUri;
use serde::Deserialize;
use std::fmt;

/// Kind of change of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The object was created or overwritten.
    Created,
    /// The object was removed.
    Removed,
}

/// Event of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// Kind of the change.
    pub kind: EventKind,
    /// URI of the object.
    pub uri: ObjectUri,
    /// Size in bytes; `None` for a removal.
    pub size_bytes: Option<u64>,
    /// Entity tag, without quotes.
    pub etag: Option<String>,
    /// Version of the object, in a bucket with versioning.
    pub version_id: Option<String>,
    /// Sequencer of the event among those of its key: hexadecimal digits, from S3.
    pub sequencer: Option<String>,
}

/// Decoded message: the valid records, and the first invalid one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Events of objects; empty for a test event, and for irrelevant kinds.
    pub events: Vec<ObjectEvent>,
    /// Fault of the message, if there is one.
    pub bad: Option<BadMessage>,
}

#[derive(Deserialize)]
struct S3Record {
    #[serde(rename = "eventVersion")]
    version: Option<String>,
    #[serde(rename = "eventName")]
    name: String,
    s3: S3Entity,
}

#[derive(Deserialize)]
struct S3Entity {
    bucket: Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct S3Object {
    key: String,
    size: Option<u64>,
    #[serde(rename = "eTag")]
    etag: Option<String>,
    #[serde(rename = "versionId")]
    version_id: Option<String>,
    sequencer: Option<String>,
}

#[derive(Deserialize)]
struct EventBridgeDetail {
    bucket: Bucket,
    object: EventBridgeObject,
}

#[derive(Deserialize)]
struct EventBridgeObject {
    key: String,
    size: Option<u64>,
    etag: Option<String>,
    #[serde(rename = "version-id")]
    version_id: Option<String>,
    sequencer: Option<String>,
}

/// Decodes the body of a message.
pub fn decode(body: &str) -> Decoded {
    let value: serde_json::Value = match serde_json::from_str(body) {
        Ok(value) => value,
        Err(e) => return Decoded::bad(BadReason::NotJson, e),
    };
    // SNS wraps the message as text in an envelope.
    match (value.get("Type").and_then(|t| t.as_str()), value.get("Message").and_then(|m| m.as_str())) {
        (Some("Notification"), Some(message)) => match serde_json::from_str(message) {
            Ok(value) => decode_value(&value),
            Err(e) => Decoded::bad(BadReason::NotJson, format!("in the Message of an SNS notification: {e}")),
        },
        _ => decode_value(&value),
    }
}

fn decode_value(value: &serde_json::Value) -> Decoded {
    if let Some(records) = value.get("Records").and_then(|records| records.as_array()) {
        return collect(records.iter().map(s3_event));
    }
    if value.get("Event").and_then(|event| event.as_str()) == Some("s3:TestEvent") {
        return Decoded::default();
    }
    if value.get("source").and_then(|source| source.as_str()) == Some("aws.s3") {
        return collect(std::iter::once(event_bridge_event(value)));
    }
    let keys = value.as_object().map(|object| object.keys().take(5).cloned().collect::<Vec<_>>().join(", "));
    let found = keys.map_or_else(|| "no object".to_owned(), |keys| format!("an object with the keys {keys}"));
    let detail = format!("neither an S3 event, nor one wrapped by SNS, nor one of EventBridge, but {found}");
    Decoded::bad(BadReason::UnknownShape, detail)
}

fn collect(records: impl Iterator<Item = Result<Option<ObjectEvent>, BadMessage>>) -> Decoded {
    let mut decoded = Decoded::default();
    for record in records {
        match record {
            Ok(event) => decoded.events.extend(event),
            Err(bad) => drop(decoded.bad.get_or_insert(bad)),
        }
    }
    decoded
}

impl Decoded {
    fn bad(reason: BadReason, detail: impl fmt::Display) -> Self {
        Self { events: Vec::new(), bad: Some(BadMessage::new(reason, detail)) }
    }
}

fn s3_event(record: &serde_json::Value) -> Result<Option<ObjectEvent>, BadMessage> {
    let record = S3Record::deserialize(record).map_err(|e| BadMessage::new(BadReason::BadRecord, e))?;
    if let Some(version) = record.version.filter(|version| !version.starts_with("2.")) {
        let detail = format!("the event version is {version}; 2.x is known");
        return Err(BadMessage::new(BadReason::UnknownVersion, detail));
    }
    // Names occur with and without the prefix that they have in bucket configurations.
    let Some(kind) = kind_of(record.name.trim_start_matches("s3:")) else { return Ok(None) };
    let object = record.s3.object;
    let key = form_decoded(&object.key)?;
    event(kind, &record.s3.bucket.name, &key, object.size, object.etag, object.version_id, object.sequencer)
}

fn kind_of(name: &str) -> Option<EventKind> {
    if name.starts_with("ObjectCreated:") {
        return Some(EventKind::Created);
    }
    let is_removal = name.starts_with("ObjectRemoved:") || name.starts_with("LifecycleExpiration:");
    is_removal.then_some(EventKind::Removed)
}

fn event_bridge_event(value: &serde_json::Value) -> Result<Option<ObjectEvent>, BadMessage> {
    let kind = match value.get("detail-type").and_then(|kind| kind.as_str()) {
        Some("Object Created") => EventKind::Created,
        Some("Object Deleted") => EventKind::Removed,
        Some(_) => return Ok(None),
        None => return Err(BadMessage::new(BadReason::BadRecord, "an EventBridge event without detail-type")),
    };
    let detail = value.get("detail").unwrap_or(&serde_json::Value::Null);
    let detail = EventBridgeDetail::deserialize(detail).map_err(|e| BadMessage::new(BadReason::BadRecord, e))?;
    let object = detail.object;
    event(kind, &detail.bucket.name, &object.key, object.size, object.etag, object.version_id, object.sequencer)
}

fn event(
    kind: EventKind,
    bucket: &str,
    key: &str,
    size_bytes: Option<u64>,
    etag: Option<String>,
    version_id: Option<String>,
    sequencer: Option<String>,
) -> Result<Option<ObjectEvent>, BadMessage> {
    // A folder created by a console.
    if key.ends_with('/') {
        return Ok(None);
    }
    // No such object can exist, but stores answer with a bad request and not with "not found", so that the message
    // would be retried without end.
    if key.len() > MAX_KEY_BYTES {
        let detail = format!("a key of {} bytes; those of S3 have at most {MAX_KEY_BYTES}", key.len());
        return Err(BadMessage::new(BadReason::BadKey, detail));
    }
    let uri: ObjectUri =
        format!("s3://{bucket}/{key}").parse().map_err(|e| BadMessage::new(BadReason::BadRecord, e))?;
    if kind == EventKind::Created && (size_bytes.is_none() || etag.is_none()) {
        return Err(BadMessage::new(BadReason::BadRecord, format!("`{uri}` has no size or no entity tag")));
    }
    Ok(Some(ObjectEvent {
        kind,
        uri,
        size_bytes,
        etag: etag.map(|etag| etag.trim_matches('"').to_owned()),
        // S3 writes "null" for objects older than the bucket's versioning.
        version_id: version_id.filter(|id| !id.is_empty() && id != "null"),
        sequencer: sequencer.filter(|text| is_sequencer(text)),
    }))
}

/// Limit of a key, in bytes (Amazon S3 User Guide, "Naming Amazon S3 objects").
const MAX_KEY_BYTES: usize = 1024;
/// Limit of the digits of a sequencer; S3 uses 16 to 18.
const MAX_SEQUENCER_DIGITS: usize = 64;

fn is_sequencer(text: &str) -> bool {
    (1..=MAX_SEQUENCER_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Decodes a form-encoded key: `+` is a space, `%2B` a plus.
fn form_decoded(key: &str) -> Result<String, BadMessage> {
    let wrong = || BadMessage::new(BadReason::BadKey, format!("`{key}` is not form-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16)).ok_or_else(wrong);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
