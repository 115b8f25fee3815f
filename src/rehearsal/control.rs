//! For tests, demos and audits: the moods, and the ledger as it stands.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Role,
    desk::Desk,
    moods::{Change, Moods},
    reply::{Body, Reply},
};

#[derive(Deserialize)]
struct Filter {
    order_id: Option<Uuid>,
}

/// The routes that are no participant's.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/ledger", get(ledger))
        .route("/moods", get(moods).put(change))
        .route("/livez", get(alive))
        .route("/readyz", get(alive))
}

/// Whoever is answered here can be served: the ledger was read before the first connection was taken.
async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn moods(State(desk): State<Arc<Desk>>) -> Json<Value> {
    Json(shown(&desk, desk.moods()))
}

async fn change(State(desk): State<Arc<Desk>>, Body(change): Body<Change>) -> Reply {
    match desk.change(|moods| change.apply(moods)) {
        Some(moods) => Reply::Json(StatusCode::OK, shown(&desk, moods)),
        None => Reply::refused(StatusCode::UNPROCESSABLE_ENTITY, "unknown_mood"),
    }
}

fn shown(desk: &Desk, moods: Moods) -> Value {
    let mut shown = json!(moods);
    shown["calls"] = json!({
        "payment": desk.calls(Role::Payment),
        "kitchen": desk.calls(Role::Kitchen),
        "notifier": desk.calls(Role::Notifier),
    });
    shown
}

/// Every line that somebody was told of is in it; the newest may be a moment from being on disk.
async fn ledger(State(desk): State<Arc<Desk>>, Query(filter): Query<Filter>) -> Response {
    let read = tokio::task::spawn_blocking(move || array(desk.ledger.path(), filter.order_id));
    match read.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(Err(error)) => {
            let body = json!({"code": "ledger_unreadable", "detail": error.to_string()});
            Reply::Json(StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
        Err(_) => Reply::HangUp.into_response(),
    }
}

/// The lines are JSON already: those of the order are joined, none is parsed.
fn array(path: &Path, order_id: Option<Uuid>) -> io::Result<String> {
    let mark = order_id.map(|id| format!("\"order_id\":\"{id}\""));
    let mut reader = BufReader::new(File::open(path)?);
    let (mut text, mut line) = (String::from("["), String::new());
    while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
        if mark.as_ref().is_none_or(|mark| line.contains(mark)) {
            text.extend([if text.len() > 1 { "," } else { "" }, line.trim_end()]);
        }
        line.clear();
    }
    text.push(']');
    Ok(text)
}
