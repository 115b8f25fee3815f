//! The command-line client against a server that says what a test wants: what it sends, what it
//! shows, how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use crema::http::problem::{Code, Problem};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command, time::timeout};

const DEADLINE: Duration = Duration::from_secs(30);

/// A shop with one order, which gets on by one status with every event stream that is opened, and
/// whose streams are cut after one event.
#[derive(Clone)]
struct Shop(Arc<Mutex<Script>>);

struct Script {
    statuses: Vec<&'static str>,
    resumed_after: Vec<Option<String>>,
    placed: Option<(HeaderMap, Value)>,
}

impl Shop {
    async fn open(statuses: &[&'static str]) -> (Self, SocketAddr) {
        let statuses = statuses.iter().rev().copied().collect();
        let script = Script { statuses, resumed_after: Vec::new(), placed: None };
        let shop = Self(Arc::new(Mutex::new(script)));
        let router = Router::new()
            .route("/v1/orders", post(place).get(list))
            .route("/v1/orders/one", get(async |State(shop): State<Shop>| shop.order()))
            .route("/v1/orders/one/events", get(events))
            .route("/v1/orders/one/cancel", post(too_late))
            .route("/readyz", get(async || Problem::new(Code::Unavailable, "It starts.")))
            .with_state(shop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (shop, address)
    }

    fn order(&self) -> Json<Value> {
        let status = *self.0.lock().unwrap().statuses.last().unwrap();
        Json(json!({
            "id": "one", "customer_id": "ada\u{1b}[2J", "status": status, "currency": "EUR", "total": 750,
            "steps": [{"name": "payment", "state": "done", "attempts": 2}], "new_member": 1,
        }))
    }
}

async fn place(State(shop): State<Shop>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let unknown = body["items"][0]["item"] == "tea";
    shop.0.lock().unwrap().placed = Some((headers, body));
    if unknown {
        return Problem::new(Code::ItemUnknown, "There is no \u{1b}[31mtea.").into_response();
    }
    (StatusCode::CREATED, shop.order()).into_response()
}

async fn list(State(shop): State<Shop>, uri: Uri) -> Response {
    assert_eq!(uri.query(), Some("status=PAID&limit=1"));
    let Json(order) = shop.order();
    Json(json!({"orders": [order], "next_cursor": "c2"})).into_response()
}

async fn events(State(shop): State<Shop>, headers: HeaderMap) -> Response {
    let mut script = shop.0.lock().unwrap();
    let resumed_after = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
    script.resumed_after.push(resumed_after);
    if script.statuses.len() > 1 {
        script.statuses.pop();
    }
    let id = script.resumed_after.len();
    let body = format!(": beat\n\nid: {id}\ndata: {{}}\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn too_late() -> Problem {
    Problem::new(Code::TooLate, "It is being handed over.")
}

async fn crema(server: SocketAddr, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crema"));
    command.args(args).env("CREMA_SERVER", format!("http://{server}/"));
    // What concerns the server must not get in the client's way.
    command.env("DATABASE_URL", "postgres://x").env("CREMA_REHEARSAL", "yes");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output: Output = timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn watching_resumes_until_the_order_is_completed() {
    let (shop, server) = Shop::open(&["PENDING", "PAID", "READY", "COMPLETED"]).await;
    let place = ["order", "place", "latte:2@450", "--customer=ada", "--key=k1", "--watch"];
    let (code, out, err) = crema(server, &place).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let want =
        ["order one: PAID", "payment: done, attempt 2", "order one: READY", "order one: COMPLETED"];
    assert_eq!(lines, want);
    let script = shop.0.lock().unwrap();
    let after = [None, Some("1"), Some("2")].map(|id| id.map(str::to_owned));
    assert_eq!(script.resumed_after, after);
    let (headers, body) = script.placed.as_ref().unwrap();
    assert_eq!(headers["idempotency-key"], "k1");
    assert_eq!(body["items"], json!([{"item": "latte", "quantity": 2, "price": 450}]));
}

#[tokio::test]
async fn watching_an_order_that_ends_otherwise_exits_with_1() {
    let (_, server) = Shop::open(&["PAID", "REFUNDED"]).await;
    let (code, out, _) = crema(server, &["order", "watch", "one", "--json"]).await;
    assert_eq!(code, 1);
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "REFUNDED");
}

#[tokio::test]
async fn refusals_are_shown_as_detail_and_code() {
    let (_, server) = Shop::open(&["PAID"]).await;
    let place = crema(server, &["order", "place", "tea", "--customer=ada"]).await;
    assert_eq!(
        (place.0, place.2.as_str()),
        (1, "error: There is no \u{fffd}[31mtea. (item_unknown)\n")
    );
    let cancel = crema(server, &["order", "cancel", "one"]).await;
    assert_eq!((cancel.0, cancel.2.as_str()), (1, "error: It is being handed over. (too_late)\n"));
    let health = crema(server, &["health"]).await;
    assert_eq!((health.0, health.2.as_str()), (1, "error: It starts. (unavailable)\n"));
    assert_eq!(crema(server, &["order", "get", "two"]).await.0, 1);
}

#[tokio::test]
async fn what_cannot_be_asked_exits_with_2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let (code, _, err) = crema(nobody, &["order", "watch", "one"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("cannot reach"), "{err}");
    assert_eq!(crema(nobody, &["order", "place", "latte:x", "--customer=ada"]).await.0, 2);
}

#[tokio::test]
async fn answers_are_shown_without_what_steers_a_terminal() {
    let (_, server) = Shop::open(&["PAID"]).await;
    let (code, out, _) = crema(server, &["order", "get", "one"]).await;
    assert!(code == 0 && out.contains("7.50 EUR") && !out.contains('\u{1b}'), "{out}");
    let (code, out, _) = crema(server, &["order", "list", "--status=PAID", "--limit=1"]).await;
    assert!(code == 0 && out.contains("more: --cursor c2") && !out.contains('\u{1b}'), "{out}");
    let (code, out, _) = crema(server, &["order", "get", "one", "--json"]).await;
    let order: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && order["new_member"] == 1 && !out.contains('\u{1b}'), "{out}");
}

/// This server is older than dry runs, and takes one for a wish.
#[tokio::test]
async fn a_dry_run_that_was_none_is_told() {
    let (shop, server) = Shop::open(&["PENDING"]).await;
    let place = ["order", "place", "latte", "--customer=ada", "--dry-run"];
    let (code, out, err) = crema(server, &place).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("knows no dry runs") && err.contains("order one"), "{err}");
    assert!(shop.0.lock().unwrap().placed.is_some());
    assert_eq!(crema(server, &[&place[..], &["--watch"]].concat()).await.0, 2);
    let both = ["order", "get", "one", "--seq=1", "--at=2026-11-24T21:30:00Z"];
    assert_eq!(crema(server, &both).await.0, 2);
}

#[tokio::test]
async fn the_description_is_printed() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let (code, out, _) = crema(nobody, &["openapi"]).await;
    assert_eq!((code, out), (0, crema::http::openapi_yaml().unwrap()));
}

#[tokio::test]
async fn settings_that_cannot_be_used_exit_with_78() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let (code, _, err) = crema(nobody, &["serve", "--listen=0.0.0.0:0"]).await;
    assert_eq!(code, 78);
    assert!(err.contains("--insecure"), "{err}");
}
