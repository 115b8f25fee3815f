//! A payment provider that is none of the rehearsal's: it forgets what it did when it is asked again.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Bytes,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use crate::world::{
    api::order_of,
    house::{FAST, House},
};

/// What it did, in order.
type Deeds = Arc<Mutex<Vec<&'static str>>>;

/// Takes the money and answers 500; says *declined* when it is asked again.
fn captures(deeds: &Deeds) -> Response {
    let mut deeds = deeds.lock().unwrap();
    if deeds.contains(&"captured") {
        deeds.push("declined");
        let body = Json(json!({ "code": "declined", "detail": "no" }));
        return (StatusCode::PAYMENT_REQUIRED, body).into_response();
    }
    deeds.push("captured");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Serves it on a port of its own; its address.
async fn provider(deeds: &Deeds) -> String {
    let noted = |deed, status, answer: Value| {
        let deeds = deeds.clone();
        post(move |_: Bytes| async move {
            deeds.lock().unwrap().push(deed);
            (status, Json(answer))
        })
    };
    let capturing = deeds.clone();
    let money = json!({ "captured": true, "amount": 450, "currency": "EUR" });
    let router = Router::new()
        .route("/captures", post(move |_: Bytes| async move { captures(&capturing) }))
        .route("/voids", noted("voided", StatusCode::OK, money))
        .route(
            "/refunds",
            noted("refunded", StatusCode::CREATED, json!({ "receipt": "r", "amount": 450 })),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn money_that_was_taken_by_an_attempt_without_an_answer_is_returned_though_the_next_is_declined()
 {
    let deeds = Deeds::default();
    let payment = format!("--payment-url={}", provider(&deeds).await);
    let house = House::with(&[&FAST[..], &["--rehearsal", &payment]].concat()).await;
    let api = house.api();
    let id = api.place(&order_of("cappuccino")).await;
    let end = api.end(&id).await;
    assert_eq!(
        (&end["status"], &end["closed_reason"], &end["money"]),
        (
            &json!("REFUNDED"),
            &json!("payment_declined"),
            &json!({ "captured": 450, "refunded": 450 })
        )
    );
    assert_eq!(*deeds.lock().unwrap(), ["captured", "declined", "voided", "refunded"]);
    let step = &end["steps"][0];
    assert_eq!(
        (&step["state"], &step["compensation"]["state"]),
        (&json!("refused"), &json!("done"))
    );
    let history = api.history(&id).await;
    let refused = history.iter().find(|it| it["kind"] == "step_refused").unwrap();
    assert_eq!(refused["data"]["in_doubt"], true);
}
