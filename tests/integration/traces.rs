//! Traces, as a collector receives them.

use crate::cluster::Cluster;
use crate::place::{Place, wait_until};
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

#[test]
fn a_run_is_one_trace_through_scheduler_and_executor() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let collector = Collector::default();
    let address = endpoint.trim_start_matches("http://").parse().unwrap();
    runtime.spawn(tonic::transport::Server::builder().add_service(collector.clone()).serve(address));
    let place = Place::new();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let cluster = Cluster::start_in(&environment, &place, "out", 1, &[]);
    let file = place.input("2025-12-01-a.ndjson", "{\"n\": 1}\n");
    let document = json!({"fileLocations": [{"URIPrefixes": [file]}], "metadata": {"manifest_id": "m1"}});
    assert_eq!(cluster.post("manifests", &document).0, 202);
    wait_until("the run is completed", || cluster.get("runs/m1")["state"] == "completed");
    let below = ["survey", "plan", "submit", "judge", "commit", "publish", "task"];
    let spans = || collector.0.lock().unwrap().clone();
    let named = |name: &str| spans().into_iter().find(|(_, span)| span.name == name);
    wait_until("all spans have come", || below.iter().chain(&["run"]).all(|name| named(name).is_some()));
    let (service, run) = named("run").unwrap();
    assert_eq!((service.as_str(), run.parent_span_id.as_slice()), ("millwork-scheduler", &[][..]));
    let attribute =
        |key: &str| run.attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()?.value);
    assert_eq!(attribute("manifest"), Some(Value::StringValue("m1".to_owned())));
    for name in below {
        let (service, span) = named(name).unwrap();
        assert_eq!(span.trace_id, run.trace_id, "{name}");
        assert_eq!(span.parent_span_id, run.span_id, "{name}");
        let expected = if name == "task" { "millwork-executor" } else { "millwork-scheduler" };
        assert_eq!(service, expected, "{name}");
    }
}
