//! Cancelling, at every step of an order's life.

use serde_json::{Value, json};

use crate::world::{
    api::{order_of, order_with},
    house::House,
};

/// A house whose slow participants take longer than any test.
async fn slow_house() -> House {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    house
}

#[tokio::test]
async fn cancelled_during_the_payment_it_never_takes_money() {
    let house = slow_house().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "slow")])).await;
    let answer = api.cancel(&id).await.expect(202);
    assert_eq!(
        (&answer["status"], &answer["cancellation"]),
        (&json!("PENDING"), &json!("requested"))
    );
    assert_eq!(answer["actions"], json!([]));
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("CANCELLED", Some("cancelled_by_customer")));
    assert_eq!(audited.ledger.deeds(), ["voided"]);
    assert_eq!(audited.ledger.told(), ["CANCELLED"]);
}

#[tokio::test]
async fn cancelled_between_two_attempts_it_does_not_wait_for_the_next() {
    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "down")])).await;
    let waiting = api.once(&id, |it| it["steps"][0]["state"] == "waiting").await;
    assert!(waiting["steps"][0]["next_attempt_at"].is_string(), "{waiting}");
    api.cancel(&id).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("CANCELLED", Some("cancelled_by_customer")));
    assert_eq!(audited.ledger.deeds(), ["voided"]);
}

#[tokio::test]
async fn cancelled_in_the_kitchen_it_is_called_off_and_refunded() {
    let house = slow_house().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    api.until(&id, "PREPARING").await;
    let body = json!({ "reason": "the oven is on fire", "by": "shop" });
    api.post(&format!("/v1/orders/{id}/cancel"), &body).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("cancelled_by_shop")));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "call_off", "refunded"]);
    assert_eq!(audited.ledger.told(), ["REFUNDED"]);
    let asked = audited.history.iter().find(|it| it["kind"] == "cancel_requested").unwrap();
    assert_eq!(asked["data"], body);
    let before = api.stock("milk").await;
    assert_eq!(before, (100_000, 0));
}

#[tokio::test]
async fn cancelled_when_it_is_ready_it_is_too_late() {
    let house = slow_house().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.notification", "slow")])).await;
    let ready = api.until(&id, "READY").await;
    assert_eq!((&ready["status"], &ready["actions"]), (&json!("READY"), &json!(["collect"])));
    let answer = api.cancel(&id).await;
    answer.assert_refused(409, "too_late");
    assert_eq!(answer.json()["order_status"], "READY");
    house.moods(&json!({ "slow_ms": 0 })).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(
        (audited.end(), &audited.order["cancellation"]),
        (("COMPLETED", None), &Value::Null)
    );
    api.cancel(&id).await.assert_refused(409, "too_late");
}

#[tokio::test]
async fn cancelled_twice_it_says_so_both_times() {
    let house = House::new().await;
    house.moods(&json!({ "refund": "down", "slow_ms": 600_000 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    api.until(&id, "PREPARING").await;
    let answers = futures::future::join_all((0..50).map(|_| api.cancel(&id))).await;
    for answer in answers {
        assert_eq!(answer.expect(202)["cancellation"], "requested");
    }
    house.moods(&json!({ "refund": null })).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("cancelled_by_customer")));
    let asked = audited.kinds().iter().filter(|it| **it == "cancel_requested").count();
    assert_eq!((asked, audited.ledger.of("refunded").len()), (1, 1));
    let again = api.cancel(&id).await.expect(200);
    assert_eq!((&again["status"], &again["cancellation"]), (&json!("REFUNDED"), &json!("done")));
}

#[tokio::test]
async fn an_order_that_costs_nothing_is_never_a_matter_of_the_payment_provider() {
    let house = House::new().await;
    house.moods(&json!({ "payment": "down", "refund": "down", "slow_ms": 600_000 })).await;
    let api = house.api();
    let water = json!({ "name": "Tap water", "price": 0, "recipe": { "cup": 1 } });
    api.put("/v1/menu/items/tap_water", &water).await.expect(200);
    let mut order = order_of("tap_water");
    order["expected_total"] = json!(0);
    let id = api.place(&order).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["ticket", "prepared"]);
    assert_eq!(audited.order["money"], json!({ "captured": 0, "refunded": 0 }));
    let paid = audited.history.iter().find(|it| it["step"] == "payment").unwrap();
    assert_eq!(paid["data"]["receipt"], "nothing to pay", "{paid}");

    order["attributes"] = json!({ "rehearse.kitchen": "slow" });
    let id = api.place(&order).await;
    api.until(&id, "PREPARING").await;
    api.cancel(&id).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("CANCELLED", Some("cancelled_by_customer")));
    assert_eq!(audited.ledger.deeds(), ["ticket", "call_off"]);
}

#[tokio::test]
async fn what_ended_otherwise_or_never_was_cannot_be_cancelled() {
    let house = House::shared().await;
    let api = house.api();
    for mood in ["decline", "answer_lost"] {
        let id = api.place(&order_with(&[("rehearse.payment", mood)])).await;
        let end = house.audited(&api, &id).await;
        api.cancel(&id).await.assert_refused(409, "too_late");
        assert_eq!(api.order(&id).await["version"], end.order["version"]);
    }
    api.cancel(&uuid::Uuid::now_v7().to_string()).await.assert_refused(404, "not_found");
}
