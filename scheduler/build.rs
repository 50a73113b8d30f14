//! Generates the stubs of the service that an autoscaler calls, `src/scaling/externalscaler.proto`. The messages are Rust types, so that
//! no protocol compiler is needed.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name, route, input, output| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::scaling::messages::{input}"))
            .output_type(format!("crate::scaling::messages::{output}"))
            .codec_path("tonic_prost::ProstCodec")
    };
    let service = Service::builder()
        .name("ExternalScaler")
        .package("externalscaler")
        .method(method("is_active", "IsActive", "ScaledObjectRef", "IsActiveResponse").build())
        .method(
            method("stream_is_active", "StreamIsActive", "ScaledObjectRef", "IsActiveResponse")
                .server_streaming()
                .build(),
        )
        .method(method("get_metric_spec", "GetMetricSpec", "ScaledObjectRef", "GetMetricSpecResponse").build())
        .method(method("get_metrics", "GetMetrics", "GetMetricsRequest", "GetMetricsResponse").build())
        .build();
    Builder::new().build_client(false).compile(&[service]);
}
