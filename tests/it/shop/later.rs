//! What an order is told after it was placed: another pickup time (O-14), a person's word (E-23), signals (E-19),
//! pauses (E-38), what became of a parked step (B7), and orders that are worth having until some time only (E-08).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::world::{
    api::{Answer, Api, order_of, order_with},
    house::House,
};

fn in_minutes(minutes: i64) -> String {
    (Timestamp::now() + SignedDuration::from_mins(minutes)).to_string()
}

fn pre_order(minutes: i64) -> Value {
    let mut order = order_of("latte");
    order["pickup_at"] = in_minutes(minutes).into();
    order
}

async fn change(api: &Api, id: &str, tag: Option<&str>, pickup_at: &str) -> Answer {
    let request = api.http.patch(api.url(&format!("/v1/orders/{id}")));
    let request = request.json(&json!({ "pickup_at": pickup_at }));
    api.send(tag.into_iter().fold(request, |it, tag| it.header("if-match", tag))).await
}

async fn waits(api: &Api, id: &str) -> Value {
    api.once(id, |it| it["steps"][1]["state"] == "waiting").await
}

async fn ask(api: &Api, id: &str, what: &str, body: &Value) -> Answer {
    api.post(&format!("/v1/orders/{id}/{what}"), body).await
}

#[tokio::test]
async fn a_pre_order_is_paid_now_and_begun_some_minutes_before_it_is_picked_up() {
    let house = House::with(&["--pickup-lead=10m"]).await;
    let api = house.api();
    let id = api.place(&pre_order(60)).await;
    let waiting = waits(&api, &id).await;
    assert_eq!((&waiting["status"], &waiting["money"]["captured"]), (&json!("PAID"), &json!(480)));
    let until: Timestamp =
        waiting["steps"][1]["waits_for"]["until"].as_str().unwrap().parse().unwrap();
    let pickup_at: Timestamp = waiting["pickup_at"].as_str().unwrap().parse().unwrap();
    let lead = pickup_at.duration_since(until);
    assert!((lead - SignedDuration::from_mins(10)).abs() < SignedDuration::from_secs(1), "{lead}");
    // Moved twice it is begun once: the second time is within the lead.
    let tag = format!("\"{}\"", waiting["version"]);
    let later = in_minutes(120);
    let moved = change(&api, &id, Some(&tag), &later).await.expect(200);
    assert_eq!(moved["id"], waiting["id"]);
    change(&api, &id, Some(&tag), &later).await.assert_refused(412, "version_changed");
    change(&api, &id, None, &later).await.assert_refused(428, "precondition_required");
    let gone = "2020-01-01T00:00:00Z";
    change(&api, &id, Some("*"), gone).await.assert_refused(422, "pickup_time_invalid");
    api.once(&id, |it| it["pickup_at"] != waiting["pickup_at"]).await;
    change(&api, &id, Some("*"), &in_minutes(5)).await.expect(200);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared"]);
    change(&api, &id, Some("*"), &in_minutes(50)).await.assert_refused(409, "order_closed");
}

#[tokio::test]
async fn a_pre_order_that_waits_is_cancelled_and_refunded() {
    let house = House::new().await;
    let api = house.api();
    let id = api.place(&pre_order(60)).await;
    waits(&api, &id).await;
    let reason = json!({ "data": { "reason": "it rains" } });
    ask(&api, &id, "signals/cancel", &reason).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("cancelled_by_customer")));
    let notice = audited.ledger.of("notice")[0].to_string();
    assert!(notice.contains("it rains"), "{notice}");
    let history = api.history(&id).await;
    assert!(
        history
            .iter()
            .any(|it| it["kind"] == "cancel_requested" && it["data"]["reason"] == "it rains")
    );
}

#[tokio::test]
async fn times_that_nobody_can_keep_are_refused_and_nothing_is_written() {
    let house = House::new().await;
    let api = house.api();
    let refused = async |change: fn(&mut Value)| {
        let mut order = order_of("latte");
        change(&mut order);
        api.post("/v1/orders", &order).await.assert_refused(422, "pickup_time_invalid");
    };
    refused(|it| it["pickup_at"] = in_minutes(-1).into()).await;
    refused(|it| it["pickup_at"] = in_minutes(60 * 24 * 61).into()).await;
    refused(|it| it["ready_by"] = in_minutes(-1).into()).await;
    refused(|it| {
        it["pickup_at"] = in_minutes(60).into();
        it["ready_by"] = in_minutes(30).into();
    })
    .await;
    let mut order = order_of("latte");
    order["pickup_at"] = "soon".into();
    api.post("/v1/orders", &order).await.assert_refused(422, "body_invalid");
    let listed = api.get("/v1/orders").await.expect(200);
    assert_eq!(listed["orders"], json!([]));
}

#[tokio::test]
async fn a_large_order_waits_for_a_persons_word_and_the_link_is_good_for_one() {
    let house = House::with(&["--approval-over=400"]).await;
    let api = house.api();
    let small = api.place(&order_of("espresso")).await;
    let [yes, no] = [api.place(&order_of("latte")).await, api.place(&order_of("latte")).await];
    assert_eq!(house.audited(&api, &small).await.end(), ("COMPLETED", None));
    for (id, approved) in [(&yes, true), (&no, false)] {
        let waiting = waits(&api, id).await;
        assert_eq!(waiting["attention"], "approval");
        let listed = api.get("/v1/attention").await.expect(200);
        let rows = listed["orders"].as_array().unwrap();
        let row = rows.iter().find(|it| it["order_id"] == **id).unwrap();
        let link = row["approve_url"].as_str().unwrap();
        let word = json!({ "approved": approved, "by": "ada", "reason": "a school class" });
        let forged = format!("{}A", &link[..link.len() - 1]);
        if forged != link {
            api.post(&forged, &word).await.assert_refused(404, "not_found");
        }
        api.post(link, &word).await.expect(202);
        api.post(link, &word).await.assert_refused(409, "already_decided");
        let audited = house.audited(&api, id).await;
        let end = if approved { ("COMPLETED", None) } else { ("REFUNDED", Some("not_approved")) };
        assert_eq!(audited.end(), end);
        api.post(link, &word).await.assert_refused(409, "already_decided");
    }
    let reserved = json!({ "data": { "approved": true, "by": "me" } });
    ask(&api, &no, "signals/approval", &reserved).await.assert_refused(422, "signal_reserved");
}

#[tokio::test]
async fn a_large_order_that_nobody_decides_on_ends_as_the_shop_has_it() {
    for (default, end) in
        [("refuse", ("REFUNDED", Some("not_approved"))), ("approve", ("COMPLETED", None))]
    {
        let default = format!("--approval-default={default}");
        let house = House::with(&["--approval-over=400", "--approval-timeout=1ms", &default]).await;
        let api = house.api();
        let id = api.place(&order_of("latte")).await;
        assert_eq!(house.audited(&api, &id).await.end(), end, "{default}");
    }
}

#[tokio::test]
async fn an_order_that_is_not_ready_in_time_is_given_up_and_refunded() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let mut order = order_with(&[("rehearse.kitchen", "slow")]);
    order["ready_by"] = (Timestamp::now() + SignedDuration::from_secs(3)).to_string().into();
    let id = api.place(&order).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("timed_out")));
    assert!(audited.kinds().contains(&"deadline_passed"));
}

#[tokio::test]
async fn signals_are_kept_and_told_once_a_key() {
    let house = House::of_two().await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let id = here.place(&pre_order(60)).await;
    waits(&there, &id).await;
    let path = format!("/v1/orders/{id}/signals/door_open");
    let send = async |api: &Api, key: &str| {
        let request = api.http.post(api.url(&path)).json(&json!({ "data": { "n": 1 } }));
        api.send(request.header("idempotency-key", key)).await.status
    };
    assert_eq!(send(&here, "1").await, 202);
    assert_eq!(send(&there, "1").await, 200);
    assert_eq!(send(&there, "2").await, 202);
    let told = |it: &[Value]| it.iter().filter(|it| it["kind"] == "signal_received").count() == 2;
    crate::world::until("both are journaled", async || {
        told(&here.history(&id).await).then_some(())
    })
    .await;
    for bad in ["signals/Door", "signals/a-b"] {
        ask(&here, &id, bad, &json!({})).await.assert_refused(400, "bad_request");
    }
    ask(&here, &id, "signals/pickup_at", &json!({})).await.assert_refused(422, "signal_reserved");
    let nul = json!({ "data": "a\u{0}b" });
    ask(&here, &id, "signals/x", &nul).await.assert_refused(422, "body_invalid");
    here.cancel(&id).await.expect(202);
    here.end(&id).await;
    assert_eq!(send(&here, "3").await, 409);
}

#[tokio::test]
async fn a_paused_order_begins_nothing_until_it_is_resumed() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 1_000 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "slow")])).await;
    let why = json!({ "by": "ada", "reason": "the machine is cleaned" });
    ask(&api, &id, "pause", &why).await.expect(202);
    let paused = api.once(&id, |it| it["status"] == "PAID").await;
    assert_eq!(
        (&paused["paused"]["by"], &paused["actions"]),
        (&json!("ada"), &json!(["cancel", "resume"]))
    );
    let said = api.get(&format!("/v1/orders/{id}/why")).await.expect(200);
    assert_eq!(said["waits_for"], "resumption");
    assert_eq!(house.ledger(&id).await.deeds(), ["captured"]);
    ask(&api, &id, "resume", &json!({})).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    ask(&api, &id, "pause", &why).await.assert_refused(409, "order_closed");
}

#[tokio::test]
async fn a_person_settles_a_parked_payment_and_the_books_add_up() {
    let house = House::new().await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.payment", "wrong_amount")])).await;
    api.once(&id, |it| it["attention"] == "amount_mismatch").await;
    let resolve = async |body: Value| ask(&api, &id, "resolve", &body).await;
    let unfit = json!({ "outcome": "done", "output": { "n": 1 }, "by": "ada", "reason": "seen" });
    resolve(unfit).await.assert_refused(422, "settlement_unfit");
    let nobody = json!({ "outcome": "refused", "code": "x", "by": "", "reason": "seen" });
    resolve(nobody).await.assert_refused(422, "body_invalid");
    let output = json!({ "receipt": "by hand 7", "amount": 450, "currency": "EUR" });
    let seen = json!({ "outcome": "done", "output": output, "by": "ada", "reason": "on paper" });
    resolve(seen.clone()).await.expect(202);
    let end = api.end(&id).await;
    assert_eq!((&end["status"], &end["money"]["captured"]), (&json!("COMPLETED"), &json!(450)));
    let replay = api.get(&format!("/v1/orders/{id}/replay")).await.expect(200);
    assert_eq!(replay["equal"], true, "{replay}");
    resolve(seen).await.assert_refused(409, "order_closed");
}

#[tokio::test]
async fn the_client_tells_orders_what_the_api_takes() {
    let house = House::new().await;
    let api = house.api();
    let id = api.place(&pre_order(60)).await;
    waits(&api, &id).await;
    for args in [
        &["signal", &id, "door_open", "--data={\"n\":1}"][..],
        &["pause", &id, "--reason=cleaning"],
        &["resume", &id],
        &["move", &id, &in_minutes(5)],
    ] {
        let (code, text) = super::commands::said(&house, args);
        assert_eq!(code, Some(0), "{args:?}: {text}");
    }
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
}
