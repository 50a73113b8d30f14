//! Traces, as a collector receives them.

use crate::cluster::Cluster;
use crate::metrics::Services;
use crate::place::{Place, wait_until};
use crate::servers::Aws;
use prost::Message;
use serde_json::json;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

/// A message to a collector, as far as it is looked at: fields of `opentelemetry/proto/collector/trace/v1/trace_service.proto`.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Pair>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Text>,
}

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Taken {}

fn text(pairs: &[Pair], key: &str) -> Option<String> {
    pairs.iter().find(|pair| pair.key == key)?.value.clone()?.text
}

/// A collector that keeps the spans of each service.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

impl UnaryService<Export> for Collector {
    type Response = Taken;
    type Future = std::future::Ready<Result<Response<Taken>, Status>>;

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        for of_service in request.into_inner().resources {
            let service = text(&of_service.resource.unwrap_or_default().attributes, "service.name").unwrap_or_default();
            let spans = of_service.scopes.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
        std::future::ready(Ok(Response::new(Taken {})))
    }
}

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let collector = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(tonic_prost::ProstCodec::<Taken, Export>::default());
            Ok(grpc.unary(collector, request).await)
        })
    }
}

impl Collector {
    /// A collector that listens, and its address.
    fn start(runtime: &tokio::runtime::Runtime) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let collector = Self::default();
        runtime.spawn(tonic::transport::Server::builder().add_service(collector.clone()).serve(address));
        (collector, format!("http://{address}"))
    }

    fn spans(&self) -> Vec<(String, Span)> {
        self.0.lock().unwrap().clone()
    }

    fn named(&self, name: &str) -> Option<(String, Span)> {
        self.spans().into_iter().find(|(_, span)| span.name == name)
    }
}

#[test]
fn a_run_is_linked_to_the_batch_that_its_file_came_with() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, endpoint) = Collector::start(&runtime);
    let (aws, place) = (Aws::start(), Place::new());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let services = Services::start(&aws, &place, &environment);
    services.put(&aws, "2025-12-01-a.ndjson", 20_000);
    services.wait_for_a_run();
    wait_until("both spans have come", || collector.named("run").is_some() && collector.named("process").is_some());
    let (_, run) = collector.named("run").unwrap();
    let [link] = &run.links[..] else { panic!("{:?}", run.links) };
    let batch = collector.spans().into_iter().find(|(_, span)| span.span_id == link.span_id);
    let (service, batch) = batch.expect("the link leads to a span");
    assert_eq!((service.as_str(), batch.name.as_str()), ("millwork-manifest-builder", "process"));
    assert_eq!(batch.trace_id, link.trace_id);
    assert_ne!(batch.trace_id, run.trace_id);
}

#[test]
fn what_a_manifest_says_of_traces_is_a_link_if_it_is_a_place_in_one() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, endpoint) = Collector::start(&runtime);
    let place = Place::new();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let cluster = Cluster::start_in(&environment, &place, "out", 1, &[]);
    let file = place.input("2025-12-01-a.ndjson", "{\"n\": 1}\n");
    let places = ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-x", "\u{1b}[2J", &"0".repeat(100_000)];
    let metadata = json!({"manifest_id": "m1", "traceparents": places});
    let document = json!({"fileLocations": [{"URIPrefixes": [file]}], "metadata": metadata});
    assert_eq!(cluster.post("manifests", &document).0, 202);
    wait_until("the span of the run has come", || collector.named("run").is_some());
    let (_, run) = collector.named("run").unwrap();
    let [link] = &run.links[..] else { panic!("{:?}", run.links) };
    assert_eq!(link.span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(link.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(cluster.get("runs/m1")["state"], "completed");
}

#[test]
fn a_run_is_one_trace_through_scheduler_and_executor() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, endpoint) = Collector::start(&runtime);
    let place = Place::new();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let cluster = Cluster::start_in(&environment, &place, "out", 1, &[]);
    let file = place.input("2025-12-01-a.ndjson", "{\"n\": 1}\n");
    let document = json!({"fileLocations": [{"URIPrefixes": [file]}], "metadata": {"manifest_id": "m1"}});
    assert_eq!(cluster.post("manifests", &document).0, 202);
    wait_until("the run is completed", || cluster.get("runs/m1")["state"] == "completed");
    let below = ["survey", "plan", "submit", "judge", "commit", "publish", "task"];
    let named = |name: &str| collector.named(name);
    wait_until("all spans have come", || below.iter().chain(&["run"]).all(|name| named(name).is_some()));
    let (service, run) = named("run").unwrap();
    assert_eq!((service.as_str(), run.parent_span_id.as_slice()), ("millwork-scheduler", &[][..]));
    assert_eq!(text(&run.attributes, "manifest").as_deref(), Some("m1"));
    for name in below {
        let (service, span) = named(name).unwrap();
        assert_eq!(span.trace_id, run.trace_id, "{name}");
        assert_eq!(span.parent_span_id, run.span_id, "{name}");
        let expected = if name == "task" { "millwork-executor" } else { "millwork-scheduler" };
        assert_eq!(service, expected, "{name}");
    }
}
