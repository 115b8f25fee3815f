//! The kitchen. A ticket whose time is over is made, whether or not anybody looks.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::post,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    RehearsalError, Role,
    book::Shard,
    desk::Desk,
    ledger::{Kind, Line},
    moods::{Area, Mood},
    reply::{Asked, Body, Reply, Sought, owned},
};

/// Longer than any order waits.
const NEVER_MS: u64 = 1_000 * 60 * 60 * 24 * 365;

/// What has become of a ticket.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// Accepted by the clock at `since`; made `takes_ms` later.
    Preparing { order_id: Option<Uuid>, since: Timestamp, takes_ms: u64 },
    /// Made.
    Prepared,
    /// Refused.
    OutOfIngredients,
    /// Closed: the tombstone. `prepared` tells whether it had been made.
    CalledOff { prepared: bool },
}

/// A ticket, or its call-off. What is to be made does not matter here.
#[derive(Deserialize)]
struct Asking {
    order_id: Uuid,
}

/// Everything below `/kitchen`.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/tickets", post(start).get(look)).route("/call_offs", post(call_off))
}

/// Replays a line into its shard.
pub(super) fn restore(shard: &mut Shard<Entry>, line: Line) {
    let entry = match line.kind {
        Kind::Ticket => Entry::Preparing {
            order_id: line.order_id,
            since: line.at,
            takes_ms: line.takes_ms.unwrap_or_default(),
        },
        Kind::OutOfIngredients => Entry::OutOfIngredients,
        Kind::Prepared => Entry::Prepared,
        Kind::CallOff => Entry::CalledOff { prepared: line.prepared.unwrap_or_default() },
        Kind::Captured | Kind::Declined | Kind::Voided | Kind::Refunded | Kind::Notice => return,
    };
    shard.insert(line.key.into(), entry);
}

async fn start(State(desk): State<Arc<Desk>>, asked: Asked, Body(asking): Body<Asking>) -> Reply {
    let moods = desk.moods();
    let mood = moods.of(Area::Kitchen, asked.mood.as_deref());
    if mood == Some(Mood::Down) {
        return Reply::down();
    }
    owned(async move {
        let mut shard = desk.tickets.lock(&asked.key).await;
        if let Some(entry) = shard.get(&*asked.key) {
            return Ok(accepted(*entry));
        }
        let out = mood == Some(Mood::OutOfIngredients);
        let kind = if out { Kind::OutOfIngredients } else { Kind::Ticket };
        let takes_ms = match mood {
            Some(Mood::Slow) => moods.slow_ms,
            Some(Mood::Stuck) => NEVER_MS,
            _ => moods.prep_ms,
        };
        let mut line = Line::new(Role::Kitchen, kind, &asked.key, asking.order_id);
        line.takes_ms = (!out).then_some(takes_ms);
        restore(&mut shard, desk.ledger.append(line).await?);
        let reply = shard.get(&*asked.key).copied().map_or(Reply::HangUp, accepted);
        Ok(if mood == Some(Mood::AnswerLost) { Reply::HangUp } else { reply })
    })
    .await
}

/// The answer to a ticket handed in.
fn accepted(entry: Entry) -> Reply {
    match entry {
        Entry::Preparing { .. } | Entry::Prepared => Reply::Json(StatusCode::ACCEPTED, told(entry)),
        Entry::OutOfIngredients => {
            Reply::refused(StatusCode::UNPROCESSABLE_ENTITY, "out_of_ingredients")
        }
        Entry::CalledOff { .. } => Reply::refused(StatusCode::CONFLICT, "called_off"),
    }
}

/// A ticket as it is looked up.
fn told(entry: Entry) -> Value {
    match entry {
        Entry::Preparing { since, takes_ms, .. } => {
            let percent = (elapsed_ms(since) * 100 / takes_ms.max(1)).min(99);
            let state = if percent == 0 { "queued" } else { "preparing" };
            // Progress moves slowly where it takes long; that somebody is at it does not.
            let now = Timestamp::now();
            json!({"state": state, "progress": {"percent": percent}, "reason": null, "heartbeat_at": now})
        }
        Entry::Prepared => {
            json!({"state": "prepared", "progress": {"percent": 100}, "reason": null})
        }
        Entry::OutOfIngredients => {
            json!({"state": "failed", "progress": null, "reason": "out_of_ingredients"})
        }
        Entry::CalledOff { .. } => {
            json!({"state": "called_off", "progress": null, "reason": null})
        }
    }
}

/// A ticket that somebody began and left.
fn stuck() -> Value {
    json!({"state": "preparing", "progress": {"percent": 40}, "reason": null})
}

async fn look(State(desk): State<Arc<Desk>>, asked: Asked, Query(sought): Query<Sought>) -> Reply {
    let mood = desk.moods().of(Area::Kitchen, asked.mood.as_deref());
    match mood {
        Some(Mood::Down) => return Reply::down(),
        Some(Mood::Hang) => {
            desk.stop.cancelled().await;
            return Reply::HangUp;
        }
        _ => {}
    }
    owned(async move {
        let mut shard = desk.tickets.lock(&sought.key).await;
        Ok(match finish(&desk, &mut shard, &sought.key).await? {
            Some(Entry::Preparing { .. }) if mood == Some(Mood::Stuck) => {
                Reply::Json(StatusCode::OK, stuck())
            }
            Some(entry) => Reply::Json(StatusCode::OK, told(entry)),
            None => Reply::refused(StatusCode::NOT_FOUND, "unknown_key"),
        })
    })
    .await
}

async fn call_off(
    State(desk): State<Arc<Desk>>,
    asked: Asked,
    Body(asking): Body<Asking>,
) -> Reply {
    if desk.moods().of(Area::Kitchen, asked.mood.as_deref()) == Some(Mood::Down) {
        return Reply::down();
    }
    owned(async move {
        let mut shard = desk.tickets.lock(&asked.key).await;
        let prepared = match finish(&desk, &mut shard, &asked.key).await? {
            Some(Entry::CalledOff { prepared }) => prepared,
            found => {
                let prepared = matches!(found, Some(Entry::Prepared));
                let mut line = Line::new(Role::Kitchen, Kind::CallOff, &asked.key, asking.order_id);
                line.prepared = Some(prepared);
                restore(&mut shard, desk.ledger.append(line).await?);
                prepared
            }
        };
        Ok(Reply::Json(StatusCode::OK, json!({ "prepared": prepared })))
    })
    .await
}

/// How a ticket stands now, after writing down that it is made when its time is over.
async fn finish(
    desk: &Desk,
    shard: &mut Shard<Entry>,
    key: &str,
) -> Result<Option<Entry>, RehearsalError> {
    if let Some(Entry::Preparing { order_id, since, takes_ms }) = shard.get(key)
        && elapsed_ms(*since) >= *takes_ms
    {
        let line = Line::new(Role::Kitchen, Kind::Prepared, key, *order_id);
        restore(shard, desk.ledger.append(line).await?);
    }
    Ok(shard.get(key).copied())
}

/// Milliseconds of the clock on the wall, so that a restart does not begin anew.
fn elapsed_ms(since: Timestamp) -> u64 {
    let now = Timestamp::now().as_millisecond();
    u64::try_from(now.saturating_sub(since.as_millisecond())).unwrap_or_default()
}
