//! Error messages for failed requests to SQS.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use millwork_manifest::{Refusal, Service};
use std::error::Error;

/// Cause of a failed request, with advice on the configuration.
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
