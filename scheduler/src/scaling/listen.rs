//! Server for an autoscaler (gRPC).
//!
//! A new connection always gets a place, if necessary that of another ([`Crowd`]): those that ask nothing, whatever else they
//! send, keep no autoscaler out.

use super::asker::Asker;
use super::service::{Scaler, Server};
use super::{FleetSize, ScalerDoor};
use futures::Stream;
use millwork_net::tokio_rustls::server::TlsStream;
use millwork_net::{Crowd, Place, Seldom, ServerTls};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::either::Either;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Limits of the connections, in total and per address: KEDA opens one or two.
const MAX_CONNECTIONS: usize = 64;
const MAX_OF_ONE: usize = 16;
/// Limit of the concurrent requests per connection.
const MAX_STREAMS: u32 = 32;
/// Limit of a request, in bytes: the metadata of a trigger are a few words.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// Limit of a request's header fields in bytes, as counted by hyper.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Flow-control window: bytes that a connection may send ahead of reading.
const WINDOW_BYTES: u32 = 256 << 10;
/// Limit of the bytes that a connection may send within [`PATIENCE`], in frames of any kind: a request has a few
/// hundred.
const MAX_SENDS: usize = 256 << 10;
/// Time limit for a handshake, between keep-alives of a connection, and for a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after the system failed to accept a connection.
const BREATH: Duration = Duration::from_millis(100);

/// A running server; ends when dropped.
pub struct ScalerServer {
    _open: DropGuard,
}

impl ScalerServer {
    /// Starts the server.
    pub fn start(listener: TcpListener, door: ScalerDoor, size: &FleetSize) -> Self {
        let closed = CancellationToken::new();
        let (accepted, connections) = mpsc::channel(MAX_CONNECTIONS);
        tokio::spawn(accept(listener, door.tls, accepted, closed.clone()));
        let service = Server::new(Scaler::new(size.answers()));
        let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let server = tonic::transport::Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(PATIENCE))
            .http2_keepalive_timeout(Some(PATIENCE))
            .add_service(service)
            .serve_with_incoming(Incoming(connections));
        let closing = closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = server => tracing::error!(?ended, "autoscalers are not answered any more"),
                () = closing.cancelled() => {}
            }
        });
        Self { _open: closed.drop_guard() }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<ServerTls>,
    accepted: mpsc::Sender<Connection>,
    closed: CancellationToken,
) {
    let crowd = Crowd::new(MAX_CONNECTIONS, MAX_OF_ONE);
    let (crowded, exhausted) = (Seldom::default(), Seldom::default());
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = closed.cancelled() => return,
        };
        match connection {
            Ok((stream, peer)) => {
                let (place, is_crowded) = crowd.enter(peer.ip());
                if is_crowded && let Some(times) = crowded.happened() {
                    tracing::warn!(%peer, times, "too many connections of autoscalers: those that ask nothing are closed");
                }
                tokio::spawn(open(stream, tls.clone(), place, accepted.clone()));
            }
            Err(error) => {
                if let Some(times) = exhausted.happened() {
                    tracing::warn!(%error, times, "cannot accept a connection of an autoscaler; trying again");
                }
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn open(stream: TcpStream, tls: Option<ServerTls>, place: Place, accepted: mpsc::Sender<Connection>) {
    let opened = async {
        stream.set_nodelay(true)?;
        // A connection without data is not worth a handshake.
        stream.readable().await?;
        match tls {
            None => Ok(Either::Left(stream)),
            Some(tls) => Ok(Either::Right(Box::new(tls.acceptor().accept(stream).await?))),
        }
    };
    let opened = tokio::select! {
        opened = tokio::time::timeout(PATIENCE, opened) => opened,
        () = place.ended().cancelled() => return,
    };
    match opened {
        // Fails when the server is stopped.
        Ok(Ok(stream)) => {
            let ended = Box::pin(place.ended().clone().cancelled_owned());
            let asker = Asker::new(place);
            drop(accepted.send(Connection { stream, asker, ended, since: Instant::now(), sent: 0 }).await);
        }
        Ok(Err(error)) => {
            let error: io::Error = error;
            tracing::debug!(%error, "refused a connection of an autoscaler");
        }
        Err(_) => tracing::debug!("a connection of an autoscaler said nothing"),
    }
}

/// A connection, with or without TLS.
struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    asker: Asker,
    /// Ready once its place is taken away.
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Start of the period in which sent bytes are counted.
    since: Instant,
    sent: usize,
}

/// Stream of accepted connections.
struct Incoming(mpsc::Receiver<Connection>);

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

impl Connected for Connection {
    type ConnectInfo = Asker;

    fn connect_info(&self) -> Asker {
        self.asker.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::other("its place went to another connection")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.since.elapsed() > PATIENCE {
            (self.since, self.sent) = (Instant::now(), 0);
        }
        self.sent += buf.filled().len() - before;
        Poll::Ready(match self.sent > MAX_SENDS {
            true => Err(io::Error::other("it sends more than an autoscaler asks")),
            false => Ok(()),
        })
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
