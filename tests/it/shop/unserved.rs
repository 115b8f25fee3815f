//! Queues that nobody serves, and what nobody serves them with (E-30).

use serde_json::{Value, json};

use super::workers::{complete, execute, next, number, pulling, tasks_are_there};
use crate::world::{
    api::order_of,
    house::House,
    replica::{crema, run_to_end},
    until,
};

#[tokio::test]
async fn a_queue_with_work_that_nobody_asks_for_is_noticed() {
    let house = pulling().await;
    let api = house.api();
    let queues =
        |more: &[&str]| run_to_end(crema().args(["queues", "--server", &api.url("")]).args(more));
    assert!(queues(&[]).status.success());
    let ids = [api.place(&order_of("latte")).await, api.place(&order_of("espresso")).await];
    tasks_are_there(&house, 2).await;
    let metric = async |words: &str| {
        until(words, async || {
            api.get("/metrics").await.text.lines().any(|it| it == words).then_some(())
        })
        .await;
    };
    let why = async |id: &str| {
        let why = api.get(&format!("/v1/orders/{id}/why")).await.expect(200);
        (why["why"].as_str().unwrap().to_owned(), why["waits_for"].clone())
    };
    let (said, waits_for) = why(&ids[1]).await;
    assert!(
        said.starts_with(
            "It waits for a barista: 1 ticket is before it in bar; nobody has ever asked"
        ),
        "{said}"
    );
    assert_eq!(waits_for, "worker");
    execute(&house, "update task set created_at = created_at - interval '1 minute'").await;
    metric("crema_queue_unserved{queue=\"bar\"} 1").await;
    metric("crema_queue_depth{queue=\"bar\",state=\"ready\"} 2").await;
    until("it is logged", async || {
        house.replicas_log().contains("nobody asks for work of this queue").then_some(())
    })
    .await;
    let told = queues(&["--json"]);
    assert_eq!(told.status.code(), Some(1), "there is work that nobody asks for");
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (&told["queues"][0]["unserved"], &told["queues"][0]["ready"]),
        (&json!(true), &json!(2))
    );
    let table = String::from_utf8(queues(&[]).stdout).unwrap();
    assert!(table.contains("nobody asks for this work"), "{table}");
    // Somebody asks: that is all that was missing.
    complete(&api, &next(&api, "ada").await).await;
    metric("crema_queue_unserved{queue=\"bar\"} 0").await;
    assert!(queues(&[]).status.success());
    let details = api.get("/v1/queues/bar").await.expect(200);
    assert_eq!((&details["workers"][0]["worker"], &details["done"]), (&json!("ada"), &json!(1)));
    api.get("/v1/queues/nowhere").await.assert_refused(404, "not_found");
}

#[tokio::test]
async fn what_no_worker_would_say_is_refused_and_changes_nothing() {
    let house = House::shared().await;
    let api = house.api();
    let long = "x".repeat(65);
    let polls = [
        json!({}),
        json!({ "worker": "" }),
        json!({ "worker": 7 }),
        json!({ "worker": "ada", "max": 0 }),
        json!({ "worker": "ada", "max": 101 }),
        json!({ "worker": "ada", "max": -1 }),
        json!({ "worker": "ada", "wait": "31s" }),
        json!({ "worker": "ada", "wait": "soon" }),
        json!({ "worker": "ada", "lease": "0s" }),
        json!({ "worker": "ada", "lease": "1801s" }),
        json!({ "worker": "ada", "queues": ["Bar"] }),
        json!({ "worker": "ada", "queues": vec!["bar"; 17] }),
        json!({ "worker": "ada", "surprise": 1 }),
    ];
    for body in polls {
        api.post("/v1/queues/bar/poll", &body).await.assert_refused(422, "body_invalid");
    }
    for queue in ["B%20r", "%C3%A4", &long] {
        let answer =
            api.post(&format!("/v1/queues/{queue}/poll"), &json!({ "worker": "ada" })).await;
        answer.assert_refused(422, "body_invalid");
    }
    let nobody = "0".repeat(64);
    for what in ["heartbeat", "complete", "release"] {
        for token in ["1", &"z".repeat(64), &nobody[1..]] {
            let answer = api.post(&format!("/v1/tasks/{token}/{what}"), &json!({})).await;
            answer.assert_refused(400, "invalid_id");
        }
        let answer = api.post(&format!("/v1/tasks/{nobody}/{what}"), &json!({})).await;
        answer.assert_refused(404, "not_found");
    }
    let big = json!({ "result": "x".repeat(17_000), });
    let answer = api.post(&format!("/v1/tasks/{nobody}/complete"), &big).await;
    answer.assert_refused(422, "body_invalid");
    for body in [json!({}), json!({ "code": "Not So" }), json!({ "code": long })] {
        let answer = api.post(&format!("/v1/tasks/{nobody}/fail"), &body).await;
        answer.assert_refused(422, "body_invalid");
    }
    let reasons = json!({ "by": "ada", "reason": "x" });
    for (name, value) in
        [("max_in_flight", json!(-1)), ("rate", json!(0)), ("rate", json!(1e9)), ("by", json!(""))]
    {
        let mut body = reasons.clone();
        body[name] = value;
        api.put("/v1/queues/bar/limits", &body).await.assert_refused(422, "body_invalid");
    }
    let mut order = order_of("latte");
    for priority in [0, 10, -1] {
        order["priority"] = json!(priority);
        api.post("/v1/orders", &order).await.assert_refused(422, "body_invalid");
    }
    let station = json!({ "name": "Tea", "price": 1, "station": "The Bar", "recipe": {} });
    api.put("/v1/menu/items/tea", &station).await.assert_refused(422, "body_invalid");
    assert_eq!(number(house, "select count(*) from worker").await, 0);
    assert_eq!(number(house, "select count(*) from queue").await, 0);
}
