//! The server: an accept loop of its own, because a stand-in must be able to hang up.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{RehearsalError, Role, control, desk::Desk, kitchen, notifier, payment, reply::HangUp};

/// How long calls under way may go on once the rehearsal is asked to stop.
const DRAIN: Duration = Duration::from_secs(1);
/// Pause after an accept that failed (no file descriptors left): the connections that end free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a rehearsal on `listener` until `stop`, with the ledger at `ledger_path` (made if absent).
/// When it returns the ledger is closed, and another may serve on it.
///
/// # Errors
/// When the ledger cannot be read or written. Dropping the future cuts every connection.
pub async fn serve(
    listener: TcpListener,
    ledger_path: PathBuf,
    stop: CancellationToken,
) -> Result<(), RehearsalError> {
    let desk = Opened::new(ledger_path, &stop).await?;
    desk.run(listener, "").await
}

/// A rehearsal that can serve: its ledger has been read.
pub(super) struct Opened {
    desk: Arc<Desk>,
    writer: oneshot::Receiver<io::Result<()>>,
}

impl Opened {
    /// Reads the ledger.
    pub(super) async fn new(
        path: PathBuf,
        stop: &CancellationToken,
    ) -> Result<Self, RehearsalError> {
        let stop = stop.child_token();
        let opened = spawn_blocking(move || Desk::open(path, stop)).await;
        let (desk, writer) = opened.map_err(|_| RehearsalError::Closed)??;
        Ok(Self { desk: Arc::new(desk), writer })
    }

    /// Serves below this path until asked to stop, or until the ledger cannot be written.
    pub(super) async fn run(
        mut self,
        listener: TcpListener,
        below: &str,
    ) -> Result<(), RehearsalError> {
        let (router, stop) = (router(&self.desk, below), self.desk.stop.clone());
        let mut connections = JoinSet::new();
        let ended = loop {
            tokio::select! {
                () = stop.cancelled() => break None,
                ended = &mut self.writer => break Some(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, router.clone(), stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the rehearsal cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        };
        stop.cancel();
        drop(listener);
        // Whoever is not done by then is cut off: the same as a crash, which callers survive.
        let _ = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
        connections.shutdown().await;
        let ended = match ended {
            Some(ended) => ended,
            None => {
                self.desk.ledger.close().await;
                self.writer.await
            }
        };
        let path = self.desk.ledger.path().to_owned();
        match ended {
            Ok(written) => written.map_err(|source| RehearsalError::File { path, source }),
            Err(_) => Err(RehearsalError::Closed),
        }
    }
}

fn router(desk: &Arc<Desk>, below: &str) -> Router {
    let counted = |role, routes: Router<Arc<Desk>>| {
        routes.layer(from_fn_with_state((Arc::clone(desk), role), count))
    };
    let routes = control::routes()
        .nest("/payment", counted(Role::Payment, payment::routes()))
        .nest("/kitchen", counted(Role::Kitchen, kitchen::routes()))
        .nest("/notifier", counted(Role::Notifier, notifier::routes()))
        .with_state(Arc::clone(desk));
    if below.is_empty() { routes } else { Router::new().nest(below, routes) }
}

async fn count(
    State((desk, role)): State<(Arc<Desk>, Role)>,
    request: Request,
    next: Next,
) -> Response {
    desk.count(role);
    next.run(request).await
}

/// No answer was to be sent; hyper then closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("hung up")]
struct HungUp;

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            match response.extensions().get::<HangUp>() {
                Some(HangUp) => Err(HungUp),
                None => Ok(response),
            }
        }
    });
    // Answers are small and come in one piece; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    // How a connection ends is the caller's to judge, so an error here tells us nothing.
    tokio::select! {
        _ = served.as_mut() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}
