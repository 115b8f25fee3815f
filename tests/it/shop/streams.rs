//! Event streams: every line exactly once, however often they are cut.

use std::collections::HashMap;

use futures::future::join_all;
use serde_json::json;

use crate::world::{
    api::{Api, order_of, order_with},
    house::House,
    sse::Stream,
};

#[tokio::test]
async fn an_orders_stream_goes_on_after_any_line_on_any_replica() {
    let house = House::of_two().await;
    house.moods(&json!({ "slow_ms": 500 })).await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let id = here.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    let path = format!("/v1/orders/{id}/events");
    let live = Stream::open(&there, &path, None).await.rest().await;
    let ids: Vec<&str> = live.iter().map(|it| &*it.id).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    assert_eq!(live.last().unwrap().kind, "closed");
    for api in [&here, &there] {
        for (n, event) in live.iter().enumerate() {
            if n + 1 < live.len() {
                let rest = Stream::open(api, &path, Some(&event.id)).await.rest().await;
                let rest: Vec<String> = rest.into_iter().map(|it| it.id).collect();
                assert_eq!(rest, ids[n + 1..]);
            }
        }
    }
    let history = there.history(&id).await;
    assert_eq!(live.iter().map(|it| it.data.clone()).collect::<Vec<_>>(), history);
}

#[tokio::test]
async fn a_stream_is_not_resumed_after_the_last_line() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let last = api.end(&id).await;
    assert_eq!(last["status"], "COMPLETED");
    let url = api.url(&format!("/v1/orders/{id}/events"));
    let seq = api.history(&id).await.len();
    for seq in [seq, seq + 1, 1_000_000] {
        let answer = api.send(api.http.get(&url).header("last-event-id", seq)).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    }
}

#[tokio::test]
async fn the_shops_stream_cut_twenty_times_tells_every_line_exactly_once() {
    let house = House::of_two().await;
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    let first = Stream::open(&apis[0], "/v1/events", None).await;
    let order = order_of("espresso");
    let place = |n: usize| {
        let (api, order) = (&apis[n % 2], &order);
        async move { api.place(order).await }
    };
    // The stream stands before anything is placed once its first line was read.
    let warm_up = place(0).await;
    let watch = async {
        let mut seen: HashMap<(String, i64), usize> = HashMap::new();
        let (mut stream, mut closed, mut cuts, mut since) = (first, 0, 0, 0);
        while closed < 201 {
            let event = stream.next().await.expect("the stream goes on");
            let id = event.data["order_id"].as_str().unwrap().to_owned();
            *seen.entry((id, event.data["seq"].as_i64().unwrap())).or_default() += 1;
            closed += usize::from(event.kind == "closed");
            since += 1;
            if since == 60 && cuts < 20 {
                (since, cuts) = (0, cuts + 1);
                stream = Stream::open(&apis[cuts % 2], "/v1/events", Some(&event.id)).await;
            }
        }
        (seen, cuts)
    };
    let (placed, (seen, cuts)) = tokio::join!(join_all((0..200).map(place)), watch);
    assert_eq!(cuts, 20);
    assert!(seen.values().all(|times| *times == 1), "a line came twice");
    for id in placed.iter().chain([&warm_up]) {
        for line in apis[0].history(id).await {
            let key = (id.clone(), line["seq"].as_i64().unwrap());
            assert!(seen.contains_key(&key), "{key:?} never came");
        }
    }
    house.audit_all(&apis[0]).await;
}
