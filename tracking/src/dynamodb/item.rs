//! Conversion between items and types.

use crate::{Backlog, Sequencer, TimelineEntry, TrackedFile, TrackingError, TrackingResult};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use millwork_manifest::{FileState, QuarantineReason};
use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

/// An item, or the key of one.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Retention of a file that is completed, or of which only its removal is known.
pub(super) const KEEP_FILE: Duration = Duration::days(7);
/// Limit of a timeline text, in bytes.
const MAX_DETAIL: usize = 256;

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A time in its stored form: texts of equal length, which sort by time.
pub(super) fn time(at: DateTime<Utc>) -> AttributeValue {
    text(at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// Expiry time of an item, in Unix seconds.
pub(super) fn epoch(at: DateTime<Utc>) -> AttributeValue {
    number(at.timestamp())
}

/// Text of an attribute, whether stored as string or number.
pub(super) fn get<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name)? {
        AttributeValue::S(value) | AttributeValue::N(value) => Some(value),
        _ => None,
    }
}

pub(super) fn owned(item: &Item, name: &str) -> Option<String> {
    get(item, name).map(str::to_owned)
}

/// Beginning of a text, of at most `max_bytes`.
pub(super) fn cut(value: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(value.len())).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
    &value[..end]
}

/// Value of an attribute that must exist and be valid.
pub(super) fn parsed<T: FromStr>(item: &Item, name: &str, what: &'static str) -> TrackingResult<T> {
    let value = get(item, name).unwrap_or_default();
    value.parse().map_err(|_| TrackingError::Corrupt { what, value: format!("{name}={value}") })
}

/// Value of an attribute that must be valid if it exists.
pub(super) fn optional<T: FromStr>(item: &Item, name: &str, what: &'static str) -> TrackingResult<Option<T>> {
    get(item, name).map(|_| parsed(item, name, what)).transpose()
}

/// A file with its timeline in stored form.
#[derive(Clone, Debug)]
pub(super) struct StoredFile {
    pub(super) file: TrackedFile,
    pub(super) timeline: Vec<AttributeValue>,
}

impl StoredFile {
    pub(super) fn of_item(item: &Item) -> TrackingResult<Self> {
        let timeline = item.get("timeline").and_then(|value| value.as_l().ok()).cloned().unwrap_or_default();
        Ok(Self { file: tracked_file(item)?, timeline })
    }
}

pub(super) fn tracked_file(item: &Item) -> TrackingResult<TrackedFile> {
    Ok(TrackedFile {
        uri: parsed(item, "file_path", "object URI")?,
        date: optional(item, "date", "date")?,
        size_bytes: parsed(item, "file_size_bytes", "file size")?,
        etag: owned(item, "etag").unwrap_or_default(),
        version_id: owned(item, "version_id"),
        sequencer: get(item, "sequencer").map(Sequencer::new),
        state: parsed(item, "status", "file state")?,
        version: parsed(item, "version", "version")?,
        manifest_id: owned(item, "manifest_id"),
        reason: owned(item, "reason"),
        quarantine_uri: owned(item, "quarantine_uri"),
        overwritten_etag: owned(item, "overwritten_etag"),
        arrived_at: parsed(item, "upload_time", "time")?,
        updated_at: parsed(item, "updated_at", "time")?,
    })
}

/// Attributes of a file that can change, in a fixed order; `None` for missing ones.
pub(super) fn file_attributes(file: &TrackedFile) -> [(&'static str, Option<AttributeValue>); 17] {
    let date = || file.date.map(|date| text(date.to_string()));
    let optional = |value: &Option<String>| value.as_ref().map(text);
    let is = |state| file.state == state;
    let is_missing = || file.reason.as_deref() == Some(QuarantineReason::MissingObject.as_str());
    let was_never_there = is(FileState::Quarantined) && file.version == 1 && is_missing();
    [
        ("status", Some(text(file.state.as_str()))),
        ("file_size_bytes", Some(number(file.size_bytes))),
        ("file_size_mb", Some(number(format!("{:.3}", file.size_bytes as f64 / 1_048_576.0)))),
        ("etag", Some(text(&file.etag))),
        ("version_id", optional(&file.version_id)),
        ("sequencer", file.sequencer.as_ref().map(|sequencer| text(sequencer.as_str()))),
        ("version", Some(number(file.version))),
        ("manifest_id", optional(&file.manifest_id)),
        // Name of the attribute in the pipeline that Millwork replaces, for other readers of the table.
        ("batch_id", optional(&file.manifest_id)),
        ("reason", optional(&file.reason)),
        ("quarantine_uri", optional(&file.quarantine_uri)),
        ("overwritten_etag", optional(&file.overwritten_etag)),
        ("date", date()),
        ("updated_at", Some(time(file.updated_at))),
        ("upload_time", Some(time(file.arrived_at))),
        // Set only for pending files, so that the index contains no others.
        ("pending_date", date().filter(|_| is(FileState::Pending))),
        ("ttl", (is(FileState::Completed) || was_never_there).then(|| epoch(file.updated_at + KEEP_FILE))),
    ]
}

/// Item of a new file.
pub(super) fn file_item(key: Item, file: &TrackedFile, notes: &[TimelineEntry]) -> Item {
    let attributes = file_attributes(file).into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let notes = AttributeValue::L(notes.iter().map(timeline_value).collect());
    let more = [("file_path".to_owned(), text(file.uri.as_str())), ("timeline".to_owned(), notes)];
    key.into_iter().chain(attributes).chain(more).collect()
}

pub(super) fn timeline_value(entry: &TimelineEntry) -> AttributeValue {
    let mut map = Item::from([("at".to_owned(), time(entry.at)), ("state".to_owned(), text(entry.state.as_str()))]);
    if let Some(detail) = &entry.detail {
        map.insert("detail".to_owned(), text(cut(detail, MAX_DETAIL)));
    }
    AttributeValue::M(map)
}

pub(super) fn timeline_entry(value: &AttributeValue) -> TrackingResult<TimelineEntry> {
    let corrupt = |_: &AttributeValue| TrackingError::Corrupt { what: "timeline entry", value: format!("{value:?}") };
    let map = value.as_m().map_err(corrupt)?;
    Ok(TimelineEntry {
        at: parsed(map, "at", "time")?,
        state: parsed(map, "state", "file state")?,
        detail: owned(map, "detail"),
    })
}

/// Decodes a backlog. A crash can lose counter updates, so that negative values are shown as 0.
pub(super) fn backlog(item: &Item) -> TrackingResult<Backlog> {
    let count = |name| TrackingResult::Ok(optional::<i64>(item, name, "backlog")?.unwrap_or(0).max(0).unsigned_abs());
    let pending_files = count("pending_files")?;
    if pending_files == 0 {
        return Ok(Backlog::default());
    }
    let oldest_pending = optional(item, "oldest_pending", "time")?;
    Ok(Backlog { pending_files, pending_bytes: count("pending_bytes")?, oldest_pending })
}
