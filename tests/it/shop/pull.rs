//! Orders whose preparation workers pull: from end to end, cancelled, refused, in vain (B19, E-30, O-17).

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::workers::{
    Process, complete, execute, next, number, poll, pulling, states, tasks_are_there, tell,
};
use crate::world::{
    api::{Api, order_of, order_with},
    house::{FAST, House},
    until,
};

fn order_of_two() -> Value {
    let mut order = order_of("latte");
    order["items"].as_array_mut().unwrap().push(json!({ "item": "espresso", "quantity": 2 }));
    order
}

/// The labels that an order went through, by its journal.
async fn reached(api: &Api, id: &str) -> Vec<String> {
    let history = api.history(id).await;
    let labels = history.iter().filter(|it| it["kind"] == "step_reached");
    labels.map(|it| it["data"]["label"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_order_is_made_by_baristas_from_end_to_end() {
    let house = pulling().await;
    let api = house.api();
    let mut work = Process::work(&api, "ada", &["--queue=bar", "--concurrency=4", "--takes=50ms"]);
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(api.place(&order_of_two()).await);
    }
    for id in &orders {
        let audited = house.audited(&api, id).await;
        assert_eq!(audited.end(), ("COMPLETED", None));
        assert_eq!(audited.ledger.deeds(), ["captured"], "the kitchen was not asked");
        assert_eq!(reached(&api, id).await, ["PREPARING"]);
        assert_eq!(audited.step("preparation")["attempts"], 1);
        let replay = api.get(&format!("/v1/orders/{id}/replay")).await.expect(200);
        assert_eq!(replay["differences"], json!([]), "{replay}");
    }
    house.audit_all(&api).await;
    work.signal(Signal::SIGTERM);
    assert!(work.ended().await);
    assert_eq!(number(&house, "select count(*) from task where state = 'done'").await, 10);
}

#[tokio::test]
async fn a_few_lines_of_python_are_a_worker() {
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let house = pulling().await;
    let api = house.api();
    let id = api.place(&order_of_two()).await;
    let mut command = Command::new("python3");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/worker.py");
    command.args([script, &api.url(""), "bar", "2"]);
    let mut worker = Process::start(command);
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
    assert!(worker.ended().await);
}

#[tokio::test]
async fn what_a_killed_worker_had_in_hand_another_goes_on_with() {
    let house = pulling().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let work = Process::work(&api, "ada", &["--queue=bar", "--takes=1h", "--lease-seconds=1800"]);
    let told = "select count(*) from task where progress is not null and worker = 'ada'";
    until("it tells of its progress", async || (number(&house, told).await == 1).then_some(()))
        .await;
    work.signal(Signal::SIGKILL);
    // Half an hour passes in silence.
    let silence =
        "update task set leased_until = now() - interval '1 s', progress = '{\"percent\": 60}'";
    execute(&house, silence).await;
    let task = next(&api, "bob").await;
    assert_eq!((&task["attempt"], &task["progress"]["percent"]), (&json!(2), &json!(60)));
    complete(&api, &task).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_gives_back_what_it_has() {
    let house = pulling().await;
    let api = house.api();
    api.place(&order_of("latte")).await;
    let mut work = Process::work(&api, "ada", &["--queue=bar", "--takes=1h"]);
    work.says("begins 1 latte").await;
    work.signal(Signal::SIGTERM);
    assert!(work.ended().await);
    work.says("gives back").await;
    let task = next(&api, "bob").await;
    assert_eq!(task["attempt"], 1, "nobody has tried");
}

#[tokio::test]
async fn an_order_can_be_cancelled_at_every_point_of_a_pulled_preparation() {
    let house = pulling().await;
    let api = house.api();
    // Nobody has begun.
    let id = api.place(&order_of_two()).await;
    tasks_are_there(&house, 2).await;
    assert_eq!(api.order(&id).await["status"], "PAID");
    cancelled(&house, &id, false).await;
    assert_eq!(states(&house).await, ["withdrawn", "withdrawn"]);
    let none = json!({ "worker": "ada", "wait": "0s" });
    assert!(poll(&api, "bar", &none).await.is_empty(), "what is withdrawn is nobody's");
    // One is in a worker's hands.
    let id = api.place(&order_of_two()).await;
    let task = next(&api, "ada").await;
    api.until(&id, "PREPARING").await;
    cancelled(&house, &id, false).await;
    let beat = tell(&api, &task, "heartbeat", &json!({})).await.expect(200);
    assert_eq!(beat, json!({ "leased_until": null, "cancel_requested": true }));
    for what in ["complete", "release"] {
        tell(&api, &task, what, &json!({})).await.assert_refused(409, "task_withdrawn");
    }
    // One is made, and the other is not begun.
    let id = api.place(&order_of_two()).await;
    complete(&api, &next(&api, "ada").await).await;
    api.once(&id, |it| it["status"] == "PREPARING").await;
    cancelled(&house, &id, true).await;
    // Both are made, and the order waits for something else.
    let id = api.place(&order_with(&[("rehearse.inventory", "refuse")])).await;
    complete(&api, &next(&api, "ada").await).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("inventory_failed")));
    assert_eq!(wasted(&audited.history), json!(true));
    let states = states(&house).await;
    assert_eq!(states[..4], ["withdrawn"; 4]);
    let mut third = states[4..6].to_vec();
    third.sort();
    assert_eq!(
        (third, states[6].as_str()),
        (vec!["done*".to_owned(), "withdrawn".to_owned()], "done*")
    );
    house.audit_all(&api).await;
}

fn wasted(history: &[Value]) -> Value {
    let is_it = |it: &&Value| it["kind"] == "compensation_done" && it["step"] == "preparation";
    history.iter().find(is_it).unwrap()["data"]["wasted"].clone()
}

async fn cancelled(house: &House, id: &str, is_wasted: bool) {
    let api = house.api();
    api.cancel(id).await.expect(202);
    let audited = house.audited(&api, id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("cancelled_by_customer")));
    assert_eq!(audited.ledger.deeds(), ["captured", "refunded"]);
    assert_eq!(wasted(&audited.history), json!(is_wasted), "{:?}", audited.history);
    assert_eq!(api.stock("milk").await.1, 0, "nothing stays reserved");
}

#[tokio::test]
async fn what_cannot_be_made_refuses_the_order_and_withdraws_the_rest() {
    let house = pulling().await;
    let api = house.api();
    let id = api.place(&order_of_two()).await;
    tasks_are_there(&house, 2).await;
    let (one, other) = (next(&api, "ada").await, next(&api, "bob").await);
    let broken = json!({ "code": "out_of_ingredients", "detail": "no cups" });
    assert_eq!(tell(&api, &one, "fail", &broken).await.expect(200)["state"], "failed");
    assert_eq!(tell(&api, &one, "fail", &broken).await.expect(200)["state"], "failed");
    let beat = tell(&api, &other, "heartbeat", &json!({})).await.expect(200);
    assert_eq!(beat["cancel_requested"], true);
    tell(&api, &other, "complete", &json!({})).await.assert_refused(409, "task_withdrawn");
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    assert_eq!(audited.step("preparation")["state"], "refused");
    let refusal = audited.history.iter().find(|it| it["kind"] == "step_refused").unwrap();
    assert_eq!(refusal["data"]["code"], "preparation_out_of_ingredients");
    // A barista for rehearsals plays the kitchen's mood.
    let _work = Process::work(&api, "cleo", &["--queue=bar", "--takes=10ms"]);
    let id = api.place(&order_with(&[("rehearse.kitchen", "out_of_ingredients")])).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("REFUNDED", Some("preparation_failed")));
    house.audit_all(&api).await;
}

#[tokio::test]
async fn an_order_that_nobody_makes_in_time_is_given_up_and_refunded() {
    let flags = [&FAST[..], &["--kitchen-pull=all", "--preparation-timeout=1s"]].concat();
    let house = House::with(&flags).await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("preparation_failed")));
    assert_eq!(audited.step("preparation")["attempts"], 1, "{}", audited.order);
    assert_eq!(states(&house).await, ["withdrawn"]);
}

#[tokio::test]
async fn of_an_order_for_two_stations_the_kitchen_is_handed_what_nobody_pulls() {
    let house = House::with(&[&FAST[..], &["--kitchen-pull=pastry"]].concat()).await;
    let api = house.api();
    let pastry = json!({ "name": "Croissant", "price": 300, "station": "pastry",
        "recipe": { "croissant": 1 } });
    api.put("/v1/menu/items/croissant", &pastry).await.expect(200);
    let mut order = order_of("latte");
    order["items"].as_array_mut().unwrap().push(json!({ "item": "croissant", "quantity": 1 }));
    let id = api.place(&order).await;
    let task = super::workers::next_of(&api, "pastry", "ada").await;
    assert_eq!(
        (&task["payload"]["item"], &task["payload"]["line"]),
        (&json!("croissant"), &json!(2))
    );
    complete(&api, &task).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared"]);
    // Both sides are taken back.
    let id = api.place(&order).await;
    super::workers::next_of(&api, "pastry", "ada").await;
    api.until(&id, "PREPARING").await;
    api.cancel(&id).await.expect(202);
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("REFUNDED", Some("cancelled_by_customer")));
    assert!(audited.ledger.deeds().contains(&"call_off"), "{:?}", audited.ledger);
    // What the kitchen alone makes has nothing to do with workers.
    let id = api.place(&order_of("latte")).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
    assert_eq!(states(&house).await, ["done", "withdrawn"]);
}

#[tokio::test]
async fn an_order_stays_with_those_who_were_to_make_it_when_the_shop_changes_its_mind() {
    let mut house = pulling().await;
    let id = house.api().place(&order_of("latte")).await;
    tasks_are_there(&house, 1).await;
    house.take_and_kill();
    house.add(&FAST).await;
    let api = house.api();
    complete(&api, &next(&api, "ada").await).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["captured"]);
    let id = api.place(&order_of("latte")).await;
    assert_eq!(house.audited(&api, &id).await.ledger.deeds(), ["captured", "ticket", "prepared"]);
}

#[tokio::test]
async fn what_was_completed_while_the_owner_was_dead_is_joined_by_the_next_one() {
    let flags = [&FAST[..], &["--kitchen-pull=all", "--lease-seconds=2"]].concat();
    let mut house = House::with(&flags).await;
    let id = house.api().place(&order_of_two()).await;
    tasks_are_there(&house, 2).await;
    house.add(&flags).await;
    let [owner, other] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let (one, two) = (next(&owner, "ada").await, next(&other, "ada").await);
    owner.until(&id, "PREPARING").await;
    complete(&owner, &one).await;
    house.take_and_kill();
    complete(&other, &two).await;
    let audited = house.audited(&other, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["captured"]);
    let told = audited.history.iter().filter(|it| it["data"]["name"] == "task").count();
    assert_eq!(told, 2);
}
