//! Limits and circuits of participants over HTTP and from the command line (B20, B28, E-31, E-32, E-35).

use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::{
    api::{Api, order_of},
    house::{FAST, House},
    replica::{crema, run_to_end},
    teller::Teller,
    until,
};

async fn limit(api: &Api, name: &str, body: Value) -> Value {
    api.put(&format!("/v1/participants/{name}/limits"), &body).await.expect(200)
}

async fn participant(api: &Api, name: &str) -> Value {
    api.get(&format!("/v1/participants/{name}")).await.expect(200)
}

async fn why(api: &Api, id: &str) -> Value {
    api.get(&format!("/v1/orders/{id}/why")).await.expect(200)
}

/// The reason, once it is this.
async fn why_once(api: &Api, id: &str, waits_for: &str) -> Value {
    until(waits_for, async || Some(why(api, id).await).filter(|it| it["waits_for"] == waits_for))
        .await
}

#[tokio::test]
async fn an_order_that_waits_for_a_slot_says_so_on_every_replica_and_can_be_cancelled() {
    let house = House::of_two().await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    house.moods(&json!({ "kitchen": "slow", "slow_ms": 60_000 })).await;
    let set =
        limit(&here, "kitchen", json!({ "max_in_flight": 1, "by": "ada", "reason": "one hob" }));
    let set = set.await;
    assert_eq!((&set["max_in_flight"], &set["rate"]), (&json!(1), &json!(null)));
    let change = &set["changes"][0];
    assert_eq!((&change["by"], &change["reason"]), (&json!("ada"), &json!("one hob")));
    // Until both have heard of it, some go by.
    let held_up = until("one waits", async || {
        let id = here.place(&order_of("latte")).await;
        here.once(&id, |it| it["status"] != "PENDING").await;
        let waits = why(&here, &id).await["waits_for"] == "slot";
        waits.then_some(id)
    })
    .await;
    let sentence = "Waiting for a slot: ";
    for api in [&here, &there] {
        let why = why_once(api, &held_up, "slot").await;
        let text = why["why"].as_str().unwrap();
        assert!(text.starts_with(sentence) && text.contains(" of 1 in kitchen; then the kitchen"));
    }
    here.cancel(&held_up).await.expect(202);
    let order = here.end(&held_up).await;
    assert_eq!(order["status"], "REFUNDED");
    let kitchen = order["steps"].as_array().unwrap().iter().find(|it| it["name"] == "preparation");
    let kitchen = kitchen.unwrap();
    assert_eq!((&kitchen["state"], &kitchen["attempts"]), (&json!("skipped"), &json!(0)));
    assert!(kitchen.get("compensation").is_none(), "nothing was begun: {kitchen}");
}

#[tokio::test]
async fn a_circuit_opens_holds_orders_up_without_attempts_and_closes_again() {
    let mut house = House::with(&["--retry-backoff=300ms", "--retry-backoff-max=300ms"]).await;
    house.add(&["--retry-backoff=300ms", "--retry-backoff-max=300ms"]).await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    house.moods(&json!({ "payment": "down" })).await;
    let order = order_of("espresso");
    let first = join_all((0..8).map(|_| here.place(&order))).await;
    until("the circuit opens", async || {
        (participant(&there, "payment").await["circuit"]["state"] == "open").then_some(())
    })
    .await;
    let late = here.place(&order).await;
    for api in [&here, &there] {
        let why = why_once(api, &late, "circuit").await;
        let text = why["why"].as_str().unwrap();
        assert!(text.starts_with("Payment's circuit is open since "), "{text}");
    }
    house.moods(&json!({ "payment": null })).await;
    for id in first.iter().chain([&late]) {
        assert_eq!(here.end(id).await["status"], "COMPLETED", "none was burnt");
    }
    let attempts = |order: &Value| order["steps"][0]["attempts"].as_i64().unwrap();
    assert!(attempts(&here.order(&late).await) <= 2, "at most as the probe");
    assert_eq!(participant(&here, "payment").await["circuit"]["state"], "closed");
    let metrics = here.send(here.http.get(here.url("/metrics"))).await.text;
    assert!(metrics.contains("crema_breaker_state{participant=\"payment\"} 0"), "{metrics}");
    assert!(house.replicas_log().contains("the circuit of a participant has changed"));
    house.audit_all(&here).await;
}

#[tokio::test]
async fn limits_survive_a_restart_and_a_takeover() {
    let mut house = House::new().await;
    limit(&house.api(), "payment", json!({ "max_in_flight": 3, "rate": 50, "reason": "a test" }))
        .await;
    house.take_and_kill();
    house.add(&FAST).await;
    let api = house.api();
    let kept = participant(&api, "payment").await;
    assert_eq!((&kept["max_in_flight"], &kept["rate"]), (&json!(3), &json!(50.0)));
    let order = order_of("espresso");
    let ids = join_all((0..20).map(|_| api.place(&order))).await;
    for id in ids {
        assert_eq!(api.end(&id).await["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn of_three_processes_one_of_which_is_killed_never_four_call_a_participant_of_three() {
    let teller = Teller::open().await;
    let [url, secret] = teller.flags();
    let flags = [&FAST[..], &["--lease-seconds=2", "--rehearsal", &url, &secret]].concat();
    let mut house = House::with(&flags).await;
    // Before anybody calls: what is out when a limit is set is out.
    limit(&house.api(), "notifier", json!({ "max_in_flight": 3, "reason": "a test" })).await;
    house.add(&flags).await;
    house.add(&flags).await;
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    let order = order_of("espresso");
    let ids = join_all((0..240).map(|n| apis[n % 3].place(&order))).await;
    until("some have been told", async || (teller.all() > 30).then_some(())).await;
    house.take_and_kill();
    let api = house.api();
    for id in &ids {
        assert_eq!(api.end(id).await["status"], "COMPLETED");
    }
    assert!(teller.all() >= 240 && teller.most() == 3, "{} at once", teller.most());
    let notifier = until("nothing is held", async || {
        let it = participant(&api, "notifier").await;
        (it["in_flight"] == 0 && it["waiting"] == 0).then_some(it)
    })
    .await;
    assert_eq!(notifier["replicas"].as_array().unwrap().len(), 2, "the dead one's is gone");
}

#[tokio::test]
async fn what_is_no_limit_is_refused_and_changes_nothing() {
    let house = House::new().await;
    let api = house.api();
    let put = async |path: &str, body: Value| {
        api.put(&format!("/v1/participants/{path}"), &body).await.refusal()
    };
    let reason = "a test";
    for body in [
        json!({}),
        json!({ "reason": reason }),
        json!({ "max_in_flight": 7 }),
        json!({ "max_in_flight": 7, "reason": "" }),
        json!({ "max_in_flight": 7, "reason": "x".repeat(201) }),
        json!({ "max_in_flight": 7, "reason": reason, "by": "" }),
        json!({ "max_in_flight": -1, "reason": reason }),
        json!({ "max_in_flight": 7.5, "reason": reason }),
        json!({ "max_in_flight": "7", "reason": reason }),
        json!({ "max_in_flight": 100_001, "reason": reason }),
        json!({ "max_in_flight": 9_000_000_000_000_000_000_u64, "reason": reason }),
        json!({ "rate": 0, "reason": reason }),
        json!({ "rate": -2.5, "reason": reason }),
        json!({ "rate": 0.0001, "reason": reason }),
        json!({ "rate": 1e300, "reason": reason }),
        json!({ "rate": "fast", "reason": reason }),
        json!({ "rate": 1, "reason": "nul \u{0}" }),
        json!({ "rate": 1, "reason": reason, "burst": 3 }),
    ] {
        let (status, code) = put("payment/limits", body.clone()).await;
        assert_eq!((status, code.as_str()), (422, "body_invalid"), "{body}");
    }
    for body in [json!({ "state": "ajar", "reason": reason }), json!({ "state": "open" })] {
        assert_eq!(put("payment/circuit", body).await.0, 422);
    }
    let fine = json!({ "max_in_flight": 7, "reason": reason });
    assert_eq!(put("dishwasher/limits", fine).await, (404, "not_found".to_owned()));
    let hold = json!({ "state": "open", "reason": reason });
    assert_eq!(put("dishwasher/circuit", hold).await, (404, "not_found".to_owned()));
    api.get("/v1/participants/dishwasher").await.assert_refused(404, "not_found");
    let listed = api.get("/v1/participants").await.expect(200);
    let names: Vec<&Value> =
        listed["participants"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["kitchen", "notifier", "payment"]);
    let payment = participant(&api, "payment").await;
    assert_eq!((&payment["max_in_flight"], &payment["rate"]), (&json!(null), &json!(null)));
    assert_eq!(payment["changes"], json!([]));
}

#[tokio::test]
async fn limits_and_circuits_are_set_from_the_command_line() {
    let house = House::new().await;
    let server = format!("--server={}", house.replicas()[0].base);
    let run = async |args: &[&str]| {
        let mut command = crema();
        command.arg("participants").args(args).arg(&server);
        let output = tokio::task::spawn_blocking(move || run_to_end(&mut command)).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let limited = run(&["limit", "payment", "--max-in-flight=7", "--reason=a drill"]).await;
    assert!(limited.contains("a drill") && limited.contains(" 7 "), "{limited}");
    run(&["limit", "payment", "--rate=2.5", "--reason=a drill"]).await;
    let payment = participant(&house.api(), "payment").await;
    assert_eq!((&payment["max_in_flight"], &payment["rate"]), (&json!(7), &json!(2.5)));
    run(&["limit", "payment", "--max-in-flight=none", "--rate=none", "--reason=over"]).await;
    let payment = participant(&house.api(), "payment").await;
    assert_eq!((&payment["max_in_flight"], &payment["rate"]), (&json!(null), &json!(null)));
    run(&["circuit", "kitchen", "open", "--reason=a drill", "--by=ada"]).await;
    let table = run(&[]).await;
    assert!(table.contains("open, held since"), "{table}");
    let shown = run(&["show", "kitchen"]).await;
    assert!(shown.contains("held_open") && shown.contains("ada"), "{shown}");
    run(&["circuit", "kitchen", "auto", "--reason=over"]).await;
    assert_eq!(participant(&house.api(), "kitchen").await["circuit"]["state"], "closed");
}
