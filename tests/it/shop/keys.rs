//! Idempotency keys.

use futures::future::join_all;
use serde_json::json;
use sqlx::Connection;

use crate::world::{
    api::{Answer, id_of, order_of, order_with},
    house::{FAST, House},
    replica::Replica,
};

/// A key that nobody else uses.
fn new_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn assert_one_order(answers: &[Answer]) -> String {
    let bodies: std::collections::HashSet<&str> = answers.iter().map(|it| &*it.text).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert!(answers.iter().all(|it| it.status == 201));
    let replayed = answers.iter().filter(|it| it.header("idempotent-replayed") == Some("true"));
    assert_eq!(replayed.count(), answers.len() - 1);
    id_of(&answers[0].json())
}

#[tokio::test]
async fn a_hundred_requests_with_one_key_are_one_order() {
    let house = House::shared().await;
    let (api, key, order) = (house.api(), new_key(), order_of("latte"));
    let answers = join_all((0..100).map(|_| api.post_keyed(&order, &key))).await;
    let id = assert_one_order(&answers);
    assert_eq!(house.audited(&api, &id).await.ledger.deeds(), ["captured", "ticket", "prepared"]);
    let much_later = api.post_keyed(&order, &key).await;
    assert_eq!(much_later.header("idempotent-replayed"), Some("true"));
    assert_eq!((much_later.text, much_later.status), (answers[0].text.clone(), 201));
    // Neither spaces nor the order of members make another request.
    let text = r#"{ "payment": {"method_token":"tok_visa"},   "attributes":{}, "customer_id":"ada",
        "items":[{"quantity":1,"item":"latte"}] }"#;
    let request = api.http.post(api.url("/v1/orders")).header("idempotency-key", &key);
    let reordered = api.send(request.header("content-type", "application/json").body(text)).await;
    assert_eq!(id_of(&reordered.expect(201)), id);
}

#[tokio::test]
async fn over_two_replicas_a_key_is_one_order_too() {
    let house = House::of_two().await;
    let order = order_of("latte");
    for _ in 0..5 {
        let (key, apis) = (new_key(), [house.replicas()[0].api(), house.replicas()[1].api()]);
        let answers = join_all((0..60).map(|n| apis[n % 2].post_keyed(&order, &key))).await;
        assert_one_order(&answers);
    }
    assert_eq!(house.audit_all(&house.api()).await.len(), 5);
}

#[tokio::test]
async fn a_key_stands_for_one_body_of_one_customer() {
    let house = House::shared().await;
    let (api, key) = (house.api(), new_key());
    let first = api.post_keyed(&order_of("latte"), &key).await.expect(201);
    let other = api.post_keyed(&order_of("espresso"), &key).await;
    other.assert_refused(422, "idempotency_key_reused");
    let mut ben = order_of("latte");
    ben["customer_id"] = json!("ben");
    let bens = api.post_keyed(&ben, &key).await;
    assert_eq!(bens.header("idempotent-replayed"), None);
    assert_ne!(id_of(&bens.expect(201)), id_of(&first));
    assert!(!other.text.contains(&id_of(&first)));
}

#[tokio::test]
async fn a_refusal_is_not_kept_under_its_key() {
    let house = House::new().await;
    let (api, key, order) = (house.api(), new_key(), order_of("croissant"));
    api.adjust("croissant", -500).await.expect(200);
    api.post_keyed(&order, &key).await.assert_refused(409, "out_of_stock");
    let both = join_all((0..20).map(|_| api.post_keyed(&order, &key))).await;
    both.iter().for_each(|it| it.assert_refused(409, "out_of_stock"));
    api.adjust("croissant", 1).await.expect(200);
    let placed = api.post_keyed(&order, &key).await;
    assert_eq!(placed.header("idempotent-replayed"), None);
    let id = id_of(&placed.expect(201));
    // The same key now stands for it, though there is nothing left.
    assert_eq!(id_of(&api.post_keyed(&order, &key).await.expect(201)), id);
    assert_eq!(house.audit_all(&api).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let house = House::shared().await;
    let api = house.api();
    let post = || api.http.post(api.url("/v1/orders")).json(&order_of("latte"));
    for wrong in [&b""[..], &[b'k'; 256], "schlüssel".as_bytes(), b"tab\tkey"] {
        let answer = api.send(post().header("idempotency-key", wrong)).await;
        answer.assert_refused(400, "idempotency_key_invalid");
    }
    let twice = post().header("idempotency-key", "a").header("idempotency-key", "b");
    api.send(twice).await.assert_refused(400, "idempotency_key_invalid");
    let card = api.send(post().header("idempotency-key", "4111 1111 1111 1111")).await;
    card.assert_refused(422, "card_number_refused");
    let longest = format!("{:~<255}", new_key());
    assert_eq!(api.send(post().header("idempotency-key", longest)).await.status, 201);
}

#[tokio::test]
async fn a_key_can_be_required() {
    let house = House::with(&[&FAST[..], &["--require-idempotency-key"]].concat()).await;
    let api = house.api();
    api.post_order(&order_of("latte")).await.assert_refused(400, "idempotency_key_required");
    api.post_keyed(&order_of("latte"), "k").await.expect(201);
}

#[tokio::test]
async fn a_repeat_waits_two_seconds_for_a_first_request_that_is_stuck() {
    let house = House::new().await;
    let mut stuck = house.connection().await;
    let mut transaction = stuck.begin().await.unwrap();
    let lock = "select from stock where ingredient = 'milk' for update";
    sqlx::query(lock).execute(&mut *transaction).await.unwrap();
    let (api, order) = (house.api(), order_of("latte"));
    let first = tokio::spawn({
        let (api, order) = (api.clone(), order.clone());
        async move { api.post_keyed_once(&order, "k").await }
    });
    let mut looking = house.connection().await;
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let since = std::time::Instant::now();
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut looking).await.unwrap() == 0 {
        assert!(since.elapsed() < crate::world::DEADLINE);
    }
    let repeat = api.post_keyed_once(&order, "k").await;
    repeat.assert_refused(409, "in_progress");
    assert!(repeat.header("retry-after").is_some());
    assert!(!first.is_finished());
    transaction.rollback().await.unwrap();
    let first = first.await.unwrap().expect(201);
    let replay = api.post_keyed(&order, "k").await;
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    assert_eq!(replay.expect(201), first);
}

#[tokio::test]
async fn a_key_outlives_the_replica_and_the_price() {
    let mut house = House::new().await;
    let (api, key, order) = (house.api(), new_key(), order_with(&[]));
    let first = api.post_keyed(&order, &key).await;
    house.audited(&api, &id_of(&first.json())).await;
    let dearer = json!({ "name": "Cappuccino", "price": 999, "recipe": { "beans": 9 } });
    api.put("/v1/menu/items/cappuccino", &dearer).await.expect(200);
    let mut old: Replica = house.take();
    old.sigterm();
    assert!(old.ended().await.success());
    let next = house.replica(&FAST);
    next.api().ready().await;
    let replay = next.api().post_keyed(&order, &key).await;
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    assert_eq!((replay.status, replay.text), (201, first.text));
}
