//! Reading one order: waiting for it, caching it, collecting it.

use serde_json::{Value, json};

use crate::world::{
    api::{order_of, order_with},
    house::House,
};

#[tokio::test]
async fn what_is_reached_already_is_answered_at_once() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    for until in ["terminal", "COMPLETED", "READY", "PENDING", "REFUNDED"] {
        let answer = api.get(&format!("/v1/orders/{id}?wait=60s&until={until}")).await;
        assert_eq!(answer.header("wait-timed-out"), None, "{until}");
        assert_eq!(answer.expect(200)["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn a_long_poll_ends_when_the_order_has_come_so_far() {
    let house = House::of_two().await;
    house.moods(&json!({ "slow_ms": 1_000 })).await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let id = here.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    for api in [&here, &there] {
        let path = format!("/v1/orders/{id}?wait=50s&until=PREPARING");
        let answer = api.get(&path).await;
        assert_eq!(answer.header("wait-timed-out"), None);
        assert_eq!(answer.expect(200)["status"], "PREPARING");
    }
    let path = format!("/v1/orders/{id}?wait=50s");
    let (one, other) = tokio::join!(here.get(&path), there.get(&path));
    for answer in [one, other] {
        assert_eq!(answer.header("wait-timed-out"), None);
        assert_eq!(answer.expect(200)["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn a_long_poll_that_ends_too_early_says_so() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    let answer = api.get(&format!("/v1/orders/{id}?wait=1ms")).await;
    assert_eq!(answer.header("wait-timed-out"), Some("true"));
    assert_ne!(answer.expect(200)["status"], "COMPLETED");
    assert_eq!(
        api.get(&format!("/v1/orders/{id}?until=READY")).await.header("wait-timed-out"),
        None
    );
}

#[tokio::test]
async fn an_etag_tells_whether_anything_visible_has_changed() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let end = api.end(&id).await;
    let url = api.url(&format!("/v1/orders/{id}"));
    let etag = format!("\"{}\"", end["version"]);
    for seen in [etag.clone(), format!("\"0\", {etag}"), "*".to_owned(), format!("W/{etag}")] {
        let answer = api.send(api.http.get(&url).header("if-none-match", &seen)).await;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{seen}");
        assert_eq!(answer.header("etag"), Some(&*etag));
    }
    let other = api.send(api.http.get(&url).header("if-none-match", "\"1\"")).await;
    assert_eq!(other.header("etag"), Some(&*etag));
    assert_eq!(other.expect(200)["id"], *id);
    api.collect(&id, end["pickup_code"].as_str().unwrap()).await.expect(200);
    let after = api.send(api.http.get(&url).header("if-none-match", &etag)).await.expect(200);
    assert!(after["version"].as_i64() > end["version"].as_i64());
}

#[tokio::test]
async fn the_version_rises_with_every_line_and_the_end_never_changes() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    let mut versions = vec![1];
    for status in ["PAID", "PREPARING", "READY", "COMPLETED"] {
        let order = api.until(&id, status).await;
        versions.push(order["version"].as_i64().unwrap());
    }
    assert!(versions.is_sorted(), "{versions:?}");
    let end = api.end(&id).await;
    api.cancel(&id).await.assert_refused(409, "too_late");
    assert_eq!(api.order(&id).await, end);
}

#[tokio::test]
async fn a_ready_order_is_handed_over_once_to_whoever_knows_its_code() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let slow = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    let waiting = api.until(&slow, "PREPARING").await;
    let code = waiting["pickup_code"].as_str().unwrap();
    api.collect(&slow, code).await.assert_refused(409, "not_ready");
    api.collect(&slow, "WRONG").await.assert_refused(403, "wrong_code");

    let ready = api.place(&order_with(&[("rehearse.notification", "slow")])).await;
    let order = api.until(&ready, "READY").await;
    let code = order["pickup_code"].as_str().unwrap();
    let collected = api.collect(&ready, &code.to_lowercase()).await.expect(200);
    assert_eq!((&collected["status"], &collected["actions"]), (&json!("READY"), &json!([])));
    assert!(collected["collected_at"].is_string());
    api.collect(&ready, code).await.assert_refused(409, "already_collected");

    let done = api.place(&order_of("latte")).await;
    let order = api.end(&done).await;
    let code = order["pickup_code"].as_str().unwrap();
    let both = futures::future::join_all((0..10).map(|_| api.collect(&done, code))).await;
    assert_eq!(both.iter().filter(|it| it.status == 200).count(), 1);
    both.iter()
        .filter(|it| it.status != 200)
        .for_each(|it| it.assert_refused(409, "already_collected"));
    assert_eq!(api.order(&done).await["status"], "COMPLETED");

    house.moods(&json!({ "slow_ms": 0 })).await;
    let audited = house.audited(&api, &ready).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.order["collected_at"], collected["collected_at"]);
    let declined = api.place(&order_with(&[("rehearse.payment", "decline")])).await;
    let order = api.end(&declined).await;
    let code = order["pickup_code"].as_str().unwrap();
    api.collect(&declined, code).await.assert_refused(409, "not_ready");
    api.collect(&uuid::Uuid::now_v7().to_string(), code).await.assert_refused(404, "not_found");
}

#[tokio::test]
async fn uncollected_orders_have_different_codes_and_collected_ones_give_theirs_back() {
    let house = House::new().await;
    let api = house.api();
    let order = order_of("espresso");
    let placing = (0..300).map(|_| api.place(&order));
    let ids: Vec<String> = futures::future::join_all(placing).await;
    let mut codes = std::collections::HashSet::new();
    for id in &ids {
        let order = api.end(id).await;
        assert!(codes.insert(order["pickup_code"].as_str().unwrap().to_owned()), "{order}");
    }
    let code = api.order(&ids[0]).await["pickup_code"].as_str().unwrap().to_owned();
    api.collect(&ids[0], &code).await.expect(200);
    let held: i64 = sqlx::query_scalar("select count(*) from pickup_code")
        .fetch_one(&mut house.connection().await)
        .await
        .unwrap();
    assert_eq!(held, 299);
    house.audit_all(&api).await;
}

#[tokio::test]
async fn the_secret_of_the_payment_is_shown_to_nobody() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    let mut shown =
        vec![api.order(&id).await.to_string(), Value::Array(api.history(&id).await).to_string()];
    shown.push(api.get("/v1/orders?limit=200").await.text);
    shown.push(house.replicas_log());
    for text in shown {
        assert!(!text.contains("tok_visa"), "{text}");
    }
}
