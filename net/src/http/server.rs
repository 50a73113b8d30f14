//! Server: accepts connections and serves requests.

use super::connections::{Connections, Ticket};
use super::limits::{ConnectionLimits, MAX_HEADER_BYTES};
use super::refusal::{WithWords, words};
use crate::{Seldom, ServerTls};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Time limit for requests in progress when the server shuts down.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Interval of checking connections for exceeded time limits.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after accepting a connection failed, for lack of descriptors or memory.
const BREATH: Duration = Duration::from_millis(50);
/// Idle time after which TCP keep-alive probes are sent.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Address of the client; in the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Mark in the extensions of an endless response, such as an event stream: it has no time limit until this is
/// cancelled.
#[derive(Clone, Debug)]
pub struct Endless(pub CancellationToken);

/// A running server.
#[derive(Debug)]
pub struct HttpServer {
    stop: CancellationToken,
    serving: JoinHandle<()>,
    requests: TaskTracker,
}

/// State that all connections share.
#[derive(Clone)]
struct Shared {
    routes: Router,
    tls: Option<ServerTls>,
    stop: CancellationToken,
}

impl HttpServer {
    /// Starts the server, with TLS if there is a certificate.
    pub fn start(listener: TcpListener, routes: Router, limits: ConnectionLimits, tls: Option<ServerTls>) -> Self {
        let (stop, requests) = (CancellationToken::new(), TaskTracker::new());
        let shared = Shared { routes, tls, stop: stop.clone() };
        let serving = tokio::spawn(serve(listener, shared, Connections::new(limits), requests.clone()));
        Self { stop, serving, requests }
    }

    /// Tells whether connections are accepted.
    pub fn is_alive(&self) -> bool {
        !self.serving.is_finished()
    }

    /// Accepts no more connections, and returns once requests in progress are answered, or after five seconds.
    pub async fn shut_down(self) {
        self.stop.cancel();
        // Cancellation is expected here.
        let _ = self.serving.await;
        self.requests.close();
        if tokio::time::timeout(LAST_ANSWERS, self.requests.wait()).await.is_err() {
            tracing::warn!("requests are not answered after {} s; they are given up", LAST_ANSWERS.as_secs());
        }
    }
}

async fn serve(listener: TcpListener, shared: Shared, connections: Arc<Connections>, requests: TaskTracker) {
    let (crowded, exhausted) = (Seldom::default(), Seldom::default());
    let mut look = tokio::time::interval(LOOK);
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = look.tick() => {
                connections.end_overdue();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (ticket, is_crowded) = connections.admit(peer.ip());
                if is_crowded && let Some(times) = crowded.happened() {
                    tracing::warn!(%peer, times, "too many connections: those without a request are closed");
                }
                if let Some(ticket) = ticket {
                    requests.spawn(shared.clone().answer(stream, peer, Arc::new(ticket)));
                }
            }
            // The client has gone.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                if let Some(times) = exhausted.happened() {
                    tracing::error!(%error, times, "cannot take connections; a silent one is closed for the next");
                }
                connections.make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Shared {
    /// Serves the requests of a connection until either side closes it.
    async fn answer(self, stream: TcpStream, peer: SocketAddr, ticket: Arc<Ticket>) {
        // Without TCP_NODELAY, an event would wait for the acknowledgement of the previous one.
        let set = stream.set_nodelay(true).and_then(|()| {
            SockRef::from(&stream)
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE))
        });
        if let Err(error) = set {
            tracing::debug!(%peer, %error, "a connection has no options");
        }
        let Some(tls) = self.tls.clone() else { return self.talk(stream, peer, ticket).await };
        let accepted = tokio::select! {
            accepted = tls.acceptor().accept(stream) => accepted,
            () = ticket.ends.soon.cancelled() => return,
            () = self.stop.cancelled() => return,
        };
        match accepted {
            Ok(stream) => self.talk(stream, peer, ticket).await,
            Err(error) => tracing::debug!(%peer, %error, "no TLS was spoken"),
        }
    }

    async fn talk(self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, ticket: Arc<Ticket>) {
        let (routes, of_service) = (self.routes, ticket.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let in_request = of_service.begin();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let too_long = header_bytes(&request) > MAX_HEADER_BYTES;
            let is_foreign = !names_one_host(&request);
            // A proxy may determine another end of such a body (request smuggling), so that this is the last request on
            // the connection.
            let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
            let answer = routes.clone().oneshot(request);
            async move {
                let answer = match (too_long, is_foreign) {
                    (true, _) => Ok(too_long_header()),
                    (_, true) => Ok(foreign_target()),
                    _ => answer.await,
                };
                answer.map(|mut answer| {
                    if is_last {
                        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    if let Some(Endless(over)) = answer.extensions().get() {
                        in_request.set_endless(over.clone());
                    }
                    hold(answer, in_request)
                })
            }
        });
        let mut server = http1::Builder::new();
        // Time limits are enforced by the connection: hyper's header timeout starts when a connection becomes idle.
        server.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES);
        let mut talk = pin!(server.serve_connection(TokioIo::new(WithWords::new(stream)), service));
        let mut is_ending = false;
        loop {
            tokio::select! {
                ended = talk.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection broke off");
                    }
                    return;
                }
                () = ticket.ends.now.cancelled() => return,
                () = either(&ticket.ends.soon, &self.stop), if !is_ending => {
                    if !ticket.is_busy() {
                        return;
                    }
                    is_ending = true;
                    talk.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Size of a request's header: the parser checks its buffer limit only between reads, and can slightly exceed it.
fn header_bytes<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + path
}

/// Tells whether the request target names the same host as the header, since handlers only check the header.
fn names_one_host<B>(request: &Request<B>) -> bool {
    let Some(target) = request.uri().authority() else { return true };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    target.as_str().eq_ignore_ascii_case(host)
}

fn foreign_target() -> Response<Body> {
    let mut answer = Response::new(Body::from("the request's target names another host than its header `Host`\n"));
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}

fn too_long_header() -> Response<Body> {
    let mut answer = Response::new(Body::from(words()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    answer
}

async fn either(a: &CancellationToken, b: &CancellationToken) {
    tokio::select! {
        () = a.cancelled() => {}
        () = b.cancelled() => {}
    }
}

/// Attaches a value to a response, which is dropped when the last byte was written, or the connection is gone.
pub fn hold(answer: Response, what: impl Send + Unpin + 'static) -> Response {
    answer.map(|body| Body::new(Held { body, _what: what }))
}

struct Held<T> {
    body: Body,
    _what: T,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
