//! Orders as they stood: by line, by time, and what changed in between.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::hostile::refuse_all;
use crate::world::{
    api::{Answer, Api, order_of, order_with},
    house::House,
};

/// One order of each end, all of them over.
pub(super) async fn every_end(house: &House) -> Vec<String> {
    let api = house.api();
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let mut ids = Vec::new();
    for mood in [
        ("table", "7"),
        ("rehearse.payment", "decline"),
        ("rehearse.kitchen", "out_of_ingredients"),
        ("rehearse.inventory", "refuse"),
    ] {
        ids.push(api.place(&order_with(&[mood])).await);
    }
    for (mood, status) in [("rehearse.kitchen", "PREPARING"), ("rehearse.payment", "PENDING")] {
        let id = api.place(&order_with(&[(mood, "slow")])).await;
        api.until(&id, status).await;
        api.cancel(&id).await.expect(202);
        ids.push(id);
    }
    for id in &ids {
        api.end(id).await;
    }
    ids
}

async fn as_of(api: &Api, id: &str, moment: &str) -> Answer {
    api.get(&format!("/v1/orders/{id}?{moment}")).await
}

async fn at_line(api: &Api, id: &str, seq: usize) -> Value {
    let answer = as_of(api, id, &format!("seq={seq}")).await;
    assert_eq!(answer.header("as-of-seq"), Some(&*seq.to_string()));
    answer.expect(200)
}

#[tokio::test]
async fn after_its_last_line_a_closed_order_stood_as_it_stands() {
    let house = House::new().await;
    let api = house.api();
    let mut ends = Vec::new();
    for id in every_end(&house).await {
        let (order, history) = (api.order(&id).await, api.history(&id).await);
        assert_eq!(at_line(&api, &id, history.len()).await, order);
        let closed_at = order["closed_at"].as_str().unwrap();
        assert_eq!(as_of(&api, &id, &format!("at={closed_at}")).await.expect(200), order);
        ends.push(order["status"].clone());
        if order["status"] == "COMPLETED" {
            let code = order["pickup_code"].as_str().unwrap();
            let collected = api.collect(&id, code).await.expect(200);
            // Collecting has a time and no line.
            assert_eq!(at_line(&api, &id, history.len()).await, order);
            let moment = format!("at={}", collected["collected_at"].as_str().unwrap());
            assert_eq!(as_of(&api, &id, &moment).await.expect(200), collected);
            assert_eq!(as_of(&api, &id, "at=2999-01-01T00:00:00Z").await.expect(200), collected);
        }
    }
    assert_eq!(
        Value::Array(ends),
        json!(["COMPLETED", "FAILED", "REFUNDED", "REFUNDED", "REFUNDED", "CANCELLED"])
    );
}

#[tokio::test]
async fn every_line_of_a_journal_leads_to_an_order() {
    let house = House::new().await;
    let api = house.api();
    for id in every_end(&house).await {
        let (end, history) = (api.order(&id).await, api.history(&id).await);
        let mut last = at_line(&api, &id, 1).await;
        assert_eq!((&last["status"], &last["version"]), (&json!("PENDING"), &json!(1)), "{last}");
        assert_eq!(last["money"], json!({ "captured": 0, "refunded": 0 }));
        assert_eq!(last["steps"][0]["state"], "running");
        assert_eq!(last["actions"], json!(["cancel"]));
        for event in &history[1..] {
            let order = at_line(&api, &id, event["seq"].as_u64().unwrap() as usize).await;
            for kept in ["id", "items", "total", "created_at", "pickup_code", "attributes"] {
                assert_eq!(order[kept], end[kept]);
            }
            for rises in ["/version", "/money/captured", "/money/refunded"] {
                let [old, new] = [&last, &order].map(|it| it.pointer(rises).unwrap().as_i64());
                assert!(new >= old, "{rises} falls: {last}\n{order}");
            }
            let is_closed = event["kind"] == "closed";
            assert_eq!(order["closed_at"].is_string(), is_closed, "{order}");
            assert_eq!(order["updated_at"], event["at"]);
            // The money of an order is seen with the line that tells of it, and not before.
            let captured = event["kind"] == "step_done" && event["step"] == "payment";
            let changes = order["money"]["captured"] != last["money"]["captured"];
            assert_eq!(changes, captured, "{event}\n{last}\n{order}");
            last = order;
        }
        assert_eq!(last["status"], end["status"]);
    }
}

#[tokio::test]
async fn the_status_is_the_one_that_was_shown_then() {
    let house = House::new().await;
    let api = house.api();
    house.moods(&json!({ "slow_ms": 300 })).await;
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    api.end(&id).await;
    let mut told = Vec::new();
    for event in api.history(&id).await {
        let order = at_line(&api, &id, event["seq"].as_u64().unwrap() as usize).await;
        let (kind, status) = (event["kind"].as_str().unwrap(), order["status"].as_str().unwrap());
        told.push(format!("{kind} {status}"));
    }
    let want = [
        "started PENDING",
        "step_done PAID",
        "step_done PAID",
        "step_reached PREPARING",
        "step_done PREPARING",
        "step_done READY",
        "step_done READY",
        "closed COMPLETED",
    ];
    assert_eq!(told, want);
}

#[tokio::test]
async fn an_order_that_waits_stood_as_it_is_shown_while_it_waits() {
    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "down")])).await;
    let waiting = api.once(&id, |it| it["steps"][0]["state"] == "waiting").await;
    assert_eq!(at_line(&api, &id, 2).await, waiting);
    assert_eq!(waiting["actions"], json!(["cancel", "retry"]));
    let at = waiting["updated_at"].as_str().unwrap();
    assert_eq!(as_of(&api, &id, &format!("at={at}")).await.expect(200), waiting);
    // Of a time to come nothing is known, not even that the next attempt is due by then.
    assert_eq!(as_of(&api, &id, "at=2999-01-01T00:00:00Z").await.expect(200), waiting);
    // A person asks for the next attempt: the one before stays as it was.
    api.post(&format!("/v1/orders/{id}/retry"), &json!({})).await.expect(202);
    api.once(&id, |it| it["steps"][0]["attempts"] == 2 && it["steps"][0]["state"] == "waiting")
        .await;
    assert_eq!(at_line(&api, &id, 2).await, waiting);
    let now = api.order(&id).await;
    let last = api.history(&id).await.len();
    assert_eq!(at_line(&api, &id, last).await, now);
}

#[tokio::test]
async fn an_order_that_needed_a_person_still_does_in_its_past() {
    let house = House::new().await;
    house.moods(&json!({ "refund": "down" })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "out_of_ingredients")])).await;
    api.once(&id, |it| it["attention"] == "payment_compensation").await;
    house.moods(&json!({ "refund": null })).await;
    let end = api.end(&id).await;
    assert_eq!((&end["status"], &end["attention"]), (&json!("REFUNDED"), &Value::Null));
    let history = api.history(&id).await;
    let parked = history.iter().find(|it| it["kind"] == "parked").unwrap();
    let then = at_line(&api, &id, parked["seq"].as_u64().unwrap() as usize).await;
    assert_eq!(then["attention"], "payment_compensation");
    assert_eq!((&then["status"], &then["closed_reason"]), (&json!("PAID"), &Value::Null));
    assert_eq!(then["steps"][0]["compensation"]["attempts"], 10);
}

#[tokio::test]
async fn a_time_shows_what_was_written_by_then() {
    let house = House::new().await;
    let api = house.api();
    for id in every_end(&house).await {
        let history = api.history(&id).await;
        for event in &history {
            let at = event["at"].as_str().unwrap();
            // Lines of one commit have one time, and are seen together.
            let last = history.iter().rfind(|it| it["at"] == event["at"]).unwrap();
            let seq = last["seq"].to_string();
            let answer = as_of(&api, &id, &format!("at={at}")).await;
            assert_eq!(answer.header("as-of-seq"), Some(&*seq));
            let want = as_of(&api, &id, &format!("seq={seq}")).await.expect(200);
            assert_eq!(answer.expect(200), want);
        }
        let first: Timestamp = history[0]["at"].as_str().unwrap().parse().unwrap();
        let before = first - SignedDuration::from_micros(1);
        as_of(&api, &id, &format!("at={before}")).await.assert_refused(404, "not_placed_yet");
    }
}

#[tokio::test]
async fn a_patch_makes_the_order_at_one_line_the_order_at_another() {
    let house = House::new().await;
    let api = house.api();
    for id in every_end(&house).await {
        let count = api.history(&id).await.len();
        let mut orders = Vec::new();
        for seq in 1..=count {
            orders.push(at_line(&api, &id, seq).await);
        }
        for (from, old) in (1..).zip(&orders) {
            for (to, new) in (1..).zip(&orders) {
                let path = format!("/v1/orders/{id}/diff?from={from}&to={to}");
                let diff = api.get(&path).await.expect(200);
                assert_eq!((&diff["from"], &diff["to"]), (&json!(from), &json!(to)));
                let patch: json_patch::Patch =
                    serde_json::from_value(diff["patch"].clone()).unwrap();
                assert_eq!(patch.is_empty(), from == to, "{diff}");
                let mut patched = old.clone();
                json_patch::patch(&mut patched, &patch).unwrap();
                assert_eq!(&patched, new, "{diff}");
                for which in ["captured", "refunded"] {
                    let [old, new] = [old, new].map(|it| it["money"][which].as_i64().unwrap());
                    assert_eq!(diff["money"][which], new - old, "{diff}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_past_has_an_etag_of_its_own() {
    let house = House::shared().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    let url = api.url(&format!("/v1/orders/{id}?seq=2"));
    let first = api.send(api.http.get(&url)).await;
    let etag = first.header("etag").unwrap();
    assert_eq!(etag, format!("\"{}\"", first.json()["version"]));
    let again = api.send(api.http.get(&url).header("if-none-match", etag)).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(again.header("as-of-seq"), Some("2"));
}

#[tokio::test]
async fn what_never_was_is_not_shown() {
    let house = House::new().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    let last = api.history(&id).await.len();
    let get = |path: String| api.http.get(api.url(&path));
    let mut requests = Vec::new();
    for (query, status, code) in [
        ("seq=0", 400, "invalid_query"),
        ("seq=-1", 400, "invalid_query"),
        ("seq=one", 400, "invalid_query"),
        ("seq=99999999999999999999", 400, "invalid_query"),
        ("seq=", 400, "invalid_query"),
        ("seq=1&seq=2", 400, "invalid_query"),
        ("seq=2147483647", 422, "seq_beyond_end"),
        ("at=yesterday", 400, "invalid_query"),
        ("at=", 400, "invalid_query"),
        ("at=2026-11-24T21:00:00", 400, "invalid_query"),
        ("at=2026-11-24T21:00:00Z%00", 400, "invalid_query"),
        ("at=1970-01-01T00:00:00Z", 404, "not_placed_yet"),
        ("at=-009999-01-02T01:59:59Z", 404, "not_placed_yet"),
        ("at=2999-01-01T00:00:00Z&seq=1", 422, "query_conflict"),
        ("seq=1&wait=1s", 422, "query_conflict"),
        ("seq=1&until=READY", 422, "query_conflict"),
        ("at=2999-01-01T00:00:00Z&wait=1s&until=terminal", 422, "query_conflict"),
        ("line=1", 400, "invalid_query"),
    ] {
        requests.push((get(format!("/v1/orders/{id}?{query}")), status, code));
    }
    let beyond = format!("/v1/orders/{id}?seq={}", last + 1);
    let answer = api.get(&beyond).await;
    answer.assert_refused(422, "seq_beyond_end");
    assert_eq!(answer.json()["last_seq"], last);
    for (query, status, code) in [
        ("", 400, "invalid_query"),
        ("?from=1", 400, "invalid_query"),
        ("?to=1", 400, "invalid_query"),
        ("?from=0&to=1", 400, "invalid_query"),
        ("?from=1&to=-5", 400, "invalid_query"),
        ("?from=1&to=2&wait=1s", 400, "invalid_query"),
        ("?from=1&to=2147483647", 422, "seq_beyond_end"),
        ("?from=2147483647&to=1", 422, "seq_beyond_end"),
    ] {
        requests.push((get(format!("/v1/orders/{id}/diff{query}")), status, code));
    }
    for (path, status, code) in [
        ("01a202e4-2486-75c3-9d89-0400dddcea00?seq=1", 404, "not_found"),
        ("01a202e4-2486-75c3-9d89-0400dddcea00?at=2999-01-01T00:00:00Z", 404, "not_found"),
        ("01a202e4-2486-75c3-9d89-0400dddcea00/diff?from=1&to=1", 404, "not_found"),
        ("01a202e4-2486-75c3-9d89-0400dddcea00/replay", 404, "not_found"),
        ("nope?seq=1", 400, "invalid_id"),
        ("nope/replay", 400, "invalid_id"),
        ("%00/diff?from=1&to=1", 400, "invalid_id"),
    ] {
        requests.push((get(format!("/v1/orders/{path}")), status, code));
    }
    refuse_all(&house, requests).await;
}
