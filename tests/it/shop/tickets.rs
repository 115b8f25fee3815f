//! A kitchen of somebody else's, and what of its tickets counts as a sign of life.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::world::{api::order_of, eventually, house::House};

/// How a ticket stands, and how often it was looked at since it stands so.
#[derive(Clone, Default)]
struct Kitchen {
    ticket: Arc<Mutex<(Value, usize)>>,
}

impl Kitchen {
    async fn open(ticket: Value) -> (Self, String, JoinHandle<()>) {
        let kitchen = Self { ticket: Arc::new(Mutex::new((ticket, 0))) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/tickets", get(look).post(start))
            .route("/call_offs", post(async || Json(json!({ "prepared": false }))))
            .with_state(kitchen.clone());
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        (kitchen, url, tokio::spawn(serving))
    }

    fn turns(&self, ticket: Value) {
        *self.ticket.lock().unwrap() = (ticket, 0);
    }

    /// Waits until the ticket was looked at so often.
    async fn was_looked_at(&self, looks: usize) {
        eventually("the ticket is looked at", || self.ticket.lock().unwrap().1 >= looks).await;
    }
}

async fn start(State(kitchen): State<Kitchen>) -> (StatusCode, Json<Value>) {
    (StatusCode::ACCEPTED, Json(kitchen.ticket.lock().unwrap().0.clone()))
}

/// A `heartbeat_at` moves with every look.
async fn look(State(kitchen): State<Kitchen>) -> Json<Value> {
    let mut ticket = kitchen.ticket.lock().unwrap();
    ticket.1 += 1;
    let mut shown = ticket.0.clone();
    if shown["heartbeat_at"].is_number() {
        shown["heartbeat_at"] = json!(ticket.1);
    }
    Json(shown)
}

#[tokio::test]
async fn a_ticket_that_waits_its_turn_and_one_that_is_slow_are_left_in_peace() {
    let queued = json!({ "state": "queued", "progress": null, "reason": null });
    let (kitchen, url, server) = Kitchen::open(queued).await;
    // Looks are up to a second apart: eight of them take longer than all attempts that hear nothing.
    let kitchen_url = format!("--kitchen-url={url}");
    let flags = ["--preparation-silence=2s", "--preparation-attempts=2", "--retry-backoff=20ms"];
    let house = House::with(&[&flags[..], &[&kitchen_url]].concat()).await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    api.until(&id, "PREPARING").await;
    kitchen.was_looked_at(8).await;
    kitchen
        .turns(json!({ "state": "preparing", "progress": { "percent": 40 }, "heartbeat_at": 0 }));
    kitchen.was_looked_at(8).await;
    let shown = api.order(&id).await;
    assert_eq!(shown["status"], "PREPARING", "{shown}");
    assert_eq!(shown["steps"][2]["progress"]["percent"], 40, "{shown}");
    kitchen.turns(json!({ "state": "prepared" }));
    assert_eq!(api.end(&id).await["status"], "COMPLETED");
    server.abort();
}
