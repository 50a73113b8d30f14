//! Generates the stubs of the one service between a scheduler and its executors. The messages are Rust types, so that no
//! protocol compiler is needed.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name, route, input, output| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type(output)
            .codec_path("tonic_prost::ProstCodec")
    };
    // A service of its own, as the limit of message sizes is one for each: strangers may call this one.
    let challenge = method("challenge", "Challenge", "crate::messages::Nothing", "crate::messages::Nothing").build();
    let entrance = Service::builder().name("Entrance").package("millwork").method(challenge).build();
    let work = method("work", "Work", "crate::messages::ToScheduler", "crate::messages::ToExecutor")
        .client_streaming()
        .server_streaming()
        .build();
    let executors = Service::builder().name("Executors").package("millwork").method(work).build();
    Builder::new().compile(&[entrance, executors]);
}
