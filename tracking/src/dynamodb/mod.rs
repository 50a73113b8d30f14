//! Tracking store in DynamoDB, shared by any number of processes.
//!
//! | table | item | key | holds |
//! |---|---|---|---|
//! | tracking | file | date in its key or `no-date`, URI | its state, version, manifest and timeline |
//! | lock | lock | `LOCK#…`, `LOCK` | its holder, token and time |
//! | lock | batch index | `BATCH#{date}`, `INDEX` | the last one given out |
//! | metrics | date | `PENDING`, date | its backlog, files by state, ended runs and their results |
//! | metrics | sample | `SERIES#{seconds}#{day or month}`, time | sums over a minute, or an hour |
//! | metrics | note: heartbeat of a process, or wish of an operator | `NOTE#{kind}`, name | its content |
//! | metrics | counter | day, name of the count | its value |
//! | metrics | audit record | `AUDIT#{day}`, time and id | the change, and who made it |
//! | metrics | change plan | `PLAN#{id}`, `PLAN` | its changes, and their progress |
//! | runs | run | manifest id | its state and attempts |
//! | runs | document | `DOC#{id}` | the manifest |
//! | runs | commit record | `COMMIT#{id}#{generation}` | the committed attempt, and the data to finish its publication |
//! | runs | part | `PART#{id}#{hash}#{n}` | a part of a text that is too long for one item |
//!
//! A transaction cannot span a whole operation, which may have hundreds of files. Each decision is a single write or
//! transaction: taking a lock, claiming files under it, committing. The other writes follow from that decision, and
//! each module describes the state after a crash in between, and the recovery.

mod attempts;
mod audits;
mod backlog;
mod change;
mod commits;
mod counted;
mod deltas;
mod documents;
mod drafts;
mod expression;
mod files;
mod inspection;
mod item;
mod key;
mod listing;
mod locks;
mod metrics;
mod names;
mod pages;
mod request;
mod run_files;
mod run_item;
mod runs;
mod series;
mod submit;
mod tables;
mod totals;

pub use names::TableNames;
pub use tables::{IndexDefinition, TableDefinition, create_table, create_tables, table_definitions};

use crate::{Inspection, TrackingError, TrackingResult, TrackingStore};
use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::Client;
use deltas::Deltas;
use std::sync::{Arc, Mutex};

/// Limit of the SDK's attempts at a request that is throttled or gets no answer.
const ATTEMPTS: u32 = 5;

/// Timeouts for connecting, and for an answer. The SDK has no default for the latter.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Tracking store in DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    names: TableNames,
    /// Held-back effects of refused files on the totals of their dates, written with the next other change of the date.
    owed: Arc<Mutex<Deltas>>,
}

impl DynamoStore {
    /// Opens the store with the region, credentials and endpoint of the environment.
    pub async fn open(names: TableNames) -> TrackingResult<Self> {
        let config = aws_sdk_dynamodb::config::Builder::from(&sdk_config().await).interceptor(counted::Counted);
        let client = Client::from_conf(config.build());
        if let Err(error) = client.describe_table().table_name(&names.tracking).send().await {
            let is_missing = error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception());
            let message = if is_missing {
                "there is no such table: run `millwork bootstrap aws`".to_owned()
            } else {
                request::describe(&error)
            };
            return Err(TrackingError::Open { store: format!("dynamodb:{}", names.tracking), message });
        }
        Ok(Self::new(client, names))
    }

    /// Creates the store from a client.
    pub fn new(client: Client, names: TableNames) -> Self {
        Self { client, names, owed: Arc::default() }
    }
}

async fn sdk_config() -> SdkConfig {
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(ANSWER_TIMEOUT).build();
    aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts).load().await
}

#[async_trait]
impl TrackingStore for DynamoStore {
    fn inspection(&self) -> &dyn Inspection {
        self
    }

    fn forgets_after_days(&self) -> Option<u64> {
        Some(item::KEEP_FILE.num_days().unsigned_abs())
    }

    async fn ping(&self) -> TrackingResult<()> {
        self.read_nothing().await
    }
}
