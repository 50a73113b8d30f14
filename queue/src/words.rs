//! Words for requests to SQS that failed.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use millwork_manifest::{Refusal, Service};
use std::error::Error;

/// The reason of a request that failed, and what to set.
pub(crate) fn why<E: ProvideErrorMetadata + Error + Send + Sync + 'static>(error: &SdkError<E>) -> String {
    let endpoint = Service::Sqs.endpoint_variables().into_iter().find_map(|name| std::env::var(name).ok());
    let refusal = Refusal {
        service: Service::Sqs,
        endpoint: endpoint.as_deref(),
        right: None,
        code: error.code(),
        message: error.message(),
        status: error.raw_response().map(|response| response.status().as_u16()),
        region: None,
        error,
    };
    refusal.to_string()
}
