//! Counter of requests to buckets, for Prometheus: each attempt counts by itself, so that throttling shows even if a
//! retry succeeds.

use crate::patience::{self, Teller, Watch};
use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use metrics::{counter, describe_counter};

/// Name of the counter.
const REQUESTS: &str = "millwork_storage_requests_total";

/// Describes the metrics of buckets for Prometheus.
pub fn describe_metrics() {
    describe_counter!(
        REQUESTS,
        "Requests to buckets, each try for itself, by method and outcome: ok, throttled, refused or failed"
    );
}

/// HTTP method of an attempt in progress, kept because the request is no longer available when its answer arrives.
#[derive(Debug)]
struct Method(&'static str);

impl Storable for Method {
    type Storer = StoreReplace<Self>;
}

/// Interceptor that counts every request, and sets its timeouts.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    teller: Teller,
}

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
        let method = method(context.request().method());
        let state = bag.interceptor_state();
        state.store_put(Method(method));
        if matches!(method, "GET" | "HEAD") {
            state.store_put(patience::of_reading());
        }
        state.store_put(self.teller.watch(method, context.request().uri()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().unset::<Watch>();
        let method = bag.load::<Method>().map_or("other", |method| method.0);
        let outcome = outcome(context.response().map(|response| response.status().as_u16()));
        counter!(REQUESTS, "method" => method, "outcome" => outcome).increment(1);
        Ok(())
    }
}

fn method(name: &str) -> &'static str {
    ["GET", "HEAD", "PUT", "POST", "DELETE"].into_iter().find(|method| *method == name).unwrap_or("other")
}

fn outcome(status: Option<u16>) -> &'static str {
    match status {
        Some(200..400) => "ok",
        // 429 Too Many Requests, 503 SlowDown.
        Some(429 | 503) => "throttled",
        Some(400..500) => "refused",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let outcomes = [Some(206), Some(503), Some(404), Some(500), None].map(outcome);
        assert_eq!(outcomes, ["ok", "throttled", "refused", "failed", "failed"]);
        assert_eq!((method("PUT"), method("MADEUP")), ("PUT", "other"));
    }
}
