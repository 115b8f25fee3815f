//! `GET /v1/orders/{id}/why` and `crema order why`: the sentences that pure tests pin, asked of a running shop.

use serde_json::json;

use crate::world::{
    api::{order_of, order_with},
    house::House,
};

#[tokio::test]
async fn an_order_says_why_it_waits_and_any_replica_answers() {
    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    house.moods(&json!({ "payment": "down" })).await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let order = api.once(&id, |it| it["steps"][0]["state"] == "waiting").await;
    let why = api.get(&format!("/v1/orders/{id}/why")).await.expect(200);
    let sentence = why["why"].as_str().unwrap();
    assert!(
        sentence.starts_with("The payment provider will be asked again to take 4.80 EUR at ")
            && sentence.contains(", after 1 of 3 attempts since ")
            && sentence.ends_with(
                "; an operator can retry now, and the customer or the shop can still cancel."
            ),
        "{sentence}"
    );
    assert_eq!(why["waits_for"], "next_attempt");
    assert_eq!(why["next_at"], order["steps"][0]["next_attempt_at"]);
    assert_eq!(why["actions"], json!(["cancel", "retry"]));
    api.cancel(&id).await.expect(202);
    api.until(&id, "CANCELLED").await;
    let why = api.get(&format!("/v1/orders/{id}/why")).await.expect(200);
    let sentence = why["why"].as_str().unwrap();
    assert!(sentence.contains("because the customer cancelled it; no money is held"), "{sentence}");
    assert_eq!((&why["waits_for"], &why["next_at"]), (&json!("nothing"), &json!(null)));
}

#[tokio::test]
async fn an_order_that_was_refunded_says_what_went_back() {
    let house = House::new().await;
    let api = house.api();
    let order = order_with(&[("rehearse.kitchen", "out_of_ingredients")]);
    let id = api.place(&order).await;
    api.until(&id, "REFUNDED").await;
    let why = api.get(&format!("/v1/orders/{id}/why")).await.expect(200);
    let sentence = why["why"].as_str().unwrap();
    assert!(
        sentence.contains("because the kitchen could not make it; ")
            && sentence.ends_with(" taken were returned."),
        "{sentence}"
    );
}

#[tokio::test]
async fn there_is_no_why_of_an_order_that_is_not_there() {
    let house = House::new().await;
    let api = house.api();
    let unknown = format!("/v1/orders/{}/why", uuid::Uuid::now_v7());
    api.get(&unknown).await.assert_refused(404, "not_found");
    api.get("/v1/orders/not-an-id/why").await.assert_refused(400, "invalid_id");
}
