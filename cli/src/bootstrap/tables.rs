//! Tables, as defined by the tracking store.

use super::aws::{Aws, failed};
use super::plan::Action;
use anyhow::bail;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{KeySchemaElement, KeyType, TableDescription, TimeToLiveDescription, TimeToLiveStatus};
use millwork_manifest::Service;
use millwork_tracking::{TableDefinition, create_table};

pub(super) async fn look(aws: &Aws, table: &TableDefinition) -> anyhow::Result<Action> {
    let name = &table.name;
    let found = match aws.dynamodb.describe_table().table_name(name).send().await {
        Ok(found) => found.table,
        Err(e) if matches!(e.as_service_error(), Some(DescribeTableError::ResourceNotFoundException(_))) => None,
        Err(e) => return Err(failed(Service::DynamoDb, format!("cannot read table `{name}`"), &e)),
    };
    let Some(found) = found else { return Ok(Action::Create) };
    check_keys(table, &found)?;
    let Some(wanted) = table.ttl_attribute else { return Ok(Action::Unchanged) };
    let described = aws.dynamodb.describe_time_to_live().table_name(name).send().await;
    let described =
        described.map_err(|e| failed(Service::DynamoDb, format!("cannot read the expiry of table `{name}`"), &e))?;
    match expires_by(described.time_to_live_description.as_ref()) {
        None => Ok(Action::Update(vec![format!("items expire by {wanted}")])),
        Some(attribute) if attribute == wanted => Ok(Action::Unchanged),
        Some(other) => bail!("table `{name}` expires items by {other}, not {wanted}: {ANOTHER_TABLE}"),
    }
}

pub(super) async fn make(aws: &Aws, table: &TableDefinition) -> anyhow::Result<()> {
    create_table(&aws.dynamodb, table).await?;
    Ok(())
}

const ANOTHER_TABLE: &str = "it seems to be somebody else's; name another table";

/// Refuses a table with other keys, which cannot be changed, or without an index, since adding one to existing data
/// takes time and money.
fn check_keys(wanted: &TableDefinition, found: &TableDescription) -> anyhow::Result<()> {
    let name = &wanted.name;
    let keys = key_names(found.key_schema());
    let wanted_keys = (Some(wanted.partition_key), wanted.sort_key);
    if keys != wanted_keys {
        let shown =
            |keys: (Option<&str>, Option<&str>)| [keys.0, keys.1].into_iter().flatten().collect::<Vec<_>>().join(", ");
        bail!("table `{name}` has the keys ({}), not ({}): {ANOTHER_TABLE}", shown(keys), shown(wanted_keys));
    }
    for index in &wanted.indexes {
        let same = found.global_secondary_indexes().iter().any(|found| {
            let keys = key_names(found.key_schema());
            found.index_name() == Some(index.name) && keys == (Some(index.partition_key), Some(index.sort_key))
        });
        if !same {
            let keys = format!("({}, {})", index.partition_key, index.sort_key);
            bail!("table `{name}` lacks the index {} with the keys {keys}: add it, or name another table", index.name);
        }
    }
    Ok(())
}

/// Names of partition key and sort key.
fn key_names(schema: &[KeySchemaElement]) -> (Option<&str>, Option<&str>) {
    let key = |kind| schema.iter().find(|key| *key.key_type() == kind).map(KeySchemaElement::attribute_name);
    (key(KeyType::Hash), key(KeyType::Range))
}

fn expires_by(found: Option<&TimeToLiveDescription>) -> Option<&str> {
    let on = |status| matches!(status, TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling);
    found.filter(|found| found.time_to_live_status().cloned().is_some_and(on)).and_then(|found| found.attribute_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(partition_key: &str) -> TableDescription {
        let key = KeySchemaElement::builder().attribute_name(partition_key).key_type(KeyType::Hash).build().unwrap();
        TableDescription::builder().key_schema(key).build()
    }

    fn wanted() -> TableDefinition {
        TableDefinition {
            name: "runs".to_owned(),
            partition_key: "manifest_id",
            sort_key: None,
            indexes: Vec::new(),
            ttl_attribute: None,
        }
    }

    #[test]
    fn a_table_of_somebody_else_is_refused_by_name() {
        assert!(check_keys(&wanted(), &table("manifest_id")).is_ok());
        let error = check_keys(&wanted(), &table("id")).unwrap_err().to_string();
        assert!(error.starts_with("table `runs` has the keys (id), not (manifest_id)"), "{error}");
    }

    #[test]
    fn a_missing_index_is_named() {
        let index = millwork_tracking::table_definitions(&millwork_tracking::TableNames {
            tracking: "t".into(),
            lock: "t".into(),
            metrics: "m".into(),
            runs: "r".into(),
        })
        .pop()
        .unwrap()
        .indexes;
        let error = check_keys(&TableDefinition { indexes: index, ..wanted() }, &table("manifest_id")).unwrap_err();
        assert!(error.to_string().contains("lacks the index status-index"), "{error}");
    }
}
