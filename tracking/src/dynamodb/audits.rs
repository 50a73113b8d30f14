//! Audit records and change plans: items of the metrics table, with compressed JSON as content.

use super::DynamoStore;
use super::documents::{compressed, expanded};
use super::expression::Expression;
use super::item::{Item, epoch, number, parsed, text, time};
use super::key;
use super::metrics::KEEP;
use super::pages::{cursor_of, place_of};
use super::request::{Query, Written};
use crate::audit::MAX_LOOK;
use crate::{
    AuditEntry, AuditFilter, AuditStore, MAX_RECORD_BYTES, Page, PlanRecord, PlanStore, TrackingError, TrackingResult,
};
use async_trait::async_trait;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use millwork_manifest::DatePrefix;

/// Limit of the records per request of a listing: records can be large, and a request reads at most 1 MB.
const PART: usize = 100;

impl DynamoStore {
    /// The sort key consists of time and id, so that writing a record again replaces it.
    pub(super) async fn put_audit(&self, entry: &AuditEntry) -> TrackingResult<()> {
        let day = DatePrefix::from(entry.at.date_naive());
        let corrupt = |e: serde_json::Error| TrackingError::Corrupt { what: "audit entry", value: e.to_string() };
        let content = self.content(&serde_json::to_string(entry).map_err(corrupt)?)?;
        let mut item = key::metric(key::audits(day), entry.place());
        item.extend([
            ("at".to_owned(), time(entry.at)),
            ("actor".to_owned(), text(&entry.actor)),
            ("action".to_owned(), text(&entry.action)),
            ("entry".to_owned(), content),
            ("ttl".to_owned(), epoch(entry.at + KEEP)),
        ]);
        self.put(&self.names.metrics, item, &Expression::new()).await.map(drop)
    }

    pub(super) async fn audits_of(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>> {
        let partition = text(key::audits(filter.day));
        let expression = Expression::new().when("metric_date", "=", partition.clone());
        let query = Query { expression, newest_first: true, ..Query::default() };
        let place = |cursor: &String| place_of(cursor, &["metric_type"], ("metric_date", &partition));
        let mut after = filter.cursor.as_ref().map(place).transpose()?;
        let (mut items, mut left) = (Vec::new(), if filter.subject.is_some() { MAX_LOOK } else { filter.limit });
        'pages: while left > 0 {
            let part = self.query_some(&self.names.metrics, &query, after.take(), left.min(PART)).await?;
            left = left.saturating_sub(part.items.len().max(1));
            for item in &part.items {
                let entry = entry_of(item)?;
                let place = entry.place();
                let is_wanted = filter.subject.as_ref().is_none_or(|subject| entry.is_about(subject));
                if is_wanted {
                    items.push(entry);
                }
                if items.len() == filter.limit {
                    after = Some(key::metric(key::audits(filter.day), place));
                    break 'pages;
                }
            }
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        Ok(Page { items, next_cursor: after.as_ref().map(cursor_of) })
    }

    pub(super) async fn put_new_plan(&self, plan: &PlanRecord) -> TrackingResult<bool> {
        let mut item = key::plan(&plan.id);
        item.extend([
            ("revision".to_owned(), number(plan.revision)),
            ("forget_after".to_owned(), time(plan.forget_after)),
            ("document".to_owned(), self.content(&plan.document)?),
            ("ttl".to_owned(), epoch(plan.forget_after)),
        ]);
        let absent = Expression::new().when_absent("metric_date");
        match self.put(&self.names.metrics, item, &absent).await? {
            Written::Done(_) => Ok(true),
            // An earlier request may have succeeded and its answer been lost.
            Written::Refused(found) => {
                Ok(found.map(|item| plan_of(&plan.id, &item)).transpose()?.as_ref() == Some(plan))
            }
        }
    }

    pub(super) async fn find_plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>> {
        let item = self.get(&self.names.metrics, key::plan(id)).await?;
        item.map(|item| plan_of(id, &item)).transpose()
    }

    pub(super) async fn write_plan(&self, plan: &PlanRecord) -> TrackingResult<bool> {
        let change = Expression::new()
            .set("revision", number(plan.revision))
            .set("forget_after", time(plan.forget_after))
            .set("document", self.content(&plan.document)?)
            .set("ttl", epoch(plan.forget_after))
            .when("revision", "=", number(plan.revision.saturating_sub(1)));
        match self.update(&self.names.metrics, key::plan(&plan.id), &change).await? {
            Written::Done(_) => Ok(true),
            Written::Refused(found) => {
                Ok(found.map(|item| plan_of(&plan.id, &item)).transpose()?.as_ref() == Some(plan))
            }
        }
    }

    fn content(&self, document: &str) -> TrackingResult<AttributeValue> {
        let bytes = compressed(document)?;
        if bytes.len() > MAX_RECORD_BYTES {
            let message = format!(
                "a note or plan has {} bytes, compressed; the limit is {MAX_RECORD_BYTES}: choose fewer subjects at once",
                bytes.len()
            );
            return Err(TrackingError::Refused { store: self.names.metrics.clone(), message });
        }
        Ok(AttributeValue::B(Blob::new(bytes)))
    }
}

fn expanded_attribute(item: &Item, name: &str, what: &'static str) -> TrackingResult<String> {
    let lost = || TrackingError::Corrupt { what, value: name.to_owned() };
    let bytes = item.get(name).and_then(|value| value.as_b().ok()).ok_or_else(lost)?;
    expanded(bytes.as_ref()).map_err(|_| lost())
}

fn entry_of(item: &Item) -> TrackingResult<AuditEntry> {
    let document = expanded_attribute(item, "entry", "audit entry")?;
    serde_json::from_str(&document).map_err(|e| TrackingError::Corrupt { what: "audit entry", value: e.to_string() })
}

fn plan_of(id: &str, item: &Item) -> TrackingResult<PlanRecord> {
    let forget_after: DateTime<chrono::Utc> = parsed(item, "forget_after", "time")?;
    Ok(PlanRecord {
        id: id.to_owned(),
        revision: parsed(item, "revision", "revision")?,
        forget_after,
        document: expanded_attribute(item, "document", "plan")?,
    })
}

#[async_trait]
impl AuditStore for DynamoStore {
    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()> {
        self.put_audit(entry).await
    }

    async fn audits(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>> {
        self.audits_of(filter).await
    }
}

#[async_trait]
impl PlanStore for DynamoStore {
    async fn put_plan(&self, plan: &PlanRecord, _now: DateTime<Utc>) -> TrackingResult<bool> {
        self.put_new_plan(plan).await
    }

    async fn plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>> {
        self.find_plan(id).await
    }

    async fn update_plan(&self, plan: &PlanRecord) -> TrackingResult<bool> {
        self.write_plan(plan).await
    }
}
