//! Limits on unauthenticated connections ("strangers"), in number and time.
//!
//! Every connection counts as a stranger until it has proved that it has the secret. It is closed after
//! [`STRANGER_TIME`]. If there are more than [`MAX_STRANGERS`], one is closed at once: preferably one that has sent
//! nothing, and among those the oldest of the network (IP address, or IPv6 /64) with the most connections. An executor sends first and
//! authenticates within milliseconds, so that any number of silent connections can neither keep executors out nor
//! exhaust the descriptors.

use millwork_net::network;
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Time limit for an executor to authenticate.
pub(crate) const STRANGER_TIME: Duration = Duration::from_secs(10);
/// Limit of unauthenticated connections.
pub(crate) const MAX_STRANGERS: usize = 256;

/// Limit of the bytes that an unauthenticated connection may send: ten times what a TLS handshake with a certificate
/// chain, the challenge and the proof need. Bounds the cost of frames of any kind.
pub(crate) const MAX_STRANGER_SENDS: usize = 128 << 10;

/// Unauthenticated connections, in order of arrival.
pub(crate) struct Strangers {
    there: Mutex<VecDeque<Weak<Visit>>>,
    /// Time within which each connection must authenticate.
    time: Duration,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { there: Mutex::default(), time: STRANGER_TIME }
    }
}

/// A connection, as the services see it.
pub(crate) struct Visit {
    pub(crate) peer: SocketAddr,
    /// True once a byte has been received.
    has_spoken: AtomicBool,
    is_admitted: AtomicBool,
    sent_away: CancellationToken,
}

impl Visit {
    /// Marks the connection as authenticated.
    pub(crate) fn admit(&self) {
        self.is_admitted.store(true, Ordering::Release);
    }

    fn note_speech(&self) {
        self.has_spoken.store(true, Ordering::Relaxed);
    }

    fn is_admitted(&self) -> bool {
        self.is_admitted.load(Ordering::Acquire)
    }
}

impl Strangers {
    /// Guards a new connection, and closes one if there are too many unauthenticated ones.
    pub(crate) fn guard<S>(&self, stream: S, peer: SocketAddr) -> Guarded<S> {
        let visit = Arc::new(Visit {
            peer,
            has_spoken: AtomicBool::new(false),
            is_admitted: AtomicBool::new(false),
            sent_away: CancellationToken::new(),
        });
        let sent_away = visit.sent_away.clone();
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        there.retain(|visit| visit.upgrade().is_some_and(|visit| !visit.is_admitted()));
        if there.len() >= MAX_STRANGERS
            && let Some(visit) = excess(&there).and_then(|at| there.remove(at)).and_then(|visit| visit.upgrade())
        {
            visit.sent_away.cancel();
        }
        there.push_back(Arc::downgrade(&visit));
        let time = self.time;
        let time_is_up = async move {
            // The connection is closed in either case.
            let _ = timeout(time, sent_away.cancelled()).await;
        };
        Guarded { stream, visit, time_is_up: Box::pin(time_is_up), left: MAX_STRANGER_SENDS }
    }
}

/// Index of the connection to be closed, among unauthenticated ones in order of arrival.
fn excess(there: &VecDeque<Weak<Visit>>) -> Option<usize> {
    let visits: Vec<(usize, Arc<Visit>)> =
        there.iter().enumerate().filter_map(|(at, visit)| Some((at, visit.upgrade()?))).collect();
    let silent = |visit: &Visit| !visit.has_spoken.load(Ordering::Relaxed);
    let has_silent = visits.iter().any(|(_, visit)| silent(visit));
    let mut of_network: HashMap<IpAddr, (usize, usize)> = HashMap::new();
    for (at, visit) in visits.iter().filter(|(_, visit)| !has_silent || silent(visit)) {
        of_network.entry(network(visit.peer.ip())).or_insert((0, *at)).0 += 1;
    }
    // Among networks with equally many, the one with the oldest connection.
    of_network.into_values().max_by_key(|(count, first)| (*count, Reverse(*first))).map(|(_, first)| first)
}

/// A connection that fails once it exceeds the time or byte limit of unauthenticated ones.
pub(crate) struct Guarded<S> {
    stream: S,
    visit: Arc<Visit>,
    time_is_up: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Bytes that it may still send before it is authenticated.
    left: usize,
}

impl<S> Guarded<S> {
    pub(crate) fn visit(&self) -> &Arc<Visit> {
        &self.visit
    }
}

impl Guarded<TcpStream> {
    /// First byte received, without consuming it. Fails like a read if the time limit is exceeded.
    pub(crate) async fn first_byte(&mut self) -> io::Result<u8> {
        let mut first = [0];
        let peeked = async { timeout(STRANGER_TIME, self.stream.peek(&mut first)).await? };
        tokio::select! {
            peeked = peeked => match peeked? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {
                    self.visit.note_speech();
                    Ok(first[0])
                }
            },
            () = self.visit.sent_away.cancelled() => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.visit.is_admitted() && self.time_is_up.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read > 0 {
            self.visit.note_speech();
        }
        if !self.visit.is_admitted() {
            let left = self.left.checked_sub(read);
            self.left = left.ok_or_else(|| io::Error::other("a stranger sends more than a proof takes"))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    async fn read_one(guarded: &mut Guarded<tokio::io::DuplexStream>) -> io::Result<u8> {
        guarded.read_u8().await
    }

    async fn is_there(guarded: &mut Guarded<tokio::io::DuplexStream>) -> bool {
        timeout(Duration::from_millis(20), read_one(guarded)).await.is_err()
    }

    fn stranger(strangers: &Strangers) -> (Guarded<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        stranger_of(strangers, 1)
    }

    fn stranger_of(strangers: &Strangers, host: u8) -> (Guarded<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (mine, theirs) = tokio::io::duplex(8);
        (strangers.guard(mine, SocketAddr::from(([127, 0, 0, host], 1))), theirs)
    }

    #[tokio::test]
    async fn a_stranger_is_sent_away_in_time_and_who_is_admitted_stays() {
        let strangers = Strangers { time: Duration::from_millis(50), ..Strangers::default() };
        let (mut silent, _open) = stranger(&strangers);
        let (mut known, _open_too) = stranger(&strangers);
        known.visit.admit();
        let waits = tokio::spawn(async move { timeout(Duration::from_millis(200), read_one(&mut known)).await });
        assert_eq!(read_one(&mut silent).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(waits.await.unwrap().is_err(), "only the test's own patience ends it");
    }

    #[tokio::test]
    async fn a_stranger_sends_little_and_who_is_admitted_what_it_likes() {
        use tokio::io::AsyncWriteExt;
        for is_admitted in [false, true] {
            let (mine, mut theirs) = tokio::io::duplex(1 << 20);
            let mut guarded = Strangers::default().guard(mine, SocketAddr::from(([127, 0, 0, 1], 1)));
            theirs.write_all(&vec![0; MAX_STRANGER_SENDS + 1]).await.unwrap();
            let mut all = vec![0; MAX_STRANGER_SENDS];
            guarded.read_exact(&mut all).await.unwrap();
            if is_admitted {
                guarded.visit.admit();
            }
            assert_eq!(read_one(&mut guarded).await.is_ok(), is_admitted);
        }
    }

    #[tokio::test]
    async fn the_first_of_too_many_strangers_is_sent_away() {
        let strangers = Strangers::default();
        let mut there: Vec<_> = (0..MAX_STRANGERS).map(|_| stranger(&strangers)).collect();
        let (first, second) = (there.remove(0), there.remove(0));
        let (mut first, mut second) = (first.0, second.0);
        // An unauthenticated connection that has closed makes room.
        there.pop();
        let _next = stranger(&strangers);
        assert!(is_there(&mut first).await);
        let _one_more = stranger(&strangers);
        assert!(!is_there(&mut first).await);
        assert!(is_there(&mut second).await);
    }

    #[tokio::test]
    async fn who_has_spoken_or_comes_alone_from_an_address_stays() {
        use tokio::io::AsyncWriteExt;
        let strangers = Strangers::default();
        let (mut speaker, mut end) = stranger(&strangers);
        end.write_all(b"x").await.unwrap();
        assert_eq!(read_one(&mut speaker).await.unwrap(), b'x');
        let (mut alone, _alone_end) = stranger_of(&strangers, 2);
        let mut crowd: Vec<_> = (0..2 * MAX_STRANGERS).map(|_| stranger(&strangers)).collect();
        assert!(is_there(&mut speaker).await && is_there(&mut alone).await);
        assert!(!is_there(&mut crowd[0].0).await && is_there(&mut crowd[2 * MAX_STRANGERS - 1].0).await);
    }
}
