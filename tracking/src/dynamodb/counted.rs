//! Counter of requests to DynamoDB: each attempt counts by itself, so that throttling shows even if a retry succeeds.

use crate::requests::{Outcome, count};
use aws_sdk_dynamodb::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// Operations that are counted by name; all others are counted together.
const OPERATIONS: [&str; 11] = [
    "GetItem",
    "BatchGetItem",
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "BatchWriteItem",
    "TransactWriteItems",
    "TransactGetItems",
    "Query",
    "Scan",
    "DescribeTable",
];
/// Error codes for throttling.
const THROTTLED: [&str; 4] =
    ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "ThrottlingError"];
/// Limit of the bytes of an error that are searched for its code.
const MAX_ERROR_BYTES: usize = 4 << 10;

/// Operation of an attempt in progress, kept because the request is no longer available when its answer arrives.
#[derive(Debug)]
struct Operation(&'static str);

impl Storable for Operation {
    type Storer = StoreReplace<Self>;
}

/// Interceptor that counts every request.
#[derive(Debug)]
pub(super) struct Counted;

impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target");
        bag.interceptor_state().store_put(Operation(operation(target.unwrap_or_default())));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = bag.load::<Operation>().map_or("other", |operation| operation.0);
        let answer = context.response().map(|response| (response.status().as_u16(), response.body().bytes()));
        let outcome = match answer {
            None => Outcome::Failed,
            Some((status, body)) => outcome(status, body.unwrap_or_default()),
        };
        count("dynamodb", operation, outcome);
        Ok(())
    }
}

/// Operation name in a header such as `DynamoDB_20120810.GetItem`.
fn operation(target: &str) -> &'static str {
    let name = target.rsplit('.').next().unwrap_or_default();
    OPERATIONS.into_iter().find(|operation| *operation == name).unwrap_or("other")
}

fn outcome(status: u16, body: &[u8]) -> Outcome {
    let body = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BYTES)]);
    match status {
        200..300 => Outcome::Ok,
        400..500 if THROTTLED.iter().any(|code| body.contains(code)) => Outcome::Throttled,
        400..500 => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(outcome(200, b"{}"), Outcome::Ok);
        let throttled = br#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#;
        assert_eq!(outcome(400, throttled), Outcome::Throttled);
        assert_eq!(outcome(400, br#"{"__type":"x#ConditionalCheckFailedException"}"#), Outcome::Refused);
        assert_eq!(outcome(503, b""), Outcome::Failed);
    }

    #[test]
    fn an_operation_is_one_of_a_few() {
        assert_eq!(operation("DynamoDB_20120810.TransactWriteItems"), "TransactWriteItems");
        assert_eq!((operation("DynamoDB_20120810.Made\u{1b}Up"), operation("")), ("other", "other"));
    }
}
