//! Orders that are completed, in good times and in bad ones.

use serde_json::{Value, json};

use crate::world::{
    api::{order_of, order_with},
    house::{FAST, House},
    sse::Stream,
};

/// What an order's status is from this line of its journal on, if the line changes it.
fn status_after(kind: &str, line: &Value) -> Option<String> {
    let data = &line["data"];
    match (kind, line["step"].as_str()) {
        ("started", _) => Some("PENDING".to_owned()),
        ("step_done", Some("payment")) => Some("PAID".to_owned()),
        ("step_reached", _) => data["label"].as_str().map(str::to_owned),
        ("step_done", Some("inventory")) => Some("READY".to_owned()),
        ("closed", _) => data["status"].as_str().map(str::to_owned),
        _ => None,
    }
}

#[tokio::test]
async fn an_order_is_paid_prepared_deducted_and_told() {
    let house = House::shared().await;
    let api = house.api();
    let mut order = order_of("cappuccino");
    order["items"] = json!([
        { "item": "cappuccino", "quantity": 2, "price": 450, "note": "extra hot" },
        { "item": "croissant", "quantity": 1 },
    ]);
    order["expected_total"] = json!(1200);
    let placed = api.post_order(&order).await;
    let location = placed.header("location").unwrap().to_owned();
    assert_eq!(placed.header("etag"), Some("\"1\""));
    let placed = placed.expect(201);
    assert_eq!(location, format!("/v1/orders/{}", placed["id"].as_str().unwrap()));
    assert_eq!((&placed["status"], &placed["total"]), (&json!("PENDING"), &json!(1200)));
    assert_eq!(placed["items"][0]["note"], "extra hot");

    let id = placed["id"].as_str().unwrap();
    let audited = house.audited(&api, id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared"]);
    assert_eq!(audited.ledger.told(), ["COMPLETED"]);
    assert_eq!(audited.ledger.of("notice")[0]["key"], format!("{id}/completed"));
    assert_eq!(
        audited.kinds(),
        [
            "started",
            "step_done",
            "step_done",
            "step_reached",
            "step_done",
            "step_done",
            "step_done",
            "closed"
        ]
    );
    for step in audited.order["steps"].as_array().unwrap() {
        assert_eq!((&step["state"], &step["attempts"]), (&json!("done"), &json!(1)), "{step}");
        assert!(step["started_at"].is_string() && step["ended_at"].is_string(), "{step}");
    }
    assert_eq!(audited.order["actions"], json!(["collect"]));
    assert_eq!(audited.order["pickup_code"], placed["pickup_code"]);
}

#[tokio::test]
async fn a_stream_sees_the_statuses_in_the_order_of_an_orders_life() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    let events = Stream::open(&api, &format!("/v1/orders/{id}/events"), None).await.rest().await;
    let seen: Vec<String> =
        events.iter().filter_map(|it| status_after(&it.kind, &it.data)).collect();
    assert_eq!(seen, ["PENDING", "PAID", "PREPARING", "READY", "COMPLETED"]);
    for (seq, event) in (1..).zip(&events) {
        assert_eq!((event.id.clone(), &event.data["seq"]), (seq.to_string(), &json!(seq)));
    }
    let audited = house.audited(&api, &id).await;
    assert_eq!(events.iter().map(|it| &*it.kind).collect::<Vec<_>>(), audited.kinds());
    assert!(!events.iter().any(|it| it.data.to_string().contains("tok_visa")));
}

#[tokio::test]
async fn a_slow_kitchen_tells_how_far_it_is() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    let tells = |it: &Value| it["steps"][2]["progress"]["percent"].is_number();
    api.once(&id, |it| tells(it) && it["status"] == "PREPARING").await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(
        (audited.end(), &audited.step("preparation")["attempts"]),
        (("COMPLETED", None), &json!(1))
    );
}

#[tokio::test]
async fn a_second_try_tells_how_far_it_is_as_well() {
    let house = House::new().await;
    house.moods(&json!({ "prep_ms": 600_000 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "answer_lost")])).await;
    let runs = |it: &Value| {
        let step = &it["steps"][2];
        (&step["state"], &step["attempts"]) == (&json!("running"), &json!(2))
            && step["progress"]["percent"].is_number()
            && step["next_attempt_at"].is_null()
    };
    api.once(&id, |it| runs(it) && it["status"] == "PREPARING").await;
    api.cancel(&id).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("cancelled_by_customer")));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_and_nothing_happens_twice() {
    let house = House::shared().await;
    let api = house.api();
    for (mood, step) in [("rehearse.payment", "payment"), ("rehearse.kitchen", "preparation")] {
        let id = api.place(&order_with(&[(mood, "answer_lost")])).await;
        let audited = house.audited(&api, &id).await;
        assert_eq!(audited.end(), ("COMPLETED", None));
        assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared"]);
        assert_eq!(audited.step(step)["attempts"], 2);
        let failed: Vec<&Value> =
            audited.history.iter().filter(|it| it["kind"] == "attempt_failed").collect();
        assert_eq!((failed.len(), &failed[0]["step"]), (1, &json!(step)));
    }
}

#[tokio::test]
async fn slow_participants_complete_an_order_all_the_same() {
    let house = House::shared().await;
    let api = house.api();
    let slow = ["payment", "kitchen", "notification"].map(|it| format!("rehearse.{it}"));
    let slow: Vec<(&str, &str)> = slow.iter().map(|it| (it.as_str(), "slow")).collect();
    let id = api.place(&order_with(&slow)).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!((audited.end(), audited.ledger.told()), (("COMPLETED", None), vec!["COMPLETED"]));
}

#[tokio::test]
async fn a_capture_that_arrives_late_is_found_by_the_next_attempt() {
    let house = House::with(&["--retry-backoff=1s", "--payment-attempts=9"]).await;
    house.moods(&json!({ "late_ms": 0 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "late")])).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared"]);
    assert!(audited.step("payment")["attempts"].as_i64() > Some(1));
}

#[tokio::test]
async fn a_dead_notifier_fails_no_order_and_is_told_to_people() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.notification", "down")])).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    let step = audited.step("notification");
    assert_eq!((&step["state"], &step["attempts"]), (&json!("given_up"), &json!(5)), "{step}");
    assert!(step["last_error"].as_str().unwrap().contains("503"), "{step}");
    assert_eq!(audited.ledger.told(), Vec::<&str>::new());
    let attention = api.get("/v1/attention").await.expect(200);
    let listed =
        |it: &Value| it["order_id"] == *id && it["message_id"] == format!("{id}/completed");
    assert!(attention["undelivered"].as_array().unwrap().iter().any(listed), "{attention}");
}

#[tokio::test]
async fn a_notice_can_go_to_the_log_instead() {
    let house = House::with(&FAST).await;
    let api = house.api();
    let mut order = order_of("latte");
    order["notify"] = json!({ "channel": "log" });
    let id = api.place(&order).await;
    let end = api.end(&id).await;
    assert_eq!((&end["status"], &end["steps"][4]["state"]), (&json!("COMPLETED"), &json!("done")));
    assert_eq!(house.ledger(&id).await.told(), Vec::<&str>::new());
    let log = house.replicas()[0].log();
    let line =
        log.lines().find(|it| it.contains(&format!("{id}/completed"))).expect("it is logged");
    assert!(line.contains("COMPLETED"), "{line}");
}
