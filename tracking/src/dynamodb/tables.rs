//! Definitions of the tables and indexes, and their creation.

use super::TableNames;
use super::request::{incomplete, unavailable};
use crate::{TrackingError, TrackingResult};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, GlobalSecondaryIndexDescription, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType, TableDescription, TimeToLiveSpecification, TimeToLiveStatus,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Index of files, or runs, by state and time.
pub(super) const STATUS_INDEX: &str = "status-index";
/// Index of pending files by date and time. Contains no others, so that its cost is that of pending files.
pub(super) const PENDING_INDEX: &str = "pending-index";
/// Index of runs by the date of their manifest and time.
pub(super) const DATE_INDEX: &str = "date-index";
/// Index of all runs by time.
pub(super) const AGE_INDEX: &str = "age-index";
/// Index of queued runs, in the order in which they are to start, and of failing runs. Contains no others.
pub(super) const QUEUE_INDEX: &str = "queue-index";
/// Attribute with the expiry time of an item, in Unix seconds.
const TTL: &str = "ttl";
/// Time limit for a new table to become usable.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Required definition of a table. All keys are strings; billing is per request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    /// Name of the table.
    pub name: String,
    /// Partition key of the table.
    pub partition_key: &'static str,
    /// Sort key of the table, if it has one.
    pub sort_key: Option<&'static str>,
    /// Global secondary indexes of the table.
    pub indexes: Vec<IndexDefinition>,
    /// The attribute by which items expire, if they do.
    pub ttl_attribute: Option<&'static str>,
}

/// A global secondary index, which holds all attributes of its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Name of the index.
    pub name: &'static str,
    /// Partition key; an item without it is not in the index.
    pub partition_key: &'static str,
    /// Sort key of the index.
    pub sort_key: &'static str,
}

/// Tables of a store. There is a separate lock table only if its name differs from that of the tracking table.
pub fn table_definitions(names: &TableNames) -> Vec<TableDefinition> {
    let index = |name, partition_key, sort_key| IndexDefinition { name, partition_key, sort_key };
    let tracking = TableDefinition {
        name: names.tracking.clone(),
        partition_key: "date_prefix",
        sort_key: Some("file_key"),
        indexes: vec![
            index(STATUS_INDEX, "status", "upload_time"),
            index(PENDING_INDEX, "pending_date", "upload_time"),
        ],
        ttl_attribute: Some(TTL),
    };
    let locks = TableDefinition {
        name: names.lock.clone(),
        partition_key: "date_prefix",
        sort_key: Some("file_key"),
        indexes: Vec::new(),
        ttl_attribute: None,
    };
    let metrics = TableDefinition {
        name: names.metrics.clone(),
        partition_key: "metric_date",
        sort_key: Some("metric_type"),
        indexes: Vec::new(),
        ttl_attribute: Some(TTL),
    };
    let runs = TableDefinition {
        name: names.runs.clone(),
        partition_key: "manifest_id",
        sort_key: None,
        indexes: vec![
            index(STATUS_INDEX, "status", "created_at"),
            index(DATE_INDEX, "date_prefix", "created_at"),
            index(AGE_INDEX, "kind", "created_at"),
            index(QUEUE_INDEX, "queue", "queue_key"),
        ],
        ttl_attribute: None,
    };
    let shared = names.lock == names.tracking;
    [Some(tracking), (!shared).then_some(locks), Some(metrics), Some(runs)].into_iter().flatten().collect()
}

/// Creates the missing tables of a store. Returns the names of the new ones.
pub async fn create_tables(client: &Client, names: &TableNames) -> TrackingResult<Vec<String>> {
    let mut created = Vec::new();
    for definition in table_definitions(names) {
        if create_table(client, &definition).await? {
            created.push(definition.name);
        }
    }
    Ok(created)
}

/// Text of the innermost cause of an error.
fn plain_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_else(|| error.to_string())
}

/// Creates a table if it does not exist, waits until it is usable, and sets its expiry attribute. Returns whether it is
/// new.
///
/// Every step is idempotent, so that a repeated call completes what a crash interrupted.
pub async fn create_table(client: &Client, definition: &TableDefinition) -> TrackingResult<bool> {
    let name = definition.name.as_str();
    let request = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes(definition).map_err(incomplete)?))
        .set_key_schema(Some(key_schema(definition.partition_key, definition.sort_key).map_err(incomplete)?))
        .set_global_secondary_indexes(indexes(definition).map_err(incomplete)?);
    let is_new = match request.send().await {
        Ok(_) => true,
        Err(error) => match error.as_service_error() {
            Some(CreateTableError::ResourceInUseException(_)) => false,
            _ => return Err(unavailable(name, &error)),
        },
    };
    let wait = client.wait_until_table_exists().table_name(name).wait(MAX_WAIT).await;
    let usable = wait.map_err(|e| TrackingError::Unavailable {
        store: name.to_owned(),
        message: format!("the table is not usable yet: {}", plain_cause(&e)),
    })?;
    let described = usable.as_result().ok().and_then(|output| output.table());
    check_indexes(definition, described.map_or(&[], TableDescription::global_secondary_indexes))?;
    if let Some(attribute) = definition.ttl_attribute {
        expire_by(client, name, attribute).await?;
    }
    Ok(is_new)
}

/// Refuses an existing table that lacks required indexes.
pub(super) fn check_indexes(
    definition: &TableDefinition,
    found: &[GlobalSecondaryIndexDescription],
) -> TrackingResult<()> {
    let is_there = |wanted: &IndexDefinition| found.iter().any(|index| index.index_name() == Some(wanted.name));
    match definition.indexes.iter().find(|index| !is_there(index)) {
        None => Ok(()),
        Some(IndexDefinition { name, partition_key, sort_key }) => Err(TrackingError::Open {
            store: definition.name.clone(),
            message: format!(
                "the table is there, but has no index `{name}` with keys `{partition_key}` and `{sort_key}`: \
                 add it, or name another table"
            ),
        }),
    }
}

/// Sets the expiry attribute of a table, unless it is set.
async fn expire_by(client: &Client, name: &str, attribute: &str) -> TrackingResult<()> {
    let described = client.describe_time_to_live().table_name(name).send().await.map_err(|e| unavailable(name, &e))?;
    let status = described.time_to_live_description.and_then(|described| described.time_to_live_status);
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let wanted = TimeToLiveSpecification::builder().enabled(true).attribute_name(attribute).build();
    let request = client.update_time_to_live().table_name(name).time_to_live_specification(wanted.map_err(incomplete)?);
    request.send().await.map_err(|e| unavailable(name, &e))?;
    Ok(())
}

fn attributes(definition: &TableDefinition) -> Result<Vec<AttributeDefinition>, BuildError> {
    let own = [Some(definition.partition_key), definition.sort_key].into_iter().flatten();
    let indexed = definition.indexes.iter().flat_map(|index| [index.partition_key, index.sort_key]);
    let names: BTreeSet<&str> = own.chain(indexed).collect();
    let attribute =
        |name| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
    names.into_iter().map(attribute).collect()
}

fn key_schema(partition_key: &str, sort_key: Option<&str>) -> Result<Vec<KeySchemaElement>, BuildError> {
    let keys = [Some((partition_key, KeyType::Hash)), sort_key.map(|key| (key, KeyType::Range))];
    let element = |(name, kind)| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    keys.into_iter().flatten().map(element).collect()
}

/// Index definitions for the request; `None` if there are none, since DynamoDB refuses an empty list.
fn indexes(definition: &TableDefinition) -> Result<Option<Vec<GlobalSecondaryIndex>>, BuildError> {
    let index = |index: &IndexDefinition| {
        GlobalSecondaryIndex::builder()
            .index_name(index.name)
            .set_key_schema(Some(key_schema(index.partition_key, Some(index.sort_key))?))
            .projection(Projection::builder().projection_type(ProjectionType::All).build())
            .build()
    };
    let indexes: Vec<_> = definition.indexes.iter().map(index).collect::<Result<_, _>>()?;
    Ok((!indexes.is_empty()).then_some(indexes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_have_a_table_of_their_own_only_if_it_is_named() {
        let names = |lock: &str| TableNames {
            tracking: "t".to_owned(),
            lock: lock.to_owned(),
            metrics: "m".to_owned(),
            runs: "r".to_owned(),
        };
        let tables = |lock| table_definitions(&names(lock)).into_iter().map(|table| table.name).collect::<Vec<_>>();
        assert_eq!(tables("t"), ["t", "m", "r"]);
        assert_eq!(tables("l"), ["t", "l", "m", "r"]);
    }

    #[test]
    fn every_key_is_declared_once() {
        let names = TableNames { tracking: "t".into(), lock: "t".into(), metrics: "m".into(), runs: "r".into() };
        let tracking = &table_definitions(&names)[0];
        let declared: Vec<String> =
            attributes(tracking).unwrap().iter().map(|attribute| attribute.attribute_name().to_owned()).collect();
        assert_eq!(declared, ["date_prefix", "file_key", "pending_date", "status", "upload_time"]);
    }
}
