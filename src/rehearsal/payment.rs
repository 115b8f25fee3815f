//! The payment provider. It believes what it is told: a refund of money it never took is a line in the
//! ledger, for the audit to find.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::post,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    RehearsalError, Role,
    book::Shard,
    desk::Desk,
    ledger::{Kind, Line},
    moods::{Area, Mood},
    reply::{Asked, Body, Reply, Sought, owned},
};

/// What has become of a key.
pub(super) enum Entry {
    /// Money was taken; `voided` closed the key afterwards.
    Captured { money: Money, voided: bool },
    /// Refused.
    Declined,
    /// Closed before anything was captured: the tombstone.
    Voided,
    /// Money was returned.
    Refunded(Money),
}

/// A movement of money: its line in the ledger, minor units, and ISO 4217.
#[derive(Clone)]
pub(super) struct Money {
    n: u64,
    amount: i64,
    currency: Box<str>,
}

#[derive(Clone, Deserialize)]
struct Asking {
    order_id: Uuid,
    amount: i64,
    currency: String,
}

#[derive(Deserialize)]
struct Voiding {
    order_id: Uuid,
}

/// Everything below `/payment`.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/captures", post(capture).get(find))
        .route("/voids", post(void))
        .route("/refunds", post(refund))
}

/// Replays a line into its shard.
pub(super) fn restore(shard: &mut Shard<Entry>, line: Line) {
    let money = Money {
        n: line.n,
        amount: line.amount.unwrap_or_default(),
        currency: line.currency.unwrap_or_default().into(),
    };
    let key = line.key.into_boxed_str();
    match line.kind {
        Kind::Captured => drop(shard.insert(key, Entry::Captured { money, voided: false })),
        Kind::Declined => drop(shard.insert(key, Entry::Declined)),
        Kind::Refunded => drop(shard.insert(key, Entry::Refunded(money))),
        Kind::Voided => match shard.get_mut(&key) {
            Some(Entry::Captured { voided, .. }) => *voided = true,
            _ => drop(shard.insert(key, Entry::Voided)),
        },
        Kind::Ticket | Kind::OutOfIngredients | Kind::Prepared | Kind::CallOff | Kind::Notice => {}
    }
}

async fn capture(State(desk): State<Arc<Desk>>, asked: Asked, Body(asking): Body<Asking>) -> Reply {
    let moods = desk.moods();
    let mood = moods.of(Area::Payment, asked.mood.as_deref());
    match mood {
        Some(Mood::Down) => return Reply::down(),
        Some(Mood::Late) if !desk.payments.lock(&asked.key).await.contains_key(&*asked.key) => {
            tokio::spawn(async move {
                sleep(moods.late()).await;
                // It fails only when the rehearsal has ended: then the capture never arrives.
                let _ = take(&desk, &asked.key, &asking, mood).await;
            });
            return Reply::HangUp;
        }
        _ => {}
    }
    owned(async move {
        if mood == Some(Mood::Slow) {
            sleep(moods.slow()).await;
        }
        let (reply, first) = take(&desk, &asked.key, &asking, mood).await?;
        let lost = first && mood == Some(Mood::AnswerLost);
        Ok(if lost { Reply::HangUp } else { reply })
    })
    .await
}

/// The answer to a capture, and whether this call was the key's first.
async fn take(
    desk: &Desk,
    key: &str,
    asking: &Asking,
    mood: Option<Mood>,
) -> Result<(Reply, bool), RehearsalError> {
    let mut shard = desk.payments.lock(key).await;
    if let Some(entry) = shard.get(key) {
        return Ok((captured(entry), false));
    }
    let kind = if mood == Some(Mood::Decline) { Kind::Declined } else { Kind::Captured };
    let surplus = i64::from(mood == Some(Mood::WrongAmount));
    let mut line = Line::new(Role::Payment, kind, key, asking.order_id);
    line.amount = Some(asking.amount.saturating_add(surplus));
    line.currency = Some(asking.currency.clone());
    restore(&mut shard, desk.ledger.append(line).await?);
    Ok((shard.get(key).map_or(Reply::HangUp, captured), true))
}

fn captured(entry: &Entry) -> Reply {
    match entry {
        Entry::Captured { money, .. } => {
            Reply::Json(StatusCode::CREATED, receipt("capture", money))
        }
        Entry::Declined => Reply::refused(StatusCode::PAYMENT_REQUIRED, "declined"),
        Entry::Voided => Reply::refused(StatusCode::CONFLICT, "voided"),
        Entry::Refunded(_) => Reply::refused(StatusCode::UNPROCESSABLE_ENTITY, "key_reused"),
    }
}

fn receipt(name: &str, money: &Money) -> Value {
    let Money { n, amount, currency } = money;
    json!({"receipt": format!("{name}-{n}"), "amount": amount, "currency": currency})
}

async fn find(State(desk): State<Arc<Desk>>, Query(sought): Query<Sought>) -> Reply {
    let shard = desk.payments.lock(&sought.key).await;
    let body = match shard.get(&*sought.key) {
        Some(Entry::Captured { money, voided }) => {
            let mut body = receipt("capture", money);
            body["state"] = json!(if *voided { "voided" } else { "captured" });
            body
        }
        Some(Entry::Declined) => json!({"state": "declined"}),
        Some(Entry::Voided) => json!({"state": "voided"}),
        Some(Entry::Refunded(_)) | None => {
            return Reply::refused(StatusCode::NOT_FOUND, "unknown_key");
        }
    };
    Reply::Json(StatusCode::OK, body)
}

async fn void(State(desk): State<Arc<Desk>>, asked: Asked, Body(voiding): Body<Voiding>) -> Reply {
    owned(async move {
        let mut shard = desk.payments.lock(&asked.key).await;
        let (found, closed) = match shard.get(&*asked.key) {
            Some(Entry::Captured { money, voided }) => (Some(money.clone()), *voided),
            Some(Entry::Voided) => (None, true),
            Some(Entry::Declined) | None => (None, false),
            Some(Entry::Refunded(_)) => {
                return Ok(Reply::refused(StatusCode::UNPROCESSABLE_ENTITY, "key_reused"));
            }
        };
        let amount = found.as_ref().map(|money| money.amount);
        let currency = found.map(|money| String::from(money.currency));
        if !closed {
            let mut line = Line::new(Role::Payment, Kind::Voided, &asked.key, voiding.order_id);
            (line.amount, line.currency) = (amount, currency.clone());
            restore(&mut shard, desk.ledger.append(line).await?);
        }
        let body = json!({"captured": amount.is_some(), "amount": amount, "currency": currency});
        Ok(Reply::Json(StatusCode::OK, body))
    })
    .await
}

async fn refund(State(desk): State<Arc<Desk>>, asked: Asked, Body(asking): Body<Asking>) -> Reply {
    let moods = desk.moods();
    let mood = moods.of(Area::Refund, asked.mood.as_deref());
    if mood == Some(Mood::Down) {
        return Reply::down();
    }
    owned(async move {
        if mood == Some(Mood::Slow) {
            sleep(moods.slow()).await;
        }
        let mut shard = desk.payments.lock(&asked.key).await;
        if !shard.contains_key(&*asked.key) {
            let mut line = Line::new(Role::Payment, Kind::Refunded, &asked.key, asking.order_id);
            (line.amount, line.currency) = (Some(asking.amount), Some(asking.currency));
            restore(&mut shard, desk.ledger.append(line).await?);
        }
        Ok(match shard.get(&*asked.key) {
            Some(Entry::Refunded(money)) => {
                Reply::Json(StatusCode::CREATED, receipt("refund", money))
            }
            _ => Reply::refused(StatusCode::UNPROCESSABLE_ENTITY, "key_reused"),
        })
    })
    .await
}
