//! Requests that make no sense: each gets its refusal, and nothing is written.

use serde_json::{Value, json};

use crate::world::{
    api::{Answer, Api, order_of, order_with},
    house::{FAST, House},
};

pub(super) const CARD: &str = "4111 1111-1111 1111";
/// What a refusal must not let slip about what is behind the counter.
const INSIDES: [&str; 9] = [
    "select ",
    "insert ",
    "update ",
    "sqlx",
    "postgres",
    "constraint",
    "relation",
    "panicked",
    "src/",
];

/// A house whose payment provider is real, so that only the other moods are allowed.
async fn real_payments() -> House {
    let real = [
        "--rehearsal",
        "--payment-url=http://127.0.0.1:9",
        "--notify-endpoint=counter=http://127.0.0.1:9",
        "--notifier-secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ];
    House::with(&[&FAST[..], &real].concat()).await
}

/// Runs the requests, each with the refusal that is due; nothing may have been written in the end.
pub(super) async fn refuse_all(house: &House, requests: Vec<(reqwest::RequestBuilder, u16, &str)>) {
    let api = house.api();
    let before = house.rows().await;
    for (request, status, code) in requests {
        let shown = format!("{request:?}");
        let answer = api.send(request).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{shown}\n{}", answer.text);
        let text = answer.text.to_lowercase();
        for inside in INSIDES {
            assert!(!text.contains(inside), "{shown}\n{text}");
        }
        assert!(!text.replace([' ', '-'], "").contains("4111111111111111"), "{text}");
    }
    assert_eq!(house.rows().await, before, "a refusal wrote something");
}

fn raw(api: &Api, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    let post = api.http.post(api.url("/v1/orders"));
    post.header("content-type", "application/json").body(body)
}

/// A good order with one member replaced, found by its JSON pointer.
fn changed(pointer: &str, value: Value) -> Value {
    let mut order = order_of("latte");
    order["items"][0]["note"] = json!("n");
    order["items"][0]["price"] = json!(480);
    order["expected_total"] = json!(480);
    order["notify"] = json!({ "channel": "webhook", "to": "counter" });
    order["attributes"] = json!({ "table": "7" });
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = order.pointer_mut(parent).unwrap();
    parent[member] = value;
    order
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_and_leave_nothing() {
    let house = real_payments().await;
    let api = house.api();
    let long = "x".repeat(300);
    let mut requests = Vec::new();
    for (pointer, value, code) in [
        ("/colour", json!("red"), "body_invalid"),
        ("/items/0/colour", json!("red"), "body_invalid"),
        ("/payment/card", json!("x"), "body_invalid"),
        ("/notify/url", json!("http://evil.example"), "body_invalid"),
        ("/notify/to", json!("http://evil.example/hook"), "body_invalid"),
        ("/notify/to", json!(""), "body_invalid"),
        ("/notify/to", json!("kiosk"), "endpoint_unknown"),
        ("/notify/channel", json!("pigeon"), "body_invalid"),
        ("/notify/channel", json!("log"), "body_invalid"),
        ("/items/0/quantity", json!(1.0), "body_invalid"),
        ("/items/0/quantity", json!(1.5), "body_invalid"),
        ("/items/0/quantity", json!("1"), "body_invalid"),
        ("/items/0/quantity", json!(1e30), "body_invalid"),
        ("/items/0/quantity", json!(u64::MAX), "body_invalid"),
        ("/items/0/quantity", json!(0), "quantity_limit"),
        ("/items/0/quantity", json!(-1), "quantity_limit"),
        ("/items/0/quantity", json!(101), "quantity_limit"),
        ("/items/0/quantity", json!(i64::MAX), "quantity_limit"),
        ("/items/0/price", json!(4.8), "body_invalid"),
        ("/items/0/price", json!("480"), "body_invalid"),
        ("/expected_total", json!(480.0), "body_invalid"),
        ("/items", json!([]), "quantity_limit"),
        ("/items", json!({}), "body_invalid"),
        ("/items/0/item", json!("tea"), "item_unknown"),
        ("/items/0/item", json!("latte' or 1=1; --"), "item_unknown"),
        ("/items/0/item", json!(""), "body_invalid"),
        ("/items/0/item", json!(null), "body_invalid"),
        ("/items/0/item", json!(long), "body_invalid"),
        ("/items/0/note", json!(long), "body_invalid"),
        ("/items/0/note", json!("a\u{0}b"), "body_invalid"),
        ("/customer_id", json!(""), "body_invalid"),
        ("/customer_id", json!(long), "body_invalid"),
        ("/customer_id", json!("a\u{0}"), "body_invalid"),
        ("/customer_id", json!(7), "body_invalid"),
        ("/payment/method_token", json!(""), "body_invalid"),
        ("/payment", json!("tok_visa"), "body_invalid"),
        ("/attributes/table", json!(7), "body_invalid"),
        ("/attributes/table", json!("\u{0}"), "body_invalid"),
        ("/attributes/rehearse.kitchen", json!("sing"), "body_invalid"),
        ("/attributes/rehearse.waiter", json!("slow"), "body_invalid"),
        ("/attributes/rehearse.payment", json!("decline"), "rehearsal_only"),
        ("/attributes/rehearse.refund", json!("down"), "rehearsal_only"),
        ("/attributes/rehearse.notification", json!("down"), "rehearsal_only"),
        ("/customer_id", json!(CARD), "card_number_refused"),
        ("/items/0/item", json!(CARD), "card_number_refused"),
        ("/items/0/note", json!(format!("pay with {CARD}, please")), "card_number_refused"),
        ("/payment/method_token", json!("4111111111111111"), "card_number_refused"),
        ("/notify/to", json!(CARD), "card_number_refused"),
        ("/attributes/table", json!(CARD), "card_number_refused"),
        ("/attributes/4111111111111111", json!("x"), "card_number_refused"),
    ] {
        let request = api.http.post(api.url("/v1/orders")).json(&changed(pointer, value));
        requests.push((request, 422, code));
    }
    for (pointer, value, code) in [
        ("/items/0/price", json!(479), "price_changed"),
        ("/expected_total", json!(-480), "price_changed"),
    ] {
        let request = api.http.post(api.url("/v1/orders")).json(&changed(pointer, value));
        requests.push((request, 409, code));
    }
    refuse_all(&house, requests).await;
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_and_leave_nothing() {
    let house = House::new().await;
    let api = house.api();
    let item = json!({ "item": "latte", "quantity": 1 });
    let many = |n: usize| {
        let mut order = order_of("latte");
        order["items"] = Value::Array(vec![item.clone(); n]);
        order.to_string()
    };
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let mut latin: Vec<u8> = order_of("latte").to_string().into_bytes();
    let at = latin.windows(3).position(|it| it == b"ada").unwrap();
    latin[at] = 0xE9;
    let attributes: Vec<(String, String)> =
        (0..17).map(|n| (format!("a{n}"), "x".to_owned())).collect();
    let attributes: Vec<(&str, &str)> = attributes.iter().map(|(k, v)| (&**k, &**v)).collect();
    let plain = api.http.post(api.url("/v1/orders")).body(order_of("latte").to_string());
    let xml = api.http.post(api.url("/v1/orders")).header("content-type", "text/xml").body("<a/>");
    let requests = vec![
        (raw(&api, ""), 400, "body_unreadable"),
        (raw(&api, "{"), 400, "body_unreadable"),
        (raw(&api, "{} {}"), 422, "body_invalid"),
        (raw(&api, "null"), 422, "body_invalid"),
        (raw(&api, format!("{} x", order_of("latte"))), 400, "body_unreadable"),
        (raw(&api, latin), 422, "body_invalid"),
        (raw(&api, nested(40)), 422, "body_invalid"),
        (raw(&api, nested(30_000)), 422, "body_invalid"),
        (raw(&api, many(51)), 422, "quantity_limit"),
        (raw(&api, many(10_000)), 413, "body_too_large"),
        (raw(&api, vec![b' '; 1024 * 1024]), 413, "body_too_large"),
        (raw(&api, order_with(&attributes).to_string()), 422, "body_invalid"),
        (raw(&api, r#"{"customer_id":"a","customer_id":"b"}"#), 422, "body_invalid"),
        (plain, 415, "unsupported_media_type"),
        (xml, 415, "unsupported_media_type"),
    ];
    refuse_all(&house, requests).await;
}

#[tokio::test]
async fn texts_from_all_over_the_world_are_kept_as_they_are() {
    let house = House::shared().await;
    let api = house.api();
    let mut order = order_of("latte");
    let odd = "Ωmega 'quoted' \"double\" \\ back\tslash {curly} $1 %s 🥐 e\u{301} \u{202e}";
    order["customer_id"] = json!(format!("ada {odd}"));
    order["items"][0]["note"] = json!(odd);
    order["attributes"] = json!({ odd: odd });
    let placed = api.post_keyed(&order, "a key with spaces & \"quotes\" \\ {}~").await.expect(201);
    let id = placed["id"].as_str().unwrap();
    let end = house.audited(&api, id).await.order;
    assert_eq!(end["items"][0]["note"], odd);
    assert_eq!(
        (&end["attributes"], &end["customer_id"]),
        (&order["attributes"], &order["customer_id"])
    );
    let answer: Answer = {
        let query = [(format!("attr.{odd}"), odd.to_owned())];
        let url = url::Url::parse_with_params(&api.url("/v1/orders"), query).unwrap();
        api.send(api.http.get(url)).await
    };
    assert_eq!(answer.expect(200)["orders"][0]["id"], *id);
}

#[tokio::test]
async fn an_id_made_of_digits_is_no_card_number() {
    let house = House::shared().await;
    let api = house.api();
    let mut order = order_of("espresso");
    // A UUID may hold sixteen digits in a row that pass the check of card numbers.
    order["customer_id"] = json!("41111111-1111-1111-a000-00000000000a");
    order["attributes"] = json!({ "cart": "cart_41111111-1111-1111-a000-00000000000a" });
    api.place(&order).await;
}
