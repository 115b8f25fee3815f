//! The journal of an order, whole or as it grows; and of all orders.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::Path,
    problem::{Code, Problem},
};
use crate::{
    config::limits::SSE_HEARTBEAT,
    saga::{
        feed::{Cursor, Woken},
        history,
        journal::JournalLine,
    },
    shop::ShopError,
};

/// How often a stream looks for itself, should nobody tell it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Events that a slow client may be behind; then the stream waits for it.
const BACKLOG: usize = 64;

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new().routes(routes!(whole)).routes(routes!(of_order)).routes(routes!(of_shop))
}

/// One line of a journal.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryEvent {
    /// The order; only in the stream of all orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    /// From 1, without a gap.
    seq: i32,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What happened, one of a closed set.
    #[schema(example = "step_done")]
    kind: String,
    /// The step it is about.
    step: Option<String>,
    /// The attempt it is about.
    attempt: Option<i32>,
    /// What else there is to know.
    #[schema(value_type = Object)]
    data: Value,
}

impl HistoryEvent {
    fn of(line: &JournalLine) -> Self {
        let mut data: Value = serde_json::from_str(&line.data).unwrap_or_default();
        if let Some(input) = data.as_object_mut().filter(|_| line.kind == "started") {
            // The payment provider's token is for the payment provider.
            input.remove("method_token");
        }
        Self {
            order_id: None,
            seq: line.seq,
            at: history::at(line),
            kind: line.kind.clone(),
            step: line.step.clone(),
            attempt: line.attempt,
            data,
        }
    }

    fn sse(&self, id: String) -> Event {
        let event = Event::default().id(id).event(&self.kind);
        event.json_data(self).unwrap_or_else(|_| Event::default().comment("unprintable"))
    }
}

/// The journal of an order.
#[derive(Debug, Serialize, ToSchema)]
struct History {
    /// Its lines, in order.
    events: Vec<HistoryEvent>,
}

/// Read the whole history of an order.
#[utoipa::path(get, path = "/v1/orders/{id}/history", tag = "orders", params(("id" = Uuid, Path)),
    responses(
        (status = OK, body = History),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn whole(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
) -> Result<Json<History>, Problem> {
    let lines = counter.shop.lines(id, 0).await?;
    if lines.is_empty() {
        return Err(ShopError::NotFound("order").into());
    }
    Ok(Json(History { events: lines.iter().map(HistoryEvent::of).collect() }))
}

/// Follow the history of an order, as server-sent events with `seq` as their id. Resume with
/// `Last-Event-ID`: every line comes exactly once. The stream ends after the order's last line; whoever
/// resumes after that one gets 204, which tells browsers not to come again.
#[utoipa::path(get, path = "/v1/orders/{id}/events", tag = "orders",
    params(("id" = Uuid, Path), ("Last-Event-ID" = Option<i32>, Header)), responses(
        (status = OK, content_type = "text/event-stream", body = String),
        (status = NO_CONTENT, description = "There is nothing after `Last-Event-ID`, and never will be"),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn of_order(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = match last_event_id(&headers)? {
        None => 0,
        Some(seq) => seq.parse::<i32>().ok().filter(|it| *it >= 0).ok_or_else(not_ours)?,
    };
    let shop = counter.shop.clone();
    let looked = counter.tasks.spawn(async move { shop.lines(id, 0).await }).await;
    let lines = looked.unwrap_or(Err(ShopError::NotPlacing))?;
    let last = lines.last().ok_or(ShopError::NotFound("order"))?;
    if last.kind == "closed" && last.seq <= after {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (events, stream) = mpsc::channel(BACKLOG);
    let task = counter.clone();
    counter.tasks.spawn(async move { follow_order(task, id, after, events).await });
    Ok(sse(stream))
}

/// Follow the histories of all orders. The ids are opaque cursors; resume with `Last-Event-ID`: every line
/// comes exactly once, also one whose commit was late. What happened is kept here for a day (in the orders'
/// own histories for ever): who comes back later than that gets 410, and starts without an id.
#[utoipa::path(get, path = "/v1/events", tag = "orders",
    params(("Last-Event-ID" = Option<String>, Header)), responses(
        (status = OK, content_type = "text/event-stream", body = String),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = GONE, body = Problem, content_type = "application/problem+json"),
    ))]
async fn of_shop(State(counter): State<Counter>, headers: HeaderMap) -> Result<Response, Problem> {
    let cursor = match last_event_id(&headers)? {
        None => None,
        Some(id) => {
            let bytes = BASE64.decode(id).map_err(|_| not_ours())?;
            Some(whole_after(&counter, Cursor::from_bytes(&bytes).ok_or_else(not_ours)?).await?)
        }
    };
    let (events, stream) = mpsc::channel(BACKLOG);
    let task = counter.clone();
    counter.tasks.spawn(async move { follow_shop(task, cursor, events).await });
    Ok(sse(stream))
}

/// The position, if nothing after it is lost.
async fn whole_after(counter: &Counter, mut cursor: Cursor) -> Result<Cursor, Problem> {
    let pool = counter.shop.read_pool().clone();
    let looked = counter.tasks.spawn(async move {
        let is_whole = cursor.is_whole(&pool).await;
        is_whole.map(|is_whole| (cursor, is_whole))
    });
    match looked.await {
        Ok(Ok((cursor, true))) => Ok(cursor),
        Ok(Ok((_, false))) => Err(Problem::new(
            Code::CursorExpired,
            "Some of what happened after this position is not kept any more. Start without Last-Event-ID, \
             and read the orders you care about anew.",
        )),
        Ok(Err(error)) => Err(ShopError::from(error).into()),
        Err(_) => Err(ShopError::NotPlacing.into()),
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    headers.get("last-event-id").map(|it| it.to_str().map_err(|_| not_ours())).transpose()
}

fn not_ours() -> Problem {
    Problem::new(Code::InvalidCursor, "Last-Event-ID is not one that this stream gave out.")
}

fn sse(events: mpsc::Receiver<Result<Event, Infallible>>) -> Response {
    let stream = Sse::new(ReceiverStream::new(events));
    stream.keep_alive(KeepAlive::new().interval(SSE_HEARTBEAT)).into_response()
}

type Events = mpsc::Sender<Result<Event, Infallible>>;

async fn follow_order(counter: Counter, id: Uuid, mut after: i32, events: Events) {
    let mut feed = counter.shop.engine.feed().subscribe();
    loop {
        match counter.shop.lines(id, after).await {
            Ok(lines) => {
                for line in lines {
                    after = line.seq;
                    let event = HistoryEvent::of(&line).sse(line.seq.to_string());
                    if events.send(Ok(event)).await.is_err() || line.kind == "closed" {
                        return;
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "a stream looks again"),
        }
        if !wait(&counter, &mut feed, &events, |it| it.contains(&id)).await {
            return;
        }
    }
}

async fn follow_shop(counter: Counter, cursor: Option<Cursor>, events: Events) {
    let mut feed = counter.shop.engine.feed().subscribe();
    let pool = counter.shop.read_pool().clone();
    let mut cursor = match cursor {
        Some(cursor) => cursor,
        None => match Cursor::now(&pool).await {
            Ok(cursor) => cursor,
            Err(error) => return tracing::warn!(%error, "a stream cannot start"),
        },
    };
    loop {
        match cursor.lines(&pool).await {
            Ok(Some(lines)) => {
                for (line, id) in lines {
                    let mut event = HistoryEvent::of(&line);
                    event.order_id = Some(line.saga_id);
                    if events.send(Ok(event.sse(BASE64.encode(id)))).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "a stream looks again"),
        }
        if !wait(&counter, &mut feed, &events, |_| true).await {
            return;
        }
    }
}

/// Waits until something may have happened. False when the stream is over.
async fn wait(
    counter: &Counter,
    feed: &mut broadcast::Receiver<Woken>,
    events: &Events,
    is_for_us: impl Fn(&Woken) -> bool,
) -> bool {
    let told = async {
        // Lagging behind means that something happened.
        while let Ok(sagas) = feed.recv().await {
            if is_for_us(&sagas) {
                return;
            }
        }
    };
    tokio::select! {
        () = counter.stop.cancelled() => false,
        () = events.closed() => false,
        _ = tokio::time::timeout(LOOK_EVERY, told) => true,
    }
}
