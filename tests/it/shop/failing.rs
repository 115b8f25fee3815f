//! Orders that cannot be fulfilled: everything goes back, and the customer is told why.

use serde_json::{Value, json};

use crate::world::{
    LOOK_EVERY,
    api::{order_of, order_with},
    house::{Audited, FAST, House},
};

/// Places an order in these moods and follows it to its end.
async fn end_of(house: &House, moods: &[(&str, &str)]) -> Audited {
    let api = house.api();
    let id = api.place(&order_with(moods)).await;
    house.audited(&api, &id).await
}

fn undone<'a>(audited: &'a Audited, step: &str) -> &'a Value {
    &audited.step(step)["compensation"]["state"]
}

#[tokio::test]
async fn a_declined_payment_fails_the_order_and_takes_nothing() {
    let audited = end_of(House::shared().await, &[("rehearse.payment", "decline")]).await;
    assert_eq!(audited.end(), ("FAILED", Some("payment_declined")));
    assert_eq!(audited.kinds(), ["started", "step_refused", "compensating", "closed"]);
    assert_eq!(audited.ledger.deeds(), ["declined"]);
    assert_eq!(audited.ledger.told(), ["FAILED"]);
    assert_eq!(audited.step("payment")["state"], "refused");
    assert_eq!(audited.step("preparation")["state"], "skipped");
    assert_eq!(
        (undone(&audited, "payment"), &audited.order["actions"]),
        (&Value::Null, &json!([]))
    );
}

#[tokio::test]
async fn a_kitchen_without_ingredients_refunds_the_order() {
    let audited =
        end_of(House::shared().await, &[("rehearse.kitchen", "out_of_ingredients")]).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    assert_eq!(audited.ledger.deeds(), ["captured", "out_of_ingredients", "refunded"]);
    assert_eq!(audited.ledger.told(), ["REFUNDED"]);
    assert_eq!(
        (undone(&audited, "payment"), undone(&audited, "preparation")),
        (&json!("done"), &Value::Null)
    );
}

#[tokio::test]
async fn a_refused_inventory_calls_the_ticket_off_before_it_refunds() {
    let audited = end_of(House::shared().await, &[("rehearse.inventory", "refuse")]).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("inventory_failed")));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared", "call_off", "refunded"]);
    assert_eq!(audited.ledger.told(), ["REFUNDED"]);
    let wasted = audited.history.iter().find(|it| it["kind"] == "compensation_done").unwrap();
    assert_eq!((&wasted["step"], &wasted["data"]["wasted"]), (&json!("preparation"), &json!(true)));
}

#[tokio::test]
async fn milk_that_is_spilt_while_the_kitchen_works_refunds_the_order() {
    let flags = [&FAST[..], &["--preparation-attempts=100000"]].concat();
    let house = House::with(&flags).await;
    house.moods(&json!({ "kitchen": "down" })).await;
    let api = house.api();
    let id = api.place(&order_of("cappuccino")).await;
    api.until(&id, "PAID").await;
    let spilt = api.adjust("milk", -99_950).await.expect(200);
    assert_eq!(
        (&spilt["on_hand"], &spilt["reserved"], &spilt["available"]),
        (&json!(50), &json!(120), &json!(0))
    );
    house.moods(&json!({ "kitchen": null })).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("inventory_failed")));
    assert_eq!(audited.ledger.told(), ["REFUNDED"]);
    assert_eq!((api.stock("milk").await, api.stock("beans").await), ((50, 0), (50_000, 0)));
    let again = api.post_order(&order_of("cappuccino")).await;
    again.assert_refused(409, "out_of_stock");
    assert_eq!(again.json()["ingredient"], "milk");
    api.adjust("milk", 1_000).await.expect(200);
    let id = api.place(&order_of("cappuccino")).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
    house.audit_all(&api).await;
}

#[tokio::test]
async fn a_payment_that_only_arrives_after_it_was_given_up_never_happens() {
    // Of its own: where others keep the provider from answering, its circuit holds the void back as well.
    let house = &House::new().await;
    let audited = end_of(house, &[("rehearse.payment", "late")]).await;
    assert_eq!(audited.end(), ("FAILED", Some("payment_unavailable")));
    assert_eq!(audited.step("payment")["state"], "in_doubt");
    // Whatever is slow takes longer than what is late.
    end_of(house, &[("rehearse.payment", "slow")]).await;
    let id = audited.order["id"].as_str().unwrap();
    assert_eq!(house.ledger(id).await.deeds(), ["voided"]);
}

#[tokio::test]
async fn a_payment_in_doubt_is_voided_and_what_was_taken_goes_back() {
    let house = House::with(&["--payment-attempts=1", "--payment-timeout=300ms"]).await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let lost = end_of(&house, &[("rehearse.payment", "answer_lost")]).await;
    assert_eq!(lost.end(), ("REFUNDED", Some("payment_unavailable")));
    assert_eq!(lost.ledger.deeds(), ["captured", "voided", "refunded"]);
    let slow = end_of(&house, &[("rehearse.payment", "slow")]).await;
    assert_eq!(slow.end(), ("FAILED", Some("payment_unavailable")));
    assert_eq!(slow.ledger.deeds(), ["voided"]);
    assert!(slow.step("payment")["last_error"].is_string());
    assert_eq!(slow.ledger.told(), ["FAILED"]);
}

#[tokio::test]
async fn a_payment_provider_that_is_down_fails_the_order_after_its_attempts() {
    let audited = end_of(House::shared().await, &[("rehearse.payment", "down")]).await;
    assert_eq!(audited.end(), ("FAILED", Some("payment_unavailable")));
    assert_eq!(audited.step("payment")["attempts"], 3);
    assert_eq!(audited.ledger.deeds(), ["voided"]);
}

#[tokio::test]
async fn a_kitchen_that_falls_silent_is_called_off() {
    let house = House::with(&["--preparation-silence=300ms", "--retry-backoff=20ms"]).await;
    let audited = end_of(&house, &[("rehearse.kitchen", "hang")]).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared", "call_off", "refunded"]);
    let step = audited.step("preparation");
    assert_eq!((&step["state"], &step["attempts"]), (&json!("in_doubt"), &json!(3)));
    assert!(step["last_error"].as_str().unwrap().contains("no heartbeat"), "{step}");
}

#[tokio::test]
async fn a_kitchen_that_answers_and_gets_nowhere_is_called_off() {
    let house = House::with(&["--preparation-silence=2s", "--retry-backoff=20ms"]).await;
    let audited = end_of(&house, &[("rehearse.kitchen", "stuck")]).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "call_off", "refunded"]);
    let step = audited.step("preparation");
    assert_eq!((&step["state"], &step["attempts"]), (&json!("in_doubt"), &json!(3)));
    assert!(step["last_error"].as_str().unwrap().contains("no heartbeat"), "{step}");
}

#[tokio::test]
async fn a_wrong_amount_waits_for_a_person_and_a_cancellation_returns_it() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "wrong_amount")])).await;
    let parked = api.once(&id, |it| it["attention"].is_string()).await;
    assert_eq!(
        (&parked["status"], &parked["attention"]),
        (&json!("PENDING"), &json!("amount_mismatch"))
    );
    assert_eq!(parked["actions"], json!(["cancel", "retry", "resolve"]));
    assert_eq!(house.ledger(&id).await.sum("captured"), 451);
    let listed = api.get("/v1/attention").await.expect(200);
    let row = listed["orders"].as_array().unwrap().iter().find(|it| it["order_id"] == *id).unwrap();
    assert_eq!((&row["attention"], &row["status"]), (&json!("amount_mismatch"), &json!("PENDING")));
    let found = api.get("/v1/orders?attention=true&limit=200").await.expect(200);
    assert!(found["orders"].as_array().unwrap().iter().any(|it| it["id"] == *id));

    let retried = api.post(&format!("/v1/orders/{id}/retry"), &json!({"reason": "a look"})).await;
    retried.expect(202);
    while !api.history(&id).await.iter().any(|it| it["kind"] == "retry_requested") {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let cancelled = api.cancel(&id).await.expect(202);
    assert_eq!(cancelled["cancellation"], "requested");
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("cancelled_by_customer")));
    assert_eq!((audited.ledger.sum("captured"), audited.ledger.sum("refunded")), (451, 451));
    assert_eq!(
        (&audited.order["attention"], &audited.order["cancellation"]),
        (&Value::Null, &json!("done"))
    );
    let retried = audited.history.iter().find(|it| it["kind"] == "retry_requested").unwrap();
    assert_eq!(
        (&retried["data"]["by"], &retried["data"]["reason"]),
        (&json!("operator"), &json!("a look"))
    );
}

#[tokio::test]
async fn a_refund_that_fails_is_parked_and_tried_until_it_succeeds() {
    let house = House::new().await;
    house.moods(&json!({ "refund": "down" })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "out_of_ingredients")])).await;
    let parked = api.once(&id, |it| it["attention"].is_string()).await;
    assert_eq!(
        (&parked["attention"], &parked["status"]),
        (&json!("payment_compensation"), &json!("PAID"))
    );
    let undoing = &parked["steps"][0]["compensation"];
    assert!(undoing["attempts"].as_i64() >= Some(10), "{undoing}");
    assert!(undoing["last_error"].as_str().unwrap().contains("503"), "{undoing}");
    house.moods(&json!({ "refund": null })).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    assert_eq!(
        (audited.ledger.of("refunded").len(), &audited.order["attention"]),
        (1, &Value::Null)
    );
}

#[tokio::test]
async fn a_dead_notifier_delays_no_refund_and_hears_of_it_later() {
    let house = House::new().await;
    house.moods(&json!({ "notification": "down" })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "out_of_ingredients")])).await;
    assert_eq!(api.end(&id).await["status"], "REFUNDED");
    assert_eq!(house.ledger(&id).await.told(), Vec::<&str>::new());
    house.moods(&json!({ "notification": null })).await;
    assert_eq!(house.audited(&api, &id).await.ledger.told(), ["REFUNDED"]);
}
