//! The commands of the client that go back in an order's life and look ahead, against a real server.

use serde_json::{Value, json};

use crate::world::{
    api::order_with,
    house::House,
    replica::{crema, run_to_end},
};

/// `crema order …`: its exit code, and what it prints.
pub(super) fn said(house: &House, args: &[&str]) -> (Option<i32>, String) {
    let server = format!("--server={}", house.replicas()[0].base);
    let output = run_to_end(crema().arg("order").args(args).arg(server));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn json_of(house: &House, args: &[&str]) -> Value {
    let (code, text) = said(house, &[args, &["--json"]].concat());
    assert_eq!(code, Some(0), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_order_is_shown_as_it_stood_and_compared_with_itself() {
    let house = House::new().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "out_of_ingredients")])).await;
    let end = api.end(&id).await;
    let then = api.get(&format!("/v1/orders/{id}?seq=2")).await.expect(200);
    assert_eq!(json_of(&house, &["get", &id, "--seq=2"]), then);
    let at = format!("--at={}", end["closed_at"].as_str().unwrap());
    assert_eq!(json_of(&house, &["get", &id, &at]), end);
    let (code, text) = said(&house, &["get", &id, "--seq=2"]);
    assert!(code == Some(0) && text.contains("PAID"), "{text}");

    let diff = api.get(&format!("/v1/orders/{id}/diff?from=2&to=7")).await.expect(200);
    assert_eq!(json_of(&house, &["diff", &id, "2", "7"]), diff);
    let (code, text) = said(&house, &["diff", &id, "2", "7"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("/status") && text.contains("\"REFUNDED\""), "{text}");
    assert!(text.contains("captured +0, refunded +450 (minor units)"), "{text}");

    for args in [&["get", &id, "--seq=99"][..], &["diff", &id, "1", "99"]] {
        let (code, text) = said(&house, args);
        assert_eq!((code, text.contains("seq_beyond_end")), (Some(1), true), "{text}");
    }
    let replay = api.get(&format!("/v1/orders/{id}/replay")).await.expect(200);
    assert_eq!(json_of(&house, &["replay", &id]), replay);
}

#[tokio::test]
async fn dry_runs_say_what_would_be() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let place = ["place", "croissant:2", "--customer=ada", "--dry-run"];
    let (code, text) = said(&house, &place);
    assert_eq!(code, Some(0), "{text}");
    for word in ["it would be accepted, for 6.00 EUR", "payment", "PAID", "2 piece", "498"] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
    assert_eq!(json_of(&house, &place)["dry_run"], true);
    let (code, text) = said(&house, &["place", "tea", "--customer=ada", "--dry-run"]);
    assert_eq!((code, text.contains("item_unknown")), (Some(1), true), "{text}");
    assert_eq!(api.stock("croissant").await, (500, 0));

    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    api.until(&id, "PREPARING").await;
    let (code, text) = said(&house, &["cancel", &id, "--dry-run", "--by=shop"]);
    assert_eq!(code, Some(0), "{text}");
    for word in ["it would end as REFUNDED (cancelled_by_shop)", "returned would be 4.50 EUR"] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
    let lines: Vec<&str> =
        text.lines().filter(|it| it.contains("maybe") || it.contains("yes")).collect();
    assert!(lines[0].contains("preparation") && lines[1].contains("payment"), "{text}");
    assert_eq!(api.order(&id).await["cancellation"], Value::Null);
}
