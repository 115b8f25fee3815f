//! Cancellations that race with completions.

use futures::{StreamExt, stream};
use serde_json::Value;

use crate::world::{
    api::{Api, id_of, order_of},
    house::House,
};

const RACES: usize = 1_000;
const AT_ONCE: usize = 64;

/// Places an order and cancels it at some moment of its short life; whether the cancellation won.
async fn race(api: &Api, n: usize) -> (String, bool) {
    let placed = api.post_order(&order_of("espresso")).await.expect(201);
    let id = id_of(&placed);
    match n % 4 {
        0 => {}
        1 => drop(api.until(&id, "PAID").await),
        2 => drop(api.until(&id, "PREPARING").await),
        _ => drop(api.order(&id).await),
    }
    let answer = api.cancel(&id).await;
    // 200 where a first try was accepted without an answer, on a machine that is too busy.
    if matches!(answer.status, 200 | 202) {
        return (id, true);
    }
    answer.assert_refused(409, "too_late");
    (id, false)
}

#[tokio::test]
async fn of_a_thousand_cancellations_each_wins_or_loses_for_good() {
    let house = House::of_two().await;
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    let races: Vec<(String, bool)> = stream::iter(0..RACES)
        .map(|n| race(&apis[n % apis.len()], n))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let ends = house.audit_all(&apis[0]).await;
    assert_eq!(ends.len(), RACES);
    let ends: std::collections::HashMap<String, Value> =
        ends.into_iter().map(|it| (id_of(&it), it)).collect();
    for (id, won) in &races {
        let end = &ends[id];
        assert_eq!(end["status"] == "COMPLETED", !won, "{end}");
    }
    let won = races.iter().filter(|(_, won)| *won).count();
    assert!(won > 0 && won < RACES, "no race at all: {won} of {RACES} were cancelled");
}
