//! Limits of queues, exact over replicas and changed at once (B20, E-31, E-32).

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};

use super::workers::{complete, execute, next, number, poll, pulling, tasks_are_there, tell};
use crate::world::{
    api::{Api, order_of},
    house::{FAST, House},
};

const LEASED: &str = "select count(*) from task where state = 'leased'";

async fn limit(api: &Api, max_in_flight: Value, rate: Value) -> Value {
    let body = json!({ "max_in_flight": max_in_flight, "rate": rate, "by": "ada", "reason": "one machine" });
    api.put("/v1/queues/bar/limits", &body).await.expect(200)
}

async fn of_three() -> House {
    let mut house = pulling().await;
    for _ in 0..2 {
        house.add(&[&FAST[..], &["--kitchen-pull=all"]].concat()).await;
    }
    house
}

#[tokio::test]
async fn seven_at_once_are_never_eight_however_many_replicas_hand_them_out() {
    let house = of_three().await;
    let api = house.api();
    limit(&api, json!(7), Value::Null).await;
    let ids = join_all((0..60).map(|_| async { api.place(&order_of("espresso")).await })).await;
    tasks_are_there(&house, 60).await;
    let is_over = AtomicBool::new(false);
    let workers = (0..30).map(|number| {
        let api = house.replicas()[number % 3].api();
        let is_over = &is_over;
        async move {
            let body = json!({ "worker": format!("w{number}"), "max": 3, "wait": "1s" });
            let mut made = 0;
            while !is_over.load(Ordering::Relaxed) {
                for task in poll(&api, "bar", &body).await {
                    complete(&api, &task).await;
                    made += 1;
                }
            }
            made
        }
    });
    let watching = async {
        let (mut most, mut looks) = (0, 0);
        let done = "select count(*) from task where state = 'done'";
        while number(&house, done).await < 60 {
            let leased = number(&house, LEASED).await;
            assert!(leased <= 7, "{leased} at once");
            (most, looks) = (most.max(leased), looks + 1);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(looks > 0);
        most
    };
    let (made, most) = tokio::join!(join_all(workers), watching);
    assert_eq!(made.iter().sum::<i32>(), 60, "each once");
    assert!(most > 0, "somebody was seen at work");
    for id in ids {
        assert_eq!(api.end(&id).await["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn a_full_queue_gives_out_no_more_and_says_so_until_a_place_is_free() {
    let house = pulling().await;
    let api = house.api();
    limit(&api, json!(2), Value::Null).await;
    for tasks in 1..=4 {
        api.place(&order_of("latte")).await;
        tasks_are_there(&house, tasks).await;
    }
    let ask = json!({ "worker": "ada", "max": 10, "wait": "0s" });
    let held = poll(&api, "bar", &ask).await;
    assert_eq!((held.len(), poll(&api, "bar", &ask).await.len()), (2, 0));
    let sql = "select saga_id::text from task where state = 'ready' order by rank_at limit 1";
    let id: String =
        sqlx::query_scalar(sql).fetch_one(&mut house.connection().await).await.unwrap();
    let why = api.get(&format!("/v1/orders/{id}/why")).await.expect(200);
    let why = why["why"].as_str().unwrap();
    assert!(why.contains("all places of bar are taken (2/2)"), "{why}");
    complete(&api, &held[0]).await;
    let third = next(&api, "bob").await;
    assert_eq!(number(&house, LEASED).await, 2);
    // A dead worker's lease takes no place.
    execute(&house, "update task set leased_until = now() - interval '1 s' where state = 'leased'")
        .await;
    assert_eq!(poll(&api, "bar", &ask).await.len(), 2);
    tell(&api, &third, "complete", &json!({})).await.assert_refused(409, "lease_lost");
    let all = limit(&api, Value::Null, Value::Null).await;
    assert_eq!((&all["max_in_flight"], &all["limits_by"]["by"]), (&Value::Null, &json!("ada")));
    assert_eq!(poll(&api, "bar", &ask).await.len(), 1, "there were four, and one is made");
}

#[tokio::test]
async fn a_rate_holds_on_all_replicas_at_once_and_outlives_a_restart() {
    let mut house = of_three().await;
    let api = house.api();
    for tasks in 1..=6 {
        api.place(&order_of("latte")).await;
        tasks_are_there(&house, tasks).await;
    }
    // One in a quarter of an hour: none but the first comes while this test runs.
    limit(&api, Value::Null, json!(0.001)).await;
    let ask = json!({ "worker": "ada", "max": 10, "wait": "0s" });
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    let asked = join_all(apis.iter().map(|it| poll(it, "bar", &ask))).await;
    assert_eq!(asked.concat().len(), 1);
    house.take_and_kill();
    house.add(&[&FAST[..], &["--kitchen-pull=all"]].concat()).await;
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    let asked = join_all(apis.iter().map(|it| poll(it, "bar", &ask))).await;
    assert_eq!(asked.concat().len(), 0);
    let details = apis[0].get("/v1/queues/bar").await.expect(200);
    assert_eq!(
        (&details["rate"], &details["limits_by"]["reason"]),
        (&json!(0.001), &json!("one machine"))
    );
    limit(&apis[0], Value::Null, Value::Null).await;
    let asked = join_all(apis.iter().map(|it| poll(it, "bar", &ask))).await;
    assert_eq!(asked.concat().len(), 5);
    // Nobody who is held is forgotten when a limit is lifted.
    limit(&apis[0], json!(0), Value::Null).await;
    let back = asked.concat().pop().unwrap();
    tell(&apis[0], &back, "release", &json!({})).await.expect(200);
    let lift = async { limit(&apis[1], json!(100), Value::Null).await };
    let (task, _) = tokio::join!(next(&apis[0], "bob"), lift);
    assert_eq!(task["task_id"], back["task_id"]);
}
