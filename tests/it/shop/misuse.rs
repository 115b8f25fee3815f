//! Addresses and requests beside orders that make no sense, refused without a trace.

use serde_json::{Value, json};

use super::hostile::{CARD, refuse_all};
use crate::world::{api::order_of, house::House};

#[tokio::test]
async fn addresses_that_make_no_sense_are_refused() {
    let house = House::new().await;
    let api = house.api();
    let id = uuid::Uuid::now_v7();
    let far = "9".repeat(200);
    let mut requests = Vec::new();
    for (path, status, code) in [
        ("/v1/orders/7".to_owned(), 400, "invalid_id"),
        ("/v1/orders/%00".to_owned(), 400, "invalid_id"),
        (format!("/v1/orders/{far}/history"), 400, "invalid_id"),
        (format!("/v1/orders/{id}x/events"), 400, "invalid_id"),
        (format!("/v1/orders/{id}"), 404, "not_found"),
        (format!("/v1/orders/{id}/history"), 404, "not_found"),
        (format!("/v1/orders/{id}/events"), 404, "not_found"),
        (format!("/v1/orders/{id}?wait=soon"), 400, "invalid_query"),
        (format!("/v1/orders/{id}?wait=-1s"), 400, "invalid_query"),
        (format!("/v1/orders/{id}?wait=99999999999s"), 400, "invalid_query"),
        (format!("/v1/orders/{id}?wait=1s&until=DONE"), 400, "invalid_query"),
        (format!("/v1/orders/{id}?colour=red"), 400, "invalid_query"),
        ("/v1/orders?limit=0".to_owned(), 400, "invalid_query"),
        ("/v1/orders?limit=201".to_owned(), 400, "invalid_query"),
        ("/v1/orders?limit=ten".to_owned(), 400, "invalid_query"),
        ("/v1/orders?status=DONE".to_owned(), 400, "invalid_query"),
        ("/v1/orders?attention=maybe".to_owned(), 400, "invalid_query"),
        ("/v1/orders?created_from=yesterday".to_owned(), 400, "invalid_query"),
        ("/v1/orders?customer_id=a%00".to_owned(), 400, "invalid_query"),
        ("/v1/orders?colour=red".to_owned(), 400, "invalid_query"),
        ("/v1/orders?cursor=!".to_owned(), 400, "invalid_cursor"),
        ("/v1/orders?cursor=AAAA".to_owned(), 400, "invalid_cursor"),
        (format!("/v1/orders?cursor={far}"), 400, "invalid_cursor"),
        ("/v1/nothing".to_owned(), 404, "not_found"),
        ("/".to_owned() + &far, 404, "not_found"),
    ] {
        requests.push((api.http.get(api.url(&path)), status, code));
    }
    let placed = api.place(&order_of("latte")).await;
    api.end(&placed).await;
    for (path, last) in [
        (format!("/v1/orders/{placed}/events"), "x"),
        (format!("/v1/orders/{placed}/events"), "-1"),
        ("/v1/events".to_owned(), "x"),
        ("/v1/events".to_owned(), "AAAA"),
    ] {
        let request = api.http.get(api.url(&path)).header("last-event-id", last);
        requests.push((request, 400, "invalid_cursor"));
    }
    requests.push((api.http.delete(api.url("/v1/menu")), 405, "method_not_allowed"));
    refuse_all(&house, requests).await;
}

#[tokio::test]
async fn what_operators_and_customers_cannot_ask_is_refused() {
    let house = House::new().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    let long = "x".repeat(201);
    let mut requests = Vec::new();
    for (path, body, status, code) in [
        (format!("/v1/orders/{id}/cancel"), json!({ "by": "robot" }), 422, "body_invalid"),
        (format!("/v1/orders/{id}/cancel"), json!({ "reason": long }), 422, "body_invalid"),
        (format!("/v1/orders/{id}/cancel"), json!({ "reason": CARD }), 422, "card_number_refused"),
        (format!("/v1/orders/{id}/cancel"), json!({ "force": true }), 422, "body_invalid"),
        (format!("/v1/orders/{id}/collect"), json!({}), 422, "body_invalid"),
        (format!("/v1/orders/{id}/collect"), json!({ "code": "\u{0}" }), 422, "body_invalid"),
        (format!("/v1/orders/{id}/collect"), json!({ "code": "" }), 403, "wrong_code"),
        (format!("/v1/orders/{id}/retry"), json!({ "reason": long }), 422, "body_invalid"),
        (format!("/v1/orders/{id}/retry"), json!({}), 409, "not_parked"),
        ("/v1/orders/nope/retry".to_owned(), json!({}), 400, "invalid_id"),
    ] {
        requests.push((api.http.post(api.url(&path)).json(&body), status, code));
    }
    let item =
        |price: Value, recipe: Value| json!({ "name": "Tea", "price": price, "recipe": recipe });
    for (path, body, status, code) in [
        ("/v1/menu/items/tea", item(json!(-1), json!({})), 422, "body_invalid"),
        ("/v1/menu/items/tea", item(json!(2.5), json!({})), 422, "body_invalid"),
        ("/v1/menu/items/tea", item(json!(100_000_001), json!({})), 422, "body_invalid"),
        ("/v1/menu/items/tea", item(json!(1), json!({ "milk": 0 })), 422, "body_invalid"),
        ("/v1/menu/items/tea", item(json!(1), json!({ "milk": 1.5 })), 422, "body_invalid"),
        ("/v1/menu/items/tea", item(json!(1), json!({ "gold": 1 })), 404, "not_found"),
        (
            "/v1/menu/items/tea",
            json!({ "name": CARD, "price": 1, "recipe": {} }),
            422,
            "card_number_refused",
        ),
        ("/v1/menu/items/%00", item(json!(1), json!({})), 400, "invalid_id"),
        ("/v1/shop", json!({ "mode": "ajar" }), 422, "body_invalid"),
        ("/v1/shop", json!({ "mode": "open", "max_open_orders": -1 }), 422, "body_invalid"),
        ("/v1/shop", json!({ "mode": "open", "max_open_orders": 1.5 }), 422, "body_invalid"),
        ("/v1/shop", json!({}), 422, "body_invalid"),
    ] {
        requests.push((api.http.put(api.url(path)).json(&body), status, code));
    }
    refuse_all(&house, requests).await;
}

#[tokio::test]
async fn stock_cannot_be_adjusted_to_what_cannot_be() {
    let house = House::new().await;
    let api = house.api();
    let mut requests = Vec::new();
    for (path, body, status, code) in [
        (
            "/v1/stock/milk/adjust".to_owned(),
            json!({ "delta": 0.5, "reason": "x" }),
            422,
            "body_invalid",
        ),
        (
            "/v1/stock/milk/adjust".to_owned(),
            json!({ "delta": 1, "reason": "" }),
            422,
            "body_invalid",
        ),
        ("/v1/stock/milk/adjust".to_owned(), json!({ "delta": 1 }), 422, "body_invalid"),
        (
            "/v1/stock/milk/adjust".to_owned(),
            json!({ "delta": 1, "reason": CARD }),
            422,
            "card_number_refused",
        ),
        (
            "/v1/stock/milk/adjust".to_owned(),
            json!({ "delta": i64::MIN, "reason": "x" }),
            422,
            "body_invalid",
        ),
        (
            "/v1/stock/milk/adjust".to_owned(),
            json!({ "delta": -1_000_000, "reason": "x" }),
            409,
            "stock_conflict",
        ),
        (
            "/v1/stock/gold/adjust".to_owned(),
            json!({ "delta": 1, "reason": "x" }),
            404,
            "not_found",
        ),
        (
            "/v1/stock/%00/adjust".to_owned(),
            json!({ "delta": 1, "reason": "x" }),
            400,
            "invalid_id",
        ),
    ] {
        requests.push((api.http.post(api.url(&path)).json(&body), status, code));
    }
    refuse_all(&house, requests).await;
}
