//! The server: from a listener to answers.

use super::connections::{Connections, Ticket};
use super::limits::ConnectionLimits;
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

/// Bytes of a request's header, the path with its query included; a connection needs no more memory before it is known what
/// it asks for.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;
/// Time that requests which are being answered have at the end of the server.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Pause between two looks for connections that take too long.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after a connection could not be taken, for lack of descriptors or memory.
const BREATH: Duration = Duration::from_millis(50);
/// Time without a sign of life after which the system asks a peer for one.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Address that a request came from; every request has it in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Mark of an answer that has no end, such as a stream of events, in its extensions: it may take any time, until this is cancelled.
#[derive(Clone, Debug)]
pub struct Endless(pub CancellationToken);

/// A server that answers.
#[derive(Debug)]
pub struct HttpServer {
    stop: CancellationToken,
    serving: JoinHandle<()>,
    requests: TaskTracker,
}

/// Parts that all connections share.
#[derive(Clone)]
struct Shared {
    routes: Router,
    tls: Option<ServerTls>,
    stop: CancellationToken,
}

impl HttpServer {
    /// Answers from now on, over TLS if there is a certificate.
    pub fn start(listener: TcpListener, routes: Router, limits: ConnectionLimits, tls: Option<ServerTls>) -> Self {
        let (stop, requests) = (CancellationToken::new(), TaskTracker::new());
        let shared = Shared { routes, tls, stop: stop.clone() };
        let serving = tokio::spawn(serve(listener, shared, Connections::new(limits), requests.clone()));
        Self { stop, serving, requests }
    }

    /// Tells whether connections are taken.
    pub fn is_alive(&self) -> bool {
        !self.serving.is_finished()
    }

    /// Takes no more connections, and ends when the requests that came are answered, or after five seconds.
    pub async fn shut_down(self) {
        self.stop.cancel();
        // That it has been cancelled is no news.
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
                    tracing::warn!(%peer, times, "too many connections: the longest silent are closed");
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
    /// Answers the requests of a connection until either side ends it.
    async fn answer(self, stream: TcpStream, peer: SocketAddr, ticket: Arc<Ticket>) {
        // An event of a stream does not wait for the acknowledgement of the one before.
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
            // A proxy before this one may see another end of such a body: what comes behind it is nobody's request.
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
        // Times are those of the connection: hyper's time for a header begins when a connection has nothing to do.
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

/// Bytes of the header of a request: what the parser takes can be a little more than its buffer, as it looks between reads.
fn header_bytes<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + path
}

/// Tells whether the target of a request names no other host than its header does: those behind look at the header alone.
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

/// Adds something to an answer that is let go of when its last byte is with the connection, or the connection has gone.
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
