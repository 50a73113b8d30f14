//! Response with an explanation to a request whose header is too long.
//!
//! The parser refuses such a request before any handler, and responds with only a status, which browsers show as an
//! empty page. Users need to know the remedy: another program on the host may have set more cookies than a header has
//! room for, since browsers share cookies between all ports of a host.

use super::limits::MAX_HEADER_BYTES;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Limit of the lines of a header in the parser.
const MAX_HEADER_LINES: usize = 100;
/// Beginning of the parser's own response.
const WITHOUT_WORDS: &[u8] = b"HTTP/1.1 431 ";
/// Part of the parser's own response, which one with a body does not have.
const NO_CONTENT: &[u8] = b"content-length: 0\r\n";
/// Limit of the bytes that are read and discarded after the response: 1 MiB, more than all cookies of a host. Needed
/// because a browser reads the response only after it has sent its cookies.
const MAX_DRAINED_BYTES: usize = 1 << 20;
/// Number of bytes that are discarded at a time.
const DRAINED_AT_ONCE: usize = 4 << 10;

/// Explanation of a header that is too long, for programs and people.
pub(super) fn words() -> String {
    format!(
        "The header of the request has more than {MAX_HEADER_BYTES} bytes or {MAX_HEADER_LINES} lines, the limit.\n\n\
         A browser sends such a header when programs on other ports of this host have left it too many cookies: it shows them to all ports. Remove \
         the cookies of this host in the browser's settings, or open the page by another name of the host, such as localhost in place \
         of 127.0.0.1.\n"
    )
}

/// A connection that adds an explanation to the parser's refusal of a header.
pub(super) struct WithWords<S> {
    stream: S,
    /// Bytes of that response that are still to be sent.
    answer: Option<Vec<u8>>,
    sent: usize,
    is_shut: bool,
    drained: usize,
}

impl<S> WithWords<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, answer: None, sent: 0, is_shut: false, drained: 0 }
    }
}

fn is_without_words(bytes: &[u8]) -> bool {
    bytes.starts_with(WITHOUT_WORDS) && bytes.windows(NO_CONTENT.len()).any(|part| part == NO_CONTENT)
}

fn answer() -> Vec<u8> {
    let words = words();
    let head = format!(
        "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        words.len()
    );
    (head + &words).into_bytes()
}

impl<S: AsyncRead + Unpin> AsyncRead for WithWords<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WithWords<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.answer.is_none() && !is_without_words(bytes) {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        let this = &mut *self;
        let answer = this.answer.get_or_insert_with(answer);
        while this.sent < answer.len() {
            match ready!(Pin::new(&mut this.stream).poll_write(context, &answer[this.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => this.sent += sent,
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match parts.first() {
            Some(first) if self.answer.is_some() || is_without_words(first) => self.poll_write(context, first),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Discards remaining input after a refusal before closing: closing a connection with unread input resets it, and
    /// the response would be lost. The time is limited by the connection's.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        let mut thrown_away = [0; DRAINED_AT_ONCE];
        while self.answer.is_some() && self.drained < MAX_DRAINED_BYTES {
            let mut into = ReadBuf::new(&mut thrown_away);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut into)) {
                Ok(()) if !into.filled().is_empty() => self.drained += into.filled().len(),
                // The client has sent everything, or is gone.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn only_the_parsers_refusal_gets_words_and_the_rest_is_thrown_away() {
        for (said, has_words) in [
            ("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 5\r\n\r\nwords", false),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
        ] {
            let (server, mut client) = duplex(64);
            let talk = tokio::spawn(async move {
                let mut server = WithWords::new(server);
                server.write_all(said.as_bytes()).await.unwrap();
                server.shutdown().await.unwrap();
            });
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.ends_with(&words()), has_words, "{answer}");
            if has_words {
                client.write_all(&[b'x'; 100_000]).await.unwrap();
                drop(client);
            } else {
                assert_eq!(answer, said);
            }
            talk.await.unwrap();
        }
    }
}
