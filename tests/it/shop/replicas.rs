//! Replicas that die or are stopped, and clients that hang up.

use std::{collections::HashSet, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use rand::Rng;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::world::{
    DEADLINE, LOOK_EVERY,
    api::{Api, id_of, order_of, order_with},
    house::{FAST, House},
};

/// How soon a rude client hangs up: while its request is parsed, priced, queued, committed or answered.
const RUDE_WITHIN: Duration = Duration::from_millis(5);

/// Sends a request and hangs up a moment later, wherever it is by then. The pause is the fault itself.
async fn hang_up(address: &str, path: &str, body: &Value) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let after = rand::rng().random_range(Duration::ZERO..=RUDE_WITHIN);
    tokio::time::sleep(after).await;
}

/// As many at once as a counter has customers.
async fn all<F: Future>(requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    stream::iter(requests).buffer_unordered(20).collect().await
}

#[tokio::test]
async fn clients_that_hang_up_cost_nobody_elses_order() {
    let house = House::new().await;
    let (api, address) = (house.api(), house.replicas()[0].address().to_owned());
    let order = order_of("espresso");
    let ready = all((0..300).map(|_| async { api.end(&api.place(&order).await).await })).await;

    // What is placed goes to the journal. A collection is a transaction of the counter's own, and an adjustment
    // a single statement: it is lost when it gets the connection of a collection that was left half way.
    let rude = all((0..300).map(|_| hang_up(&address, "/v1/orders", &order)));
    let rude_too = all(ready.iter().cycle().take(1_200).map(async |it| {
        let path = format!("/v1/orders/{}/collect", id_of(it));
        hang_up(&address, &path, &json!({ "code": it["pickup_code"] })).await;
    }));
    let polite = all((0..300).map(|_| api.place(&order)));
    let polite_too = all((0..300).map(async |_| api.adjust("chocolate", 1).await.status == 200));
    let (_, _, placed, adjusted) = tokio::join!(rude, rude_too, polite, polite_too);

    let ends = house.audit_all(&api).await;
    let known: HashSet<String> = ends.iter().map(id_of).collect();
    assert!(placed.iter().all(|it| known.contains(it)), "an acknowledged order is gone");
    assert!(ends.iter().all(|it| it["status"] == "COMPLETED"));
    let acknowledged = adjusted.into_iter().filter(|it| *it).count() as i64;
    let found = api.stock("chocolate").await.0 - 5_000;
    assert!(found >= acknowledged && found > 0, "{found} of {acknowledged} adjustments are there");
    let of_the_rude = known.len() - ready.len() - placed.len();
    eprintln!("of 300 clients that hung up {of_the_rude} have placed their order");
    let stuck: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
          where datname = current_database() and state like 'idle in transaction%'",
    )
    .fetch_one(&mut house.connection().await)
    .await
    .unwrap();
    assert_eq!(stuck, 0, "a connection was left inside a transaction");
}

#[tokio::test]
async fn the_orders_of_a_replica_that_was_killed_go_on() {
    let mut house = House::of_two().await;
    house.moods(&json!({ "slow_ms": 2_000 })).await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let slow = order_with(&[("rehearse.kitchen", "slow")]);
    let placed = join_all((0..20).map(|_| here.place(&slow))).await;
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let paid = join_all(keys.iter().map(|key| here.post_keyed(&slow, key))).await;
    let ids: Vec<String> =
        placed.into_iter().chain(paid.iter().map(|it| id_of(&it.json()))).collect();
    let dead = here.get("/v1/replicas").await.expect(200)["replicas"][0]["boot_id"].clone();
    house.take_and_kill();
    for id in &ids {
        assert_eq!(there.end(id).await["status"], "COMPLETED");
    }
    // Whoever repeats a request after the crash gets the first answer from whoever is left.
    for (key, first) in keys.iter().zip(&paid) {
        let again = there.post_keyed(&slow, key).await;
        assert_eq!((again.status, &again.text), (201, &first.text));
    }
    let listed = there.get("/v1/replicas").await.expect(200);
    let replicas = listed["replicas"].as_array().unwrap();
    let row = |id: &Value| replicas.iter().find(|it| it["boot_id"] == *id).unwrap();
    assert_eq!(
        (&row(&dead)["alive"], &row(&dead)["buckets"]),
        (&json!(false), &json!(0)),
        "{listed}"
    );
    let all = house.audit_all(&there).await;
    assert_eq!(all.len(), ids.len());
    let taken_up = there.history(&ids[0]).await;
    assert!(taken_up.iter().any(|it| it["kind"] == "taken_up"), "{taken_up:?}");
}

#[tokio::test]
async fn a_replica_that_is_asked_to_stop_under_load_loses_nothing() {
    // The rehearsal stops with it and goes on elsewhere; orders have to bear with that.
    let patient = ["--retry-backoff=100ms", "--payment-attempts=99", "--preparation-attempts=99"];
    let mut house = House::with(&patient).await;
    house.add(&patient).await;
    let mut first = house.take();
    let (leaving, staying) = (first.api(), house.api());
    // One that owns no bucket yet takes no order.
    crate::world::until("both own buckets", async || {
        let listed = staying.get("/v1/replicas").await.expect(200);
        let owns = |it: &Value| it["buckets"] == 128;
        listed["replicas"].as_array().unwrap().iter().all(owns).then_some(())
    })
    .await;
    staying.place(&order_of("espresso")).await;
    let order = order_of("espresso");
    let load = |api: Api| {
        let order = order.clone();
        stream::iter(0..400)
            .map(move |_| {
                let (api, order) = (api.clone(), order.clone());
                async move {
                    let request = api.http.post(api.url("/v1/orders")).json(&order);
                    let response = request.send().await.ok()?;
                    let (status, text) = (response.status().as_u16(), response.text().await.ok()?);
                    assert!(matches!(status, 201 | 503), "{status} {text}");
                    let order: Value = serde_json::from_str(&text).unwrap();
                    (status == 201).then(|| id_of(&order))
                }
            })
            .buffer_unordered(16)
            .collect::<Vec<Option<String>>>()
    };
    let stop = async {
        while house.rows().await[3].1 < 50 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        first.sigterm();
        first.ended().await
    };
    let (one, other, status) = tokio::time::timeout(DEADLINE, async {
        tokio::join!(load(leaving), load(staying.clone()), stop)
    })
    .await
    .unwrap();
    assert_eq!(status.code(), Some(0), "{}", first.log());
    let accepted: Vec<String> = one.into_iter().chain(other).flatten().collect();
    assert!(accepted.len() >= 400, "{}", accepted.len());
    let ends = house.audit_all(&staying).await;
    let known: HashSet<String> = ends.iter().map(id_of).collect();
    assert!(accepted.iter().all(|it| known.contains(it)), "an acknowledged order is gone");
    assert!(ends.iter().all(|it| it["status"] == "COMPLETED"));
    let listed = staying.get("/v1/replicas").await.expect(200);
    assert_eq!(listed["replicas"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn stopped_with_orders_under_way_it_goes_on_with_them_at_the_next_start() {
    let mut house = House::new().await;
    house.moods(&json!({ "slow_ms": 3_000 })).await;
    let mut first = house.take();
    let api = first.api();
    let slow = order_with(&[("rehearse.kitchen", "slow")]);
    let ids = join_all((0..10).map(|_| api.place(&slow))).await;
    let streams = join_all(ids.iter().map(|id| {
        let (api, path) = (api.clone(), format!("/v1/orders/{id}/events"));
        async move { crate::world::sse::Stream::open(&api, &path, None).await }
    }))
    .await;
    first.sigterm();
    for stream in streams {
        // Streams end with the replica, and so do long polls.
        stream.rest().await;
    }
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    house.add(&FAST).await;
    let api = house.api();
    for id in &ids {
        assert_eq!(house.audited(&api, id).await.end(), ("COMPLETED", None));
    }
}
