//! Opening of a store by URL.

use crate::{DynamoStore, SqliteStore, StateUrl, TableNames, TrackingResult, TrackingStore};
use std::sync::Arc;

/// Opens the store of a URL. Other DynamoDB tables are named by the environment.
pub async fn open(url: &str) -> TrackingResult<Arc<dyn TrackingStore>> {
    match url.parse()? {
        StateUrl::Sqlite(path) => Ok(Arc::new(SqliteStore::open(&path)?)),
        StateUrl::DynamoDb(table) => Ok(Arc::new(DynamoStore::open(TableNames::from_env(&table)).await?)),
    }
}
