//! AWS clients, and conversion of their errors.

use crate::refusal::why;
use anyhow::Context;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::ProvideCredentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use millwork_manifest::Service;
use millwork_manifest::{credentials_advice, region_advice};
use std::error::Error;
use std::fmt::Display;

/// Clients for AWS, configured by the environment.
pub(super) struct Aws {
    pub(super) s3: aws_sdk_s3::Client,
    pub(super) sqs: aws_sdk_sqs::Client,
    pub(super) dynamodb: aws_sdk_dynamodb::Client,
    pub(super) region: String,
}

impl Aws {
    /// Resolves region and credentials first, so that their absence is reported once, and not as the error of a
    /// request.
    pub(super) async fn connect() -> anyhow::Result<Self> {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let region = config.region().map(Region::to_string);
        let region = region.with_context(|| format!("no AWS region is set; {}", region_advice("bucket")))?;
        let advice = || format!("the AWS credentials cannot be had; {}", credentials_advice());
        let provider = config.credentials_provider().with_context(advice)?;
        provider.provide_credentials().await.map_err(|e| anyhow::anyhow!("{}", chain(&e))).with_context(advice)?;
        // Servers other than AWS expect the bucket in the path of the URL.
        let has_endpoint =
            ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].into_iter().any(|name| std::env::var_os(name).is_some());
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(has_endpoint).build();
        Ok(Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            region,
        })
    }
}

/// Error with the failed operation and its cause.
pub(super) fn failed<E>(service: Service, what: impl Display, error: &SdkError<E>) -> anyhow::Error
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    anyhow::anyhow!("{what}: {}", why(service, None, error))
}

/// Result of a read; `None` if the error has the code `absent`, which means that the resource does not exist.
pub(super) fn unless<T, E>(absent: &str, result: Result<T, SdkError<E>>, what: String) -> anyhow::Result<Option<T>>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some(absent) => Ok(None),
        Err(error) => Err(failed(Service::S3, what, &error)),
    }
}

/// Text of an error and its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
