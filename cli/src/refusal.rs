//! Messages for failed requests to AWS.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use millwork_manifest::{Refusal, Service};
use std::error::Error;

/// Reason for a failed request in one sentence, with advice on settings. `right` is the permission that the request
/// needs.
pub(crate) fn why<E>(service: Service, right: Option<&str>, error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let endpoint = service.endpoint_variables().into_iter().find_map(|name| std::env::var(name).ok());
    let refusal = Refusal {
        service,
        endpoint: endpoint.as_deref(),
        right,
        code: error.code(),
        message: error.message(),
        status: error.raw_response().map(|response| response.status().as_u16()),
        region: None,
        error,
    };
    refusal.to_string()
}
