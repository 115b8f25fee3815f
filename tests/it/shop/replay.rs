//! Journals that are folded and held against what is stored.

use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::time_travel::every_end;
use crate::world::{
    api::{Api, order_of, order_with},
    house::House,
    replica::{crema, run_to_end},
    until,
};

async fn replay(api: &Api, id: &str) -> Value {
    api.get(&format!("/v1/orders/{id}/replay")).await.expect(200)
}

/// What differs, which is to say what the journal and the tables tell otherwise.
fn differing(replay: &Value) -> Vec<&str> {
    let differences = replay["differences"].as_array().unwrap();
    assert_eq!(replay["equal"], differences.is_empty(), "{replay}");
    differences.iter().map(|it| it["what"].as_str().unwrap()).collect()
}

/// `crema order replay`: its exit code, and what it prints.
fn said(house: &House, id: &str) -> (Option<i32>, String) {
    let server = format!("--server={}", house.replicas()[0].base);
    let output = run_to_end(crema().args(["order", "replay", id, &server]));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_journal_of_every_end_tells_what_is_stored() {
    let house = House::new().await;
    let api = house.api();
    for id in every_end(&house).await {
        let (replay, history) = (replay(&api, &id).await, api.history(&id).await);
        assert_eq!(differing(&replay), [""; 0], "{replay}");
        assert_eq!(replay["seq"], history.len());
        let lines = replay["lines"].as_array().unwrap();
        for (line, event) in lines.iter().zip(&history) {
            for same in ["seq", "at", "kind", "step", "attempt"] {
                assert_eq!(line[same], event[same]);
            }
            let then = api.get(&format!("/v1/orders/{id}?seq={}", line["seq"])).await.expect(200);
            for same in ["status", "money", "attention"] {
                assert_eq!(line[same], then[same]);
            }
        }
        assert_eq!(lines.len(), history.len());
        let (code, text) = said(&house, &id);
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(text.lines().count(), history.len() + 1);
        assert_eq!(text.lines().last(), Some("replay: equal"));
    }
}

#[tokio::test]
async fn an_order_that_waits_or_needs_a_person_is_told_by_its_journal_too() {
    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    let api = house.api();
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let waiting = api.place(&order_with(&[("rehearse.payment", "down")])).await;
    api.once(&waiting, |it| it["steps"][0]["state"] == "waiting").await;
    let parked = api.place(&order_with(&[("rehearse.payment", "wrong_amount")])).await;
    api.once(&parked, |it| it["attention"].is_string()).await;
    let making = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    api.until(&making, "PREPARING").await;
    for id in [waiting, parked, making] {
        let replay = replay(&api, &id).await;
        assert_eq!(differing(&replay), [""; 0], "{replay}");
    }
}

#[tokio::test]
async fn an_order_that_costs_nothing_is_told_by_its_journal_too() {
    let house = House::new().await;
    let api = house.api();
    let free = json!({ "name": "Latte", "price": 0, "recipe": { "milk": 220 } });
    api.put("/v1/menu/items/latte", &free).await.expect(200);
    for mood in [("table", "7"), ("rehearse.kitchen", "out_of_ingredients")] {
        let mut order = order_with(&[mood]);
        order["items"][0]["item"] = json!("latte");
        let id = api.place(&order).await;
        api.end(&id).await;
        let replay = replay(&api, &id).await;
        assert_eq!(differing(&replay), [""; 0], "{replay}");
    }
}

/// Only the owner journals, and it is dead: a cancellation by way of the other replica is ahead of the journal.
#[tokio::test]
async fn a_cancellation_that_is_not_journaled_yet_is_no_difference() {
    let flags = ["--retry-backoff=1h", "--retry-backoff-max=1h"];
    let mut house = House::with(&flags).await;
    house.add(&flags).await;
    let id = house.api().place(&order_with(&[("rehearse.payment", "down")])).await;
    house.api().once(&id, |it| it["steps"][0]["state"] == "waiting").await;
    house.take_and_kill();
    let api = house.api();
    assert_eq!(api.cancel(&id).await.expect(202)["cancellation"], "requested");
    let replay = replay(&api, &id).await;
    assert_eq!(differing(&replay), [""; 0], "{replay}");
    let ended = "delete from inbox where saga_id = $id;
                 update saga set closed_status = 'FAILED', label = 'FAILED', wake_at = null
                  where saga_id = $id";
    let replay = touched(&api, &mut house.connection().await, &id, ended).await;
    // Overtaken by an end, it never will be journaled; that end is all that differs.
    assert!(!differing(&replay).contains(&"cancel_requested"), "{replay}");
}

/// Orders under way, retried and cancelled, are replayed all the time: a replay is of one moment.
#[tokio::test]
async fn at_no_moment_of_its_life_is_an_order_stored_otherwise_than_its_journal_tells() {
    let house = House::of_two().await;
    let [api, other] = [house.replicas()[0].api(), house.replicas()[1].api()];
    house.moods(&json!({ "slow_ms": 400 })).await;
    let moods = [
        ("table", "7"),
        ("rehearse.payment", "answer_lost"),
        ("rehearse.payment", "down"),
        ("rehearse.kitchen", "slow"),
        ("rehearse.kitchen", "out_of_ingredients"),
        ("rehearse.kitchen", "slow"),
    ];
    let placing = (0..36).map(|n| {
        let order = order_with(&[moods[n % moods.len()]]);
        let (api, is_cancelled) = (&api, n % moods.len() == 5);
        async move {
            let id = api.place(&order).await;
            if is_cancelled {
                api.cancel(&id).await.expect(202);
            }
            id
        }
    });
    let ids = join_all(placing).await;
    let watching = ids.iter().map(|id| {
        until("it closes", async || {
            let replay = replay(&other, id).await;
            assert_eq!(differing(&replay), [""; 0], "{replay}");
            let last = replay["lines"].as_array().unwrap().last().unwrap();
            (last["kind"] == "closed").then_some(())
        })
    });
    join_all(watching).await;
    house.audit_all(&api).await;
}

/// Does this to the tables, behind the engine's back, and asks what differs then.
async fn touched(api: &Api, connection: &mut PgConnection, id: &str, sql: &str) -> Value {
    sqlx::raw_sql(AssertSqlSafe(sql.replace("$id", &format!("'{id}'"))))
        .execute(connection)
        .await
        .unwrap();
    replay(api, id).await
}

#[tokio::test]
async fn a_row_that_somebody_touched_differs_from_its_journal() {
    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    let (api, mut connection) = (house.api(), house.connection().await);
    let id = api.place(&order_with(&[("rehearse.payment", "down")])).await;
    api.once(&id, |it| it["steps"][0]["state"] == "waiting").await;
    for (change, back, what) in [
        ("label = 'PAID'", "label = 'PENDING'", "label"),
        ("seq = seq + 1", "seq = seq - 1", "seq"),
        ("cursor = 1", "cursor = 0", "cursor"),
        ("past_pivot = true", "past_pivot = false", "past_pivot"),
        ("attention = 'x'", "attention = null", "attention"),
        ("cancel_requested = true", "cancel_requested = false", "cancel_requested"),
        (
            "wake_at = wake_at + interval '1 second'",
            "wake_at = wake_at - interval '1 second'",
            "wake_at",
        ),
    ] {
        let sql = |set| format!("update saga set {set} where saga_id = $id");
        let replay = touched(&api, &mut connection, &id, &sql(change)).await;
        assert_eq!(differing(&replay), [what], "{replay}");
        let replay = touched(&api, &mut connection, &id, &sql(back)).await;
        assert_eq!(differing(&replay), [""; 0], "{replay}");
    }
    // Nothing waits in its inbox, and it is not due: so nobody may have woken it.
    let slept = "update saga set wake_at = null where saga_id = $id";
    let replay = touched(&api, &mut connection, &id, slept).await;
    assert_eq!(differing(&replay), ["wake_at"]);
    assert_eq!(replay["differences"][0]["stored"], Value::Null);
}

#[tokio::test]
async fn books_that_somebody_touched_differ_from_the_journal() {
    let house = House::new().await;
    let (api, mut connection) = (house.api(), house.connection().await);
    let ids = every_end(&house).await;
    for (order, sql, what) in [
        (0, "delete from ledger where order_id = $id", "ledger"),
        (
            0,
            "update stock_move set quantities = '{1,1,1}' where order_id = $id and phase = 1",
            "stock_moves",
        ),
        (
            1,
            "insert into ledger (order_id, kind, amount, currency, receipt) values ($id, 'capture', 1, 'EUR', 'x')",
            "ledger",
        ),
        (
            2,
            "update ledger set amount = amount - 1 where order_id = $id and kind = 'refund'",
            "ledger",
        ),
        (
            3,
            "update stock_move set kind = 'deduct' where order_id = $id and phase = 2",
            "stock_moves",
        ),
        (4, "update orders set total = total + 1 where order_id = $id", "facts"),
        (
            5,
            "update saga set closed_reason = 'cancelled_by_shop' where saga_id = $id",
            "closed_reason",
        ),
    ] {
        let id: &str = &ids[order];
        let before = replay(&api, id).await;
        let replay = touched(&api, &mut connection, id, sql).await;
        let new: Vec<&str> =
            differing(&replay).into_iter().filter(|it| !differing(&before).contains(it)).collect();
        assert_eq!(new, [what], "{replay}");
        let (code, text) = said(&house, id);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("  {what}: the journal says ")), "{text}");
    }
}

#[tokio::test]
async fn a_journal_that_does_not_add_up_is_told_up_to_where_it_breaks() {
    let house = House::new().await;
    let (api, mut connection) = (house.api(), house.connection().await);
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    let sql = "update journal set kind = 'compensation_done' where saga_id = $id and seq = 3";
    let replay = touched(&api, &mut connection, &id, sql).await;
    assert_eq!(replay["lines"].as_array().unwrap().len(), 2);
    let differing = differing(&replay);
    assert_eq!(differing[0], "line");
    assert!(differing.contains(&"label") && differing.contains(&"stock_moves"), "{replay}");
    assert_eq!(replay["differences"][0]["stored"]["seq"], 3);
}
