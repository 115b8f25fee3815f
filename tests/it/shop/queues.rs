//! Tasks that workers pull: leases, heartbeats and ends (B19, B3, E-09, E-10, E-30, O-17).

use serde_json::{Value, json};

use super::workers::{
    complete, execute, next, next_of, number, poll, pulling, states, tasks_are_there, tell,
};
use crate::world::{
    api::{Api, order_of},
    house::FAST,
    until,
};

/// Nobody says a word of any task for longer than its lease.
const SILENCE: &str =
    "update task set leased_until = now() - interval '1 second' where state = 'leased'";

fn order_of_two() -> Value {
    let mut order = order_of("latte");
    order["items"].as_array_mut().unwrap().push(json!({ "item": "espresso", "quantity": 2 }));
    order
}

async fn refused(api: &Api, task: &Value, what: &str, code: &str) {
    let body = if what == "fail" { json!({ "code": "broken" }) } else { json!({}) };
    tell(api, task, what, &body).await.assert_refused(409, code);
}

#[tokio::test]
async fn of_two_claims_at_once_one_has_the_task() {
    let mut house = pulling().await;
    house.add(&[&FAST[..], &["--kitchen-pull=all"]].concat()).await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let id = here.place(&order_of("latte")).await;
    tasks_are_there(&house, 1).await;
    let ask = |worker| json!({ "worker": worker, "wait": "0s" });
    let (ada, bob) = (ask("ada"), ask("bob"));
    for race in 0..100 {
        let (one, other) = tokio::join!(poll(&here, "bar", &ada), poll(&there, "bar", &bob));
        let winners = [one, other].concat();
        assert_eq!(winners.len(), 1, "race {race}: {winners:?}");
        assert_eq!(winners[0]["attempt"], 1, "whoever gives it back has not tried");
        let back = tell(&here, &winners[0], "release", &json!({})).await.expect(200);
        assert_eq!(back["state"], "ready");
    }
    complete(&here, &next(&here, "ada").await).await;
    assert_eq!(house.audited(&here, &id).await.end(), ("COMPLETED", None));
}

#[tokio::test]
async fn a_silent_workers_task_goes_to_another_with_its_progress_and_the_loser_changes_nothing() {
    let house = pulling().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let lost = next(&api, "ada").await;
    assert_eq!((&lost["attempt"], &lost["progress"]), (&json!(1), &Value::Null));
    assert_eq!(lost["payload"]["item"], "latte");
    assert_eq!(lost["payload"]["order_id"], *id);
    let beat = tell(&api, &lost, "heartbeat", &json!({ "progress": { "percent": 60 } })).await;
    assert_eq!(beat.expect(200)["cancel_requested"], false);
    // Kept once a second: the second word of the same second is not.
    tell(&api, &lost, "heartbeat", &json!({ "progress": { "percent": 61 } })).await.expect(200);
    execute(&house, SILENCE).await;
    refused(&api, &lost, "heartbeat", "lease_lost").await;
    let won = next(&api, "bob").await;
    assert_eq!((&won["task_id"], &won["attempt"]), (&lost["task_id"], &json!(2)));
    assert_eq!(won["progress"], json!({ "percent": 60 }));
    for what in ["complete", "fail", "release", "heartbeat"] {
        refused(&api, &lost, what, "lease_lost").await;
    }
    assert_eq!(states(&house).await, ["leased"]);
    complete(&api, &won).await;
    complete(&api, &won).await;
    for what in ["complete", "fail", "release", "heartbeat"] {
        refused(&api, &lost, what, "task_done").await;
    }
    for what in ["fail", "release"] {
        refused(&api, &won, what, "task_done").await;
    }
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    let told = audited.history.iter().filter(|it| it["data"]["name"] == "task").count();
    assert_eq!(told, 1, "{:?}", audited.history);
    let by = "select count(*) from task where worker = 'bob' and result->>'by' = 'a test'";
    assert_eq!(number(&house, by).await, 1);
}

#[tokio::test]
async fn a_late_completion_counts_as_long_as_nobody_else_has_the_task() {
    let house = pulling().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let task = next(&api, "ada").await;
    execute(&house, SILENCE).await;
    complete(&api, &task).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
}

#[tokio::test]
async fn a_task_whose_workers_fall_silent_three_times_is_given_up_and_refunded() {
    let house = pulling().await;
    let api = house.api();
    let id = api.place(&order_of_two()).await;
    tasks_are_there(&house, 2).await;
    let first = "update task set priority = 1, rank_at = created_at where payload->>'line' = '1'";
    execute(&house, first).await;
    let mut last = Value::Null;
    for attempt in 1..=3 {
        last = next(&api, "ada").await;
        assert_eq!((&last["payload"]["line"], &last["attempt"]), (&json!(1), &json!(attempt)));
        execute(&house, SILENCE).await;
    }
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    assert_eq!(audited.step("preparation")["state"], "in_doubt", "{}", audited.order);
    assert_eq!(states(&house).await, ["failed", "withdrawn"]);
    refused(&api, &last, "complete", "lease_lost").await;
}

#[tokio::test]
async fn a_task_that_fails_to_be_tried_again_goes_back_until_its_attempts_are_used_up() {
    let house = pulling().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let again = json!({ "code": "spilt", "detail": "on the floor", "retry": true });
    for state in ["ready", "ready", "failed"] {
        let task = next(&api, "ada").await;
        assert_eq!(tell(&api, &task, "fail", &again).await.expect(200)["state"], state);
    }
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    let error = audited.step("preparation")["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("on the floor"), "{error}");
}

#[tokio::test]
async fn what_is_urgent_comes_first_and_whoever_waits_long_becomes_urgent() {
    let house = pulling().await;
    let api = house.api();
    let mut ids = Vec::new();
    for priority in [json!(9), Value::Null, json!(1), json!(9)] {
        let mut order = order_of("latte");
        if !priority.is_null() {
            order["priority"] = priority;
        }
        ids.push(api.place(&order).await);
        tasks_are_there(&house, i64::try_from(ids.len()).unwrap()).await;
    }
    // The first has waited for nine minutes: more than the eight levels between 9 and 1 are worth.
    let age = "update task set created_at = created_at - interval '9 minutes',
                      rank_at = rank_at - interval '9 minutes' where saga_id = '{}'";
    execute(&house, &age.replace("{}", &ids[0])).await;
    let body = json!({ "worker": "ada", "max": 4, "wait": "0s" });
    let tasks = poll(&api, "bar", &body).await;
    let came: Vec<&str> =
        tasks.iter().map(|it| it["payload"]["order_id"].as_str().unwrap()).collect();
    assert_eq!(came, [&ids[0], &ids[2], &ids[1], &ids[3]]);
    let priorities: Vec<&Value> = tasks.iter().map(|it| &it["priority"]).collect();
    assert_eq!(priorities, [9, 1, 5, 9]);
}

#[tokio::test]
async fn a_worker_asks_of_several_queues_at_once_and_is_woken_by_any() {
    let house = pulling().await;
    let api = house.api();
    let pastry = json!({ "name": "Croissant", "price": 300, "station": "pastry",
        "recipe": { "croissant": 1 } });
    api.put("/v1/menu/items/croissant", &pastry).await.expect(200);
    let menu = api.get("/v1/menu").await.expect(200);
    let station = |item: &str| {
        let items = menu["items"].as_array().unwrap();
        items.iter().find(|it| it["item"] == item).unwrap()["station"].clone()
    };
    assert_eq!((station("croissant"), station("latte")), (json!("pastry"), json!("bar")));
    let both = json!({ "worker": "ada", "queues": ["pastry"], "wait": "30s" });
    for (item, queue) in [("croissant", "pastry"), ("latte", "bar")] {
        let order = order_of(item);
        let (asked, id) = tokio::join!(poll(&api, "bar", &both), api.place(&order));
        assert_eq!((asked.len(), &asked[0]["queue"]), (1, &json!(queue)));
        complete(&api, &asked[0]).await;
        assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
    }
    // What nobody says of the station stays as it was.
    let dearer = json!({ "name": "Croissant", "price": 310, "recipe": { "croissant": 1 } });
    api.put("/v1/menu/items/croissant", &dearer).await.expect(200);
    api.place(&order_of("croissant")).await;
    next_of(&api, "pastry", "bob").await;
}

#[tokio::test]
async fn a_worker_that_leaves_while_it_is_held_takes_nothing_with_it() {
    let house = pulling().await;
    let api = house.api();
    let body = json!({ "worker": "ada", "wait": "30s" });
    for _ in 0..20 {
        let held = tokio::spawn({
            let (api, body) = (api.clone(), body.clone());
            async move { poll(&api, "bar", &body).await }
        });
        let seen = "select count(*) from worker where worker = 'ada'";
        until("it is held", async || (number(&house, seen).await == 1).then_some(())).await;
        held.abort();
    }
    let id = api.place(&order_of("latte")).await;
    complete(&api, &next(&api, "bob").await).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
}
