//! Servers that speak the protocols of S3, SQS and DynamoDB, on loopback: ministack, from the Python package index.

use crate::place::{Running, python, signal, start, wait_until};
use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::config::Intercept;
use aws_sdk_sqs::config::Credentials;
use millwork_tracking::{DynamoStore, TableNames, TrackingStore, create_tables};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One server of its own for a test, gone with it.
pub(crate) struct Aws {
    endpoint: String,
    stores: AtomicUsize,
    server: Running,
    _log: tempfile::TempDir,
}

const REGION: &str = "eu-central-1";

impl Aws {
    pub(crate) fn start() -> Self {
        let log = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ministack = std::path::Path::new(python().get_program()).with_file_name("ministack");
        let mut command = Command::new(ministack);
        command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
        let server = start(command, &log.path().join("log"));
        wait_until("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let endpoint = format!("http://127.0.0.1:{port}");
        Self { endpoint, stores: AtomicUsize::new(0), server, _log: log }
    }

    /// Its `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// Sends it a signal: `STOP`, and it answers nobody until `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.server, name);
    }

    /// The environment with which a process finds it.
    pub(crate) fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", REGION),
        ]
    }

    pub(crate) async fn config(&self) -> aws_config::SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(REGION)
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .load()
            .await
    }

    pub(crate) async fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config().await).force_path_style(true).build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Creates a bucket in the region of all that is here.
    pub(crate) async fn create_bucket(&self, name: &str) {
        let region = aws_sdk_s3::types::BucketLocationConstraint::from(REGION);
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(region).build();
        self.s3().await.create_bucket().bucket(name).create_bucket_configuration(place).send().await.unwrap();
    }

    pub(crate) async fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config().await)
    }

    /// A store on tables of its own.
    pub(crate) async fn fresh_store(&self) -> Arc<dyn TrackingStore> {
        let names = self.fresh_tables().await;
        Arc::new(DynamoStore::new(aws_sdk_dynamodb::Client::new(&self.config().await), names))
    }

    /// The same, through a client that an interceptor watches.
    pub(crate) async fn fresh_store_through(&self, interceptor: impl Intercept + 'static) -> Arc<dyn TrackingStore> {
        let names = self.fresh_tables().await;
        let config = aws_sdk_dynamodb::config::Builder::from(&self.config().await).interceptor(interceptor).build();
        Arc::new(DynamoStore::new(aws_sdk_dynamodb::Client::from_conf(config), names))
    }

    /// Two stores on the same tables; the second makes each request once, through an interceptor.
    pub(crate) async fn fresh_stores(
        &self,
        interceptor: impl Intercept + 'static,
    ) -> (Arc<dyn TrackingStore>, Arc<dyn TrackingStore>) {
        let (names, config) = (self.fresh_tables().await, self.config().await);
        let once = aws_sdk_dynamodb::config::Builder::from(&config)
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .interceptor(interceptor)
            .build();
        let first = DynamoStore::new(aws_sdk_dynamodb::Client::new(&config), names.clone());
        (Arc::new(first), Arc::new(DynamoStore::new(aws_sdk_dynamodb::Client::from_conf(once), names)))
    }

    /// A store on tables of its own, with a client and the names of these.
    pub(crate) async fn fresh_store_and_tables(
        &self,
    ) -> (Arc<dyn TrackingStore>, aws_sdk_dynamodb::Client, TableNames) {
        let (names, client) = (self.fresh_tables().await, aws_sdk_dynamodb::Client::new(&self.config().await));
        (Arc::new(DynamoStore::new(client.clone(), names.clone())), client, names)
    }

    async fn fresh_tables(&self) -> TableNames {
        let number = self.stores.fetch_add(1, Ordering::Relaxed);
        let names = TableNames {
            tracking: format!("files-{number}"),
            lock: format!("files-{number}"),
            metrics: format!("metrics-{number}"),
            runs: format!("runs-{number}"),
        };
        let client = aws_sdk_dynamodb::Client::new(&self.config().await);
        create_tables(&client, &names).await.unwrap();
        names
    }
}
