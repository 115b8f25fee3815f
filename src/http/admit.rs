//! What is let in: bodies that arrive in time and size, and as many requests as can be worked on.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, time::timeout};
use tracing::Instrument;
use url::form_urlencoded;

use super::{
    held::Held,
    problem::{Code, Problem},
};
use crate::config::{HttpLimits, limits::BODY_DISCARD_BYTES_MAX};

/// Reads the whole body before anything else happens, so that a slow client holds up nothing but its
/// own connection, and handlers see bodies that are there.
pub(super) async fn read_body(
    State(limits): State<Arc<HttpLimits>>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    // A client that waits for `100 Continue` has sent nothing yet, so there is nothing to discard.
    let patience =
        if parts.headers.contains_key(header::EXPECT) { 0 } else { BODY_DISCARD_BYTES_MAX };
    match timeout(limits.body_timeout, gather(body, limits.body_bytes, patience)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, bytes.into())).await,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => {
            let seconds = limits.body_timeout.as_secs_f32();
            let detail = format!("The body did not arrive within {seconds} s.");
            Problem::new(Code::BodyTimeout, detail).into_response()
        }
    }
}

/// The body, if it has at most `max` bytes. Up to `patience` bytes of a larger one are read before
/// it is refused, so that a client that sends first and reads later gets to see why.
async fn gather(mut body: Body, max: usize, patience: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("A body has at most {max} bytes."));
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max.max(patience) {
        return Err(too_large());
    }
    let mut kept = Vec::with_capacity(announced.min(max));
    let mut seen = 0;
    while seen <= max.max(patience) {
        let Some(frame) = body.frame().await else { break };
        let cut_short = |_| Problem::new(Code::BadRequest, "The body ended before its end.");
        let Ok(data) = frame.map_err(cut_short)?.into_data() else { continue };
        seen += data.len();
        if seen <= max {
            kept.extend_from_slice(&data);
        }
    }
    if seen > max { Err(too_large()) } else { Ok(kept.into()) }
}

/// How many requests may be in the house.
#[derive(Debug)]
pub(super) struct Room {
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        Self {
            working: Arc::new(Semaphore::new(limits.working)),
            waiting: Arc::new(Semaphore::new(limits.waiting)),
        }
    }
}

/// Lets a request in, or refuses it before anything was done for it.
///
/// A request that works is a task of its own and finishes even when its client hangs up: a handler
/// that was dropped half-way could leave its database connection inside a transaction. So its place
/// stays taken for as long as it really works. Those that only wait end with their clients.
pub(super) async fn admit(State(room): State<Arc<Room>>, request: Request, next: Next) -> Response {
    let full = || {
        Problem::new(Code::Overloaded, "Nothing was done; the same request can be sent again.")
            .into_response()
    };
    match kind(&request) {
        Kind::Service => next.run(request).await,
        Kind::Waiting => {
            let Ok(place) = room.waiting.clone().try_acquire_owned() else { return full() };
            next.run(request).await.map(|body| Body::new(Held::new(body, place)))
        }
        Kind::Working => {
            let Ok(place) = room.working.clone().try_acquire_owned() else { return full() };
            let work = async move {
                let response = next.run(request).await;
                drop(place);
                response
            };
            match tokio::spawn(work.in_current_span()).await {
                Ok(response) => response,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Problem::new(Code::Unavailable, "The server stops.").into_response(),
            }
        }
    }
}

/// Routes that wait for what comes.
const STREAMS: [&str; 2] = ["/v1/events", "/v1/orders/{id}/events"];
/// The route that waits when it is asked to, by this parameter.
const LONG_POLL: (&str, &str) = ("/v1/orders/{id}", "wait");

/// The route on which workers are held until there is work.
const HELD: &str = "/v1/queues/{queue}/poll";

/// What a request costs.
#[derive(Debug, PartialEq)]
enum Kind {
    /// Asked by those who watch over the process, above all under load: always let in.
    Service,
    /// An event stream, a long-poll or a worker that asks: memory only. Its handler is dropped when its client leaves, so it
    /// hands all its work with the database to tasks that are owned elsewhere.
    Waiting,
    /// Everything else.
    Working,
}

/// By the route that answers, never by what an address looks like: an item of the menu may be called
/// `events`, and anybody may add a parameter to anything.
fn kind(request: &Request) -> Kind {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // Whoever asks with HEAD gets the head of what GET would have answered, by the same handler.
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let waits = || {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        form_urlencoded::parse(query).any(|(name, _)| name == LONG_POLL.1)
    };
    match route {
        Some("/livez" | "/readyz" | "/metrics") => Kind::Service,
        Some(route) if reads && STREAMS.contains(&route) => Kind::Waiting,
        Some(route) if reads && route == LONG_POLL.0 && waits() => Kind::Waiting,
        Some(HELD) if request.method() == Method::POST => Kind::Waiting,
        _ => Kind::Working,
    }
}
