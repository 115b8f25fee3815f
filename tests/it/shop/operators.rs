//! What operators see and do.

use serde_json::json;

use crate::world::{
    api::{order_of, order_with},
    house::House,
};

#[tokio::test]
async fn a_retry_makes_the_next_attempt_now() {
    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    house.moods(&json!({ "payment": "down" })).await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let waiting = api.once(&id, |it| it["steps"][0]["state"] == "waiting").await;
    assert_eq!(waiting["actions"], json!(["cancel", "retry"]), "{waiting}");
    assert_eq!(waiting["steps"][0]["attempts"], 1);
    house.moods(&json!({ "payment": null })).await;
    api.send(api.http.post(api.url(&format!("/v1/orders/{id}/retry")))).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(
        (audited.end(), &audited.step("payment")["attempts"]),
        (("COMPLETED", None), &json!(2))
    );
    api.post(&format!("/v1/orders/{id}/retry"), &json!({})).await.assert_refused(409, "not_parked");
    let unknown = format!("/v1/orders/{}/retry", uuid::Uuid::now_v7());
    api.post(&unknown, &json!({})).await.assert_refused(404, "not_found");
}

#[tokio::test]
async fn an_order_may_be_retried_and_cancelled_from_a_replica_that_does_not_own_it() {
    let house = House::of_two().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let id = here.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    there.until(&id, "PREPARING").await;
    there.cancel(&id).await.expect(202);
    assert_eq!(house.audited(&there, &id).await.end(), ("REFUNDED", Some("cancelled_by_customer")));
    let id = here.place(&order_with(&[("rehearse.payment", "wrong_amount")])).await;
    there.once(&id, |it| it["attention"].is_string()).await;
    there.post(&format!("/v1/orders/{id}/retry"), &json!({})).await.expect(202);
    there.cancel(&id).await.expect(202);
    assert_eq!(
        house.audited(&there, &id).await.order["money"],
        json!({ "captured": 451, "refunded": 451 })
    );
}

#[tokio::test]
async fn adjustments_are_recorded_with_their_reason() {
    let house = House::new().await;
    let api = house.api();
    let body = json!({ "delta": -250, "reason": "spilt" });
    let after = api.post("/v1/stock/milk/adjust", &body).await.expect(200);
    assert_eq!(
        after,
        json!({ "ingredient": "milk", "unit": "ml", "on_hand": 99_750,
        "reserved": 0, "available": 99_750 })
    );
    let sql = "select ingredient, delta, reason, on_hand_after from stock_adjustment";
    let rows: Vec<(String, i64, String, i64)> =
        sqlx::query_as(sql).fetch_all(&mut house.connection().await).await.unwrap();
    assert_eq!(rows, [("milk".to_owned(), -250, "spilt".to_owned(), 99_750)]);
}

#[tokio::test]
async fn the_replicas_are_listed_with_what_they_own() {
    let house = House::of_two().await;
    let list = house.api().get("/v1/replicas").await.expect(200);
    let replicas = list["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 2, "{list}");
    let mut buckets = 0;
    for (listed, started) in replicas.iter().zip(house.replicas()) {
        assert_eq!((&listed["name"], &listed["alive"]), (&json!(started.address()), &json!(true)));
        assert_eq!(listed["version"], env!("CARGO_PKG_VERSION"));
        buckets += listed["buckets"].as_i64().unwrap();
    }
    assert!(buckets <= 256, "{list}");
}

/// The sum of a counter's lines with this label.
fn counted(metrics: &str, name: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|it| it.starts_with(name) && it.contains(label));
    lines.map(|it| it.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_retry_is_an_attempt_that_follows_another() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    // One that succeeds at the second attempt, one that is given up after the third, and one that is cut off
    // at its first.
    for (mood, attempts) in [("answer_lost", 2), ("down", 3), ("slow", 1)] {
        let id = api.place(&order_with(&[("rehearse.payment", mood)])).await;
        if mood == "slow" {
            api.cancel(&id).await.expect(202);
        }
        assert_eq!(api.end(&id).await["steps"][0]["attempts"], attempts, "{mood}");
    }
    let metrics = api.get("/metrics").await.text;
    let payment = "step=\"payment\"";
    assert_eq!(counted(&metrics, "crema_attempts_total", payment), 2 + 3 + 1);
    assert_eq!(counted(&metrics, "crema_retries_total", payment), 1 + 2);
}

#[tokio::test]
async fn the_process_says_that_it_lives_and_what_it_counts() {
    let house = House::shared().await;
    let api = house.api();
    assert_eq!(api.get("/livez").await.expect(200), json!({ "status": "ok" }));
    assert_eq!(api.get("/readyz").await.expect(200), json!({ "status": "ok" }));
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for name in ["crema_transitions_total", "crema_attempts_total", "crema_buckets_owned"] {
        assert!(metrics.text.contains(name), "{name} is not counted");
    }
    assert!(!metrics.text.contains(&id));
}
