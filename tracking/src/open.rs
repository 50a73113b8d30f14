//! Opening of the store that a URL names.

use crate::{DynamoStore, SqliteStore, StateUrl, TableNames, TrackingResult, TrackingStore};
use std::sync::Arc;

/// Opens the store that a URL names, with the other tables of DynamoDB named by the environment.
pub async fn open(url: &str) -> TrackingResult<Arc<dyn TrackingStore>> {
    match url.parse()? {
        StateUrl::Sqlite(path) => Ok(Arc::new(SqliteStore::open(&path)?)),
        StateUrl::DynamoDb(table) => Ok(Arc::new(DynamoStore::open(TableNames::from_env(&table)).await?)),
    }
}
