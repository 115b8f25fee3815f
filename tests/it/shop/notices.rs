//! What customers are told when their order ends, as the notifier received it.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::{
    api::order_with,
    house::{FAST, House},
};

/// A good payment is answered at once, a slow kitchen never.
async fn house(payment_attempts: &str) -> House {
    let house = House::with(&[&FAST[..], &[payment_attempts]].concat()).await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    house
}

/// The one notice of an order, once it has ended so; what it says.
async fn told(house: &House, id: &str, end: (&str, Option<&str>)) -> String {
    let audited = house.audited(&house.api(), id).await;
    assert_eq!(audited.end(), end);
    let notices = audited.ledger.of("notice");
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0]["status"], end.0);
    notices[0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_order_that_is_ready_is_told_with_its_pickup_code() {
    let house = house("--payment-attempts=1").await;
    let placed = house.api().post_order(&order_with(&[])).await.expect(201);
    let text = told(&house, placed["id"].as_str().unwrap(), ("COMPLETED", None)).await;
    let code = placed["pickup_code"].as_str().unwrap();
    assert_eq!(text, format!("Your order is ready. Pick it up with code {code}."));
}

#[tokio::test]
async fn an_order_that_fails_is_told_with_why_and_whether_money_came_back() {
    let house = house("--payment-attempts=1").await;
    for (mood, end, text) in [
        (
            ("rehearse.payment", "decline"),
            ("FAILED", Some("payment_declined")),
            "We could not take your order: your payment was declined. You were not charged.",
        ),
        (
            ("rehearse.payment", "down"),
            ("FAILED", Some("payment_unavailable")),
            "We could not take your order: the payment provider did not answer. You were not charged.",
        ),
        (
            ("rehearse.payment", "answer_lost"),
            ("REFUNDED", Some("payment_unavailable")),
            "We could not complete your order: the payment provider did not answer. \
             4.50 EUR have been returned to you.",
        ),
        (
            ("rehearse.kitchen", "out_of_ingredients"),
            ("REFUNDED", Some("preparation_failed")),
            "We could not complete your order: the kitchen could not make it. \
             4.50 EUR have been returned to you.",
        ),
        (
            ("rehearse.inventory", "refuse"),
            ("REFUNDED", Some("inventory_failed")),
            "We could not complete your order: we ran out of an ingredient. \
             4.50 EUR have been returned to you.",
        ),
    ] {
        let id = house.api().place(&order_with(&[mood])).await;
        assert_eq!(told(&house, &id, end).await, text);
    }
}

#[tokio::test]
async fn a_cancelled_order_is_told_with_by_whom_and_what_went_back() {
    let house = house("--payment-attempts=3").await;
    let api = house.api();
    let slow = |of| vec![(of, "slow")];
    let cases = [
        (
            slow("rehearse.payment"),
            json!({ "status": "PENDING" }),
            ("customer", ("CANCELLED", Some("cancelled_by_customer")), "you asked for it"),
            "You were not charged.",
        ),
        (
            slow("rehearse.payment"),
            json!({ "status": "PENDING" }),
            ("shop", ("CANCELLED", Some("cancelled_by_shop")), "the shop had to"),
            "You were not charged.",
        ),
        (
            slow("rehearse.kitchen"),
            json!({ "status": "PREPARING" }),
            ("customer", ("REFUNDED", Some("cancelled_by_customer")), "you asked for it"),
            "4.50 EUR have been returned to you.",
        ),
        // More was taken than was asked for, and all of it goes back.
        (
            vec![("rehearse.payment", "wrong_amount")],
            json!({ "attention": "amount_mismatch" }),
            ("shop", ("REFUNDED", Some("cancelled_by_shop")), "the shop had to"),
            "4.51 EUR have been returned to you.",
        ),
    ];
    let following = cases.map(|(moods, is_taken, (by, end, why), money)| {
        let (house, api) = (&house, &api);
        async move {
            let id = api.place(&order_with(&moods)).await;
            let holds = |order: &Value| {
                is_taken.as_object().unwrap().iter().all(|(name, it)| order[name] == *it)
            };
            api.once(&id, holds).await;
            api.post(&format!("/v1/orders/{id}/cancel"), &json!({ "by": by })).await.expect(202);
            let text = format!("Your order was cancelled: {why}. {money}");
            assert_eq!(told(house, &id, end).await, text);
        }
    });
    join_all(following).await;
}
