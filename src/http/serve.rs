//! The accept loop. It is our own because `axum::serve` waits without end for a head, a body or the
//! next request, and takes requests that two parsers could read in two ways.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Version, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    held::Held,
    problem::{Code, Problem},
    wire::{Progress, Wire},
};
use crate::config::HttpLimits;

/// What a connection beyond the cap is told, without a look at what it asks.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: application/problem+json\r\ncontent-length: 173\r\n\r\n\
    {\"type\":\"/problems/overloaded\",\"title\":\"The server has as many requests as it can take\",\
    \"status\":503,\"detail\":\"There is no room for another connection.\",\"code\":\"overloaded\"}";
/// How long a refused connection may take to read why.
const BUSY_LINGER: Duration = Duration::from_secs(1);
/// How long accepting pauses when file descriptors or memory have run out: long enough for
/// connections to end, short against any client's patience.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop`: then nothing more is accepted, requests in flight
/// have the drain time to finish, and what is left is cut off.
///
/// Event streams never finish by themselves; their handlers must end them at the same `stop`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    let mut open = JoinSet::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(limits.refusals));
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                after_accept_error(&error).await;
                continue;
            }
        };
        if let Ok(permit) = room.clone().try_acquire_owned() {
            let connection = connection(stream, router.clone(), limits.clone(), stop.clone());
            open.spawn(async move {
                connection.await;
                drop(permit);
            });
        } else if let Ok(permit) = refusals.clone().try_acquire_owned() {
            open.spawn(async move {
                let _ = timeout(BUSY_LINGER, refuse(stream)).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    tracing::info!(connections = open.len(), "draining");
    if timeout(limits.drain_timeout, async { while open.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tracing::warn!(connections = open.len(), "cutting off what did not finish in time");
        open.shutdown().await;
    }
}

/// A connection that failed before it was accepted is the client's affair. Anything else is ours (no
/// file descriptors, no memory), and trying again at once would only burn the processor.
async fn after_accept_error(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
    {
        return;
    }
    tracing::warn!(%error, "cannot accept connections");
    sleep(ACCEPT_PAUSE).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Arc<HttpLimits>,
    stop: CancellationToken,
) {
    // Answers are written in one go; waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let progress = Arc::new(Progress::default());
    let wire = TokioIo::new(Wire::new(stream, progress.clone(), &limits));
    let service = service_fn(|request| answer(request, router.clone(), progress.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The wire keeps the deadlines, because hyper counts idle time as time for the head. But only
        // with a deadline of its own does hyper look at the wire again after an answer.
        .header_read_timeout(limits.idle_timeout + limits.head_timeout)
        .max_headers(limits.headers)
        .max_header_size(limits.head_bytes)
        .serve_connection(wire, service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    router: Router,
    progress: Arc<Progress>,
) -> Result<hyper::Response<Held<impl Send + Unpin>>, Infallible> {
    let serving = progress.serve();
    let request = request.map(Body::new);
    let response = match framing_problem(&request, &progress) {
        Some(problem) => closing(problem.into_response()),
        None => router.oneshot(request).await?,
    };
    Ok(response.map(|body| Held::new(body, serving)))
}

/// What makes a request one that a proxy in front may have read differently.
fn framing_problem(request: &Request, progress: &Progress) -> Option<Problem> {
    let bad = |detail| Some(Problem::new(Code::BadRequest, detail));
    if progress.is_ambiguous() {
        return bad("Two parsers could disagree on where this request ends.");
    }
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return bad("A request has one Host header.");
    }
    None
}

/// An answer after which nothing on the connection can be trusted.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says that there is no room, and reads on until the client is gone: closing at once could reset
/// the connection before the client has read why.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(BUSY).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_the_length_it_says() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert_eq!(length.parse(), Ok(body.len()));
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        let code = Code::Overloaded;
        assert_eq!(problem["code"], code.as_str());
        assert_eq!(problem["title"], code.title());
    }
}
