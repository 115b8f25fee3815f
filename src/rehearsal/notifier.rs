//! The receiver of notices. It does not know our secret, so it takes every signature.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, routing::post};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    Role,
    desk::Desk,
    ledger::{Kind, Line},
    moods::{Area, Mood},
    reply::{Asked, Body, Reply, owned},
};

/// What the ledger keeps of a notice.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    order_id: Option<Uuid>,
    status: Option<String>,
    text: Option<String>,
}

/// Everything below `/notifier`.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/messages", post(receive))
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    asked: Asked,
    Body(message): Body<Message>,
) -> Reply {
    let moods = desk.moods();
    let mood = moods.of(Area::Notification, asked.mood.as_deref());
    if mood == Some(Mood::Down) {
        return Reply::down();
    }
    owned(async move {
        if mood == Some(Mood::Slow) {
            sleep(moods.slow()).await;
        }
        let mut shard = desk.notices.lock(&asked.key).await;
        if !shard.contains_key(&*asked.key) {
            let Data { order_id, status, text } = message.data;
            let mut line = Line::new(Role::Notifier, Kind::Notice, &asked.key, order_id);
            (line.status, line.text) = (status, text);
            desk.ledger.append(line).await?;
            shard.insert(asked.key.into(), ());
        }
        Ok(Reply::Json(StatusCode::ACCEPTED, json!({})))
    })
    .await
}
