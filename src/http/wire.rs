//! The bytes of one connection: their deadlines, and what only they can tell about a request's head.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use crate::config::HttpLimits;

/// What the wire and the service of one connection tell each other. Both live in one task, so the
/// order of the atomics does not matter.
#[derive(Debug, Default)]
pub(super) struct Progress {
    begun: AtomicU64,
    ended: AtomicU64,
    ambiguous: AtomicBool,
}

impl Progress {
    /// A request's head has been read; it is served until the guard is dropped.
    pub(super) fn serve(self: &Arc<Self>) -> Serving {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Serving(self.clone())
    }

    /// Whether two parsers could disagree on where a request of this connection ends.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Ordering::Relaxed)
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Serving(Arc<Progress>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A TCP stream that fails with [`io::ErrorKind::TimedOut`] when the client takes too long over a
/// request's head, between requests, or over taking an answer. A body has its time limit elsewhere,
/// where it can be answered.
pub(super) struct Wire {
    stream: TcpStream,
    progress: Arc<Progress>,
    phase: Phase,
    /// How many served requests are accounted for in `phase`.
    ended: u64,
    read_deadline: Pin<Box<Sleep>>,
    write_deadline: Option<Pin<Box<Sleep>>>,
    head: Head,
    head_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
}

/// What is expected from the client.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// The rest of a head.
    Head,
    /// Nothing: its request is being served.
    Serving,
    /// The next request, or the end.
    Idle,
}

impl Wire {
    /// The first head's time runs from here, so that silence is no way to keep a connection.
    pub(super) fn new(stream: TcpStream, progress: Arc<Progress>, limits: &HttpLimits) -> Self {
        Self {
            stream,
            progress,
            phase: Phase::Head,
            ended: 0,
            read_deadline: Box::pin(sleep(limits.head_timeout)),
            write_deadline: None,
            head: Head::default(),
            head_timeout: limits.head_timeout,
            idle_timeout: limits.idle_timeout,
            write_timeout: limits.write_timeout,
        }
    }

    /// Follows what the service did since the last look.
    fn catch_up(&mut self) {
        let begun = self.progress.begun.load(Ordering::Relaxed);
        let ended = self.progress.ended.load(Ordering::Relaxed);
        if begun > ended {
            self.phase = Phase::Serving;
        } else if ended > self.ended {
            self.ended = ended;
            self.phase = Phase::Idle;
            self.read_deadline.as_mut().reset(Instant::now() + self.idle_timeout);
        }
    }

    /// Looks at what was read, unless it belongs to a body or was sent ahead of an answer: then
    /// hyper's own, equally safe reading counts (the encoding wins, and the connection closes).
    fn look_at(&mut self, read: &[u8]) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Head;
            self.head = Head::default();
            self.read_deadline.as_mut().reset(Instant::now() + self.head_timeout);
        }
        if self.phase == Phase::Head && self.head.is_ambiguous_with(read) {
            self.progress.ambiguous.store(true, Ordering::Relaxed);
        }
    }

    fn write_progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_deadline = None;
            return result;
        }
        let timeout = self.write_timeout;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.catch_up();
        let known = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            self.look_at(buffer.filled().get(known..).unwrap_or_default());
            return Poll::Ready(result);
        }
        if self.phase == Phase::Serving {
            return Poll::Pending;
        }
        ready!(self.read_deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.write_progress(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.write_progress(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The bytes of a head, looked at as they come. Only here can a request be caught that says both
/// how long its body is and that it says so itself: hyper drops one of the two headers.
#[derive(Debug, Default)]
struct Head {
    /// The start of the current line, up to what the longest name of interest needs.
    line: Vec<u8>,
    returned: bool,
    begun: bool,
    sized: bool,
    encoded: bool,
    over: bool,
}

impl Head {
    /// Takes more bytes; true when the head is one that parsers are known to disagree on: both
    /// `content-length` and `transfer-encoding`, or a line that ends without a carriage return.
    fn is_ambiguous_with(&mut self, bytes: &[u8]) -> bool {
        const KEPT: usize = "transfer-encoding:".len();
        let mut bare = false;
        for &byte in bytes {
            if self.over {
                break;
            }
            if byte != b'\n' {
                self.returned = byte == b'\r';
                if self.line.len() < KEPT && !self.returned {
                    self.line.push(byte);
                }
                continue;
            }
            bare |= !self.returned;
            // Empty lines before the request line are skipped, as parsers do.
            self.over = self.begun && self.line.is_empty();
            self.begun |= !self.line.is_empty();
            let named = |name: &[u8]| {
                self.line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            };
            self.sized |= named(b"content-length:");
            self.encoded |= named(b"transfer-encoding:");
            self.line.clear();
        }
        bare || (self.sized && self.encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ambiguous(pieces: &[&str]) -> bool {
        let mut head = Head::default();
        pieces.iter().any(|piece| head.is_ambiguous_with(piece.as_bytes()))
    }

    #[test]
    fn a_head_with_two_lengths_is_ambiguous_however_it_is_cut() {
        let whole = "POST / HTTP/1.1\r\nCONTENT-LENGTH: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(is_ambiguous(&[whole]) && is_ambiguous(&["\r\n", whole]));
        let bytes: Vec<String> = whole.chars().map(String::from).collect();
        assert!(is_ambiguous(&bytes.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    #[test]
    fn one_length_is_not_and_the_body_does_not_count() {
        let sized = "POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\n";
        assert!(!is_ambiguous(&[sized, "Transfer-Encoding: chunked\r\n\n"]));
        let encoded =
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 1\r\n\r\n";
        assert!(!is_ambiguous(&[encoded]));
    }

    #[test]
    fn a_bare_line_feed_is_ambiguous() {
        assert!(is_ambiguous(&["GET / HTTP/1.1\nHost: a\r\n\r\n"]));
    }
}
