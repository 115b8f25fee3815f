//! Cancellations that are only tried, and what the real ones then do.

use serde_json::{Value, json};

use crate::world::{
    api::{Answer, Api, order_of, order_with},
    house::House,
    until,
};

async fn dry_cancel(api: &Api, id: &str) -> Answer {
    api.post(&format!("/v1/orders/{id}/cancel?dry_run=true"), &json!({ "by": "shop" })).await
}

/// Tries the cancellation, does it, and holds the order's end against what was said of it.
async fn foretold(house: &House, id: &str) -> Value {
    let api = house.api();
    let dry = dry_cancel(&api, id).await.expect(200);
    let stands = api.order(id).await;
    assert_eq!((&stands["cancellation"], &dry["dry_run"]), (&Value::Null, &json!(true)));
    let requested = api.post(&format!("/v1/orders/{id}/cancel"), &json!({ "by": "shop" })).await;
    let requested = requested.expect(202);
    for same in ["status", "version", "cancellation", "actions", "money"] {
        assert_eq!(dry["order"][same], requested[same], "{same}");
    }
    assert_eq!(still(&dry["order"]), still(&requested));
    let audited = house.audited(&api, id).await;
    let ends_as = dry["ends_as"].as_array().unwrap();
    assert!(ends_as.contains(&audited.order["status"]), "{dry}\n{}", audited.order);
    assert_eq!(dry["closed_reason"], audited.order["closed_reason"]);
    let done = audited.history.iter().filter(|it| it["kind"] == "compensation_done");
    let done: Vec<&Value> = done.map(|it| &it["step"]).collect();
    let steps = dry["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|it| &it["name"]).collect::<Vec<_>>(), done);
    let refunded = audited.order["money"]["refunded"].as_i64();
    let [least, most] = ["amount", "at_most"].map(|it| dry["refund"][it].as_i64());
    assert!(least <= refunded && (most.is_none() || refunded <= most), "{dry}\n{}", audited.order);
    for change in dry["stock"].as_array().unwrap() {
        let (on_hand, reserved) = api.stock(change["ingredient"].as_str().unwrap()).await;
        assert_eq!(change["left"], on_hand - reserved, "{change}");
    }
    dry
}

/// An order's steps without what goes on all the time.
fn still(order: &Value) -> Vec<Value> {
    let mut steps = order["steps"].as_array().unwrap().clone();
    steps.iter_mut().for_each(|it| it["progress"] = Value::Null);
    steps
}

fn certain(dry: &Value) -> Vec<(&str, bool)> {
    let steps = dry["steps"].as_array().unwrap().iter();
    steps.map(|it| (it["name"].as_str().unwrap(), it["certain"].as_bool().unwrap())).collect()
}

#[tokio::test]
async fn an_order_in_the_kitchen_would_be_called_off_and_then_refunded() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    api.until(&id, "PREPARING").await;
    let dry = foretold(&house, &id).await;
    assert_eq!(certain(&dry), [("preparation", false), ("payment", true)]);
    assert_eq!(dry["ends_as"], json!(["REFUNDED"]));
    assert_eq!(dry["closed_reason"], "cancelled_by_shop");
    assert_eq!(dry["refund"], json!({ "amount": 450, "at_most": 450, "currency": "EUR" }));
    let milk = json!({ "ingredient": "milk", "unit": "ml", "reserved": -120, "left": 100_000 });
    assert!(dry["stock"].as_array().unwrap().contains(&milk), "{dry}");
}

#[tokio::test]
async fn a_payment_without_an_answer_may_or_may_not_have_to_be_returned() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "slow")])).await;
    let dry = foretold(&house, &id).await;
    assert_eq!(certain(&dry), [("payment", false)]);
    assert_eq!(dry["ends_as"], json!(["CANCELLED", "REFUNDED"]));
    assert_eq!(dry["refund"], json!({ "amount": 0, "at_most": 450, "currency": "EUR" }));

    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "down")])).await;
    api.once(&id, |it| it["steps"][0]["state"] == "waiting").await;
    let dry = foretold(&house, &id).await;
    assert_eq!(dry["ends_as"], json!(["CANCELLED", "REFUNDED"]));

    // Another amount than was asked for: what would be returned is the provider's to say.
    let id = api.place(&order_with(&[("rehearse.payment", "wrong_amount")])).await;
    api.once(&id, |it| it["attention"] == "amount_mismatch").await;
    let dry = foretold(&house, &id).await;
    assert_eq!(dry["refund"], json!({ "amount": 0, "at_most": null, "currency": "EUR" }));
}

#[tokio::test]
async fn an_order_that_goes_back_already_would_end_for_its_own_reason() {
    let house = House::new().await;
    house.moods(&json!({ "refund": "down" })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "out_of_ingredients")])).await;
    api.once(&id, |it| it["steps"][0]["compensation"].is_object()).await;
    let dry = dry_cancel(&api, &id).await.expect(200);
    assert_eq!(certain(&dry), [("payment", true)]);
    assert_eq!(
        (&dry["ends_as"], &dry["closed_reason"]),
        (&json!(["REFUNDED"]), &json!("preparation_failed"))
    );
    api.cancel(&id).await.expect(202);
    // Said twice, it is still under way, and nothing else would follow.
    let again = dry_cancel(&api, &id).await.expect(200);
    assert_eq!(
        (certain(&again), &again["order"]["cancellation"]),
        (certain(&dry), &json!("requested"))
    );
    house.moods(&json!({ "refund": null })).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
}

#[tokio::test]
async fn what_cannot_be_cancelled_is_refused_with_the_words_of_the_real_cancellation() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let ready = api.place(&order_with(&[("rehearse.notification", "slow")])).await;
    api.until(&ready, "READY").await;
    let declined = api.place(&order_with(&[("rehearse.payment", "decline")])).await;
    api.end(&declined).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    for (id, status, code) in
        [(&ready, 409, "too_late"), (&declined, 409, "too_late"), (&unknown, 404, "not_found")]
    {
        let before = house.rows().await;
        let [dry, real] = [dry_cancel(&api, id).await, api.cancel(id).await];
        dry.assert_refused(status, code);
        let [dry, real] = [dry, real].map(|it| {
            let mut problem = it.json();
            problem.as_object_mut().unwrap().remove("request_id").unwrap();
            problem
        });
        assert_eq!(dry, real);
        assert_eq!(house.rows().await, before);
    }
    let long = json!({ "reason": "x".repeat(201) });
    let refused = api.post(&format!("/v1/orders/{ready}/cancel?dry_run=true"), &long).await;
    refused.assert_refused(422, "body_invalid");
}

#[tokio::test]
async fn an_order_that_is_cancelled_already_would_stay_as_it_is() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "slow")])).await;
    api.cancel(&id).await.expect(202);
    let end = api.end(&id).await;
    let dry = dry_cancel(&api, &id).await.expect(200);
    assert_eq!((&dry["order"], &dry["steps"], &dry["stock"]), (&end, &json!([]), &json!([])));
    assert_eq!(
        (&dry["ends_as"], &dry["closed_reason"]),
        (&json!(["CANCELLED"]), &json!("cancelled_by_customer"))
    );
    assert_eq!(dry["refund"]["at_most"], 0);
}

/// A dry run holds the order's row for a moment; the order goes on all the same.
#[tokio::test]
async fn orders_get_to_their_ends_however_often_somebody_asks_what_a_cancellation_would_do() {
    let house = House::of_two().await;
    let apis = [house.replicas()[0].api(), house.replicas()[1].api()];
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(apis[0].place(&order_of("latte")).await);
    }
    let asking = ids.iter().map(|id| async {
        let mut turn = 0;
        let too_late = until("it is too late", async || {
            turn += 1;
            let answer = dry_cancel(&apis[turn % 2], id).await;
            (answer.status != 200).then_some(answer)
        });
        too_late.await.assert_refused(409, "too_late");
    });
    futures::future::join_all(asking).await;
    let orders = house.audit_all(&apis[0]).await;
    assert!(orders.iter().all(|it| it["status"] == "COMPLETED"), "{orders:?}");
}
