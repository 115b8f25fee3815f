//! Standing orders through the API and the command line (rows E-26, O-15), by the database's clock.

use serde_json::{Value, json};

use crate::world::{
    api::{Api, id_of, order_of, order_with},
    house::{FAST, House},
    until,
};

/// Every second, an order.
fn every_second(order: Value) -> Value {
    json!({ "every_seconds": 1, "order": order, "overlap": "allow" })
}

/// Once, a long while from now, unless a test makes it due.
fn yearly(order: Value) -> Value {
    json!({ "cron": "0 0 1 1 *", "time_zone": "Europe/Paris", "order": order })
}

async fn schedule(api: &Api, name: &str) -> Value {
    api.get(&format!("/v1/schedules/{name}")).await.expect(200)
}

/// The orders that a schedule placed.
async fn orders_of(api: &Api, name: &str) -> Vec<Value> {
    let page = api.get(&format!("/v1/orders?attr.schedule={name}&limit=200")).await.expect(200);
    page["orders"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_makes_no_schedule_is_refused_and_nothing_is_written() {
    let house = House::new().await;
    let api = house.api();
    let with = |member: &str, value: Value| {
        let mut schedule = yearly(order_of("latte"));
        schedule[member] = value;
        schedule
    };
    let order_with = |member: &str, value: Value| {
        let mut order = order_of("latte");
        order[member] = value;
        yearly(order)
    };
    let card = json!({ "method_token": "4111 1111 1111 1111" });
    let items = |item: &str, quantity: i64| json!([{ "item": item, "quantity": quantity }]);
    for (schedule, status, code, pointer) in [
        (with("cron", json!("61 * * * *")), 422, "cron_invalid", "/cron"),
        (with("cron", json!("0 0 30 2 *")), 422, "cron_invalid", "/cron"),
        (with("cron", Value::Null), 422, "body_invalid", "/cron"),
        (with("every_seconds", json!(60)), 422, "body_invalid", "/cron"),
        (with("time_zone", json!("Europe/Atlantis")), 422, "time_zone_unknown", "/time_zone"),
        (with("time_zone", json!("Etc/Unknown")), 422, "time_zone_unknown", "/time_zone"),
        (with("time_zone", json!("localtime")), 422, "time_zone_unknown", "/time_zone"),
        (with("time_zone", json!("../../etc/passwd")), 422, "time_zone_unknown", "/time_zone"),
        (with("time_zone", Value::Null), 422, "body_invalid", "/time_zone"),
        (with("overlap", json!("sometimes")), 422, "body_invalid", "/overlap"),
        (with("catch_up_seconds", json!(29)), 422, "body_invalid", "/catch_up_seconds"),
        (with("catch_up_seconds", json!(86_401)), 422, "body_invalid", "/catch_up_seconds"),
        (with("colour", json!("red")), 422, "body_invalid", "/colour"),
        (order_with("items", json!([])), 422, "quantity_limit", "/order/items"),
        (order_with("items", items("latte", 0)), 422, "quantity_limit", "/order/items/0/quantity"),
        (order_with("items", items("tea", 1)), 422, "item_unknown", ""),
        (order_with("expected_total", json!(1)), 409, "price_changed", ""),
        (order_with("payment", card), 422, "card_number_refused", "/order/payment/method_token"),
        (
            order_with("notify", json!({ "channel": "webhook", "to": "x" })),
            422,
            "endpoint_unknown",
            "",
        ),
        (
            order_with("attributes", json!({ "schedule": "x" })),
            422,
            "body_invalid",
            "/order/attributes/schedule",
        ),
    ] {
        let answer = api.put("/v1/schedules/a", &schedule).await;
        answer.assert_refused(status, code);
        let told = answer.json()["errors"][0]["pointer"].as_str().unwrap_or_default().to_owned();
        assert!(pointer.is_empty() || told == pointer, "{pointer}: {}", answer.text);
    }
    for seconds in [0, -1, 31_622_401] {
        let schedule = json!({ "every_seconds": seconds, "order": order_of("latte") });
        api.put("/v1/schedules/a", &schedule).await.assert_refused(422, "body_invalid");
    }
    for name in ["a%20b", "%C3%A9", &"x".repeat(65), "4111111111111111"] {
        let answer = api.put(&format!("/v1/schedules/{name}"), &yearly(order_of("latte"))).await;
        assert_eq!(answer.refusal().0, 422, "{name}");
    }
    for path in ["", "/pause", "/resume", "/trigger"] {
        let url = api.url(&format!("/v1/schedules/nobody{path}"));
        let request = if path.is_empty() { api.http.delete(url) } else { api.http.post(url) };
        api.send(request).await.assert_refused(404, "not_found");
    }
    assert_eq!(api.get("/v1/schedules").await.expect(200), json!({ "schedules": [] }));
    assert_eq!(house.rows().await[3].1, 0, "no order either");
}

#[tokio::test]
async fn a_schedule_is_created_replaced_paused_resumed_triggered_and_deleted() {
    let house = House::new().await;
    let api = house.api();
    let created = api.put("/v1/schedules/ada", &yearly(order_of("latte"))).await;
    assert_eq!(created.header("location"), Some("/v1/schedules/ada"));
    let created = created.expect(201);
    assert_eq!(created, schedule(&api, "ada").await);
    assert_eq!(created["next"].as_array().unwrap().len(), 5);
    assert!(created["next"][0].as_str().unwrap().ends_with("-12-31T23:00:00Z"), "{created}");
    assert_eq!(created["order"]["items"][0]["item"], "latte");
    assert_eq!(created["order"].get("payment"), None);
    assert_eq!((&created["overlap"], &created["catch_up_seconds"]), (&json!("skip"), &json!(60)));
    let mut other = yearly(order_of("espresso"));
    other["overlap"] = json!("buffer_one");
    let replaced = api.put("/v1/schedules/ada", &other).await.expect(200);
    assert_eq!(replaced["order"]["items"][0]["item"], "espresso");
    assert_eq!((&replaced["overlap"], &replaced["next"]), (&json!("buffer_one"), &created["next"]));

    let why = json!({ "reason": "on holiday", "by": "ada" });
    let paused = api.post("/v1/schedules/ada/pause", &why).await.expect(200);
    assert_eq!((&paused["paused"], &paused["next"]), (&json!(true), &json!([])));
    assert_eq!(
        (&paused["switched"]["by"], &paused["switched"]["reason"]),
        (&why["by"], &why["reason"])
    );
    // Paused again it says who did it first.
    let again = api.post("/v1/schedules/ada/pause", &json!({ "by": "ben" })).await.expect(200);
    assert_eq!(again, paused);
    let card = json!({ "reason": "4111 1111 1111 1111" });
    api.post("/v1/schedules/ada/resume", &card).await.assert_refused(422, "card_number_refused");

    let trigger = |key: &'static str| {
        let request = api.http.post(api.url("/v1/schedules/ada/trigger"));
        api.send(request.header("idempotency-key", key))
    };
    let triggered = trigger("k").await;
    let id = id_of(&triggered.json());
    assert_eq!(triggered.header("location"), Some(&*format!("/v1/orders/{id}")));
    assert_eq!(triggered.expect(201)["attributes"]["schedule"], "ada");
    assert_eq!(id_of(&trigger("k").await.expect(201)), id, "the same key is the same order");
    assert_eq!(api.end(&id).await["status"], "COMPLETED");
    assert_eq!(orders_of(&api, "ada").await.len(), 1);
    assert_eq!(schedule(&api, "ada").await["last_tick"], Value::Null, "it was no tick");

    let resumed = api.post("/v1/schedules/ada/resume", &json!({})).await.expect(200);
    assert_eq!((&resumed["paused"], &resumed["next"]), (&json!(false), &created["next"]));
    api.put("/v1/schedules/ben", &yearly(order_of("latte"))).await.expect(201);
    let listed = api.get("/v1/schedules").await.expect(200);
    let names: Vec<&Value> =
        listed["schedules"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["ada", "ben"]);
    let deleted = api.send(api.http.delete(api.url("/v1/schedules/ada"))).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    api.get("/v1/schedules/ada").await.assert_refused(404, "not_found");
}

#[tokio::test]
async fn a_short_interval_places_its_orders_by_itself_at_either_of_two_replicas() {
    let mut house = House::of_two().await;
    let [here, there] = [house.replicas()[0].api(), house.replicas()[1].api()];
    here.put("/v1/schedules/often", &every_second(order_of("espresso"))).await.expect(201);
    let placed = async |api: &Api, least: i64| {
        until("it places orders", async || {
            let placed = schedule(api, "often").await["placed"].as_i64().unwrap();
            (placed >= least).then_some(placed)
        })
        .await
    };
    placed(&there, 3).await;
    let metrics: String =
        [here.get("/metrics").await.text, there.get("/metrics").await.text].concat();
    assert!(metrics.contains("crema_schedule_ticks_total{outcome=\"placed\"}"), "{metrics}");
    // Whoever is left goes on.
    house.take_and_kill();
    let so_far = schedule(&there, "often").await["placed"].as_i64().unwrap();
    placed(&there, so_far + 2).await;
    // A change made through one is heeded by all.
    there.post("/v1/schedules/often/pause", &json!({})).await.expect(200);
    let stands = until("no tick is under way", async || {
        let stands = schedule(&there, "often").await;
        stands["pending"].is_null().then_some(stands)
    })
    .await;
    let orders = house.audit_all(&there).await;
    assert_eq!(orders.len() as i64, stands["placed"].as_i64().unwrap(), "{stands}");
    assert!(orders.iter().all(|it| it["attributes"]["schedule"] == "often"));
    let ticks: i64 = sqlx::query_scalar("select count(distinct key) from idempotency_key")
        .fetch_one(&mut house.connection().await)
        .await
        .unwrap();
    assert_eq!(ticks as usize, orders.len(), "each of them is a tick's");
}

#[tokio::test]
async fn killed_between_placing_an_order_and_noting_it_there_is_one_order() {
    let mut house = House::new().await;
    let api = house.api();
    api.put("/v1/schedules/ada", &yearly(order_of("latte"))).await.expect(201);
    let mut connection = house.connection().await;
    let (mut stock, mut row) = (house.connection().await, house.connection().await);
    // The order cannot be placed, then what became of it cannot be noted.
    let hold = "begin; select from stock where ingredient = 'milk' for update";
    sqlx::raw_sql(hold).execute(&mut stock).await.unwrap();
    let due = "update schedule set next_at = date_trunc('second', now()), wake_at = now()";
    sqlx::query(due).execute(&mut connection).await.unwrap();
    let pending = "select exists (select from schedule where pending_at is not null)";
    let orders = "select exists (select from orders)";
    let mut holds = async |sql: &'static str| {
        until(sql, async || {
            let holds: bool = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
            holds.then_some(())
        })
        .await;
    };
    holds(pending).await;
    sqlx::raw_sql("begin; select from schedule for update").execute(&mut row).await.unwrap();
    sqlx::raw_sql("rollback").execute(&mut stock).await.unwrap();
    holds(orders).await;
    house.take_and_kill();
    sqlx::raw_sql("rollback").execute(&mut row).await.unwrap();
    // So that nobody waits until it counts as dead.
    sqlx::raw_sql("update schedule set wake_at = now()").execute(&mut row).await.unwrap();
    house.add(&FAST).await;
    let api = house.api();
    let stands = until("the tick is over", async || {
        let stands = schedule(&api, "ada").await;
        stands["pending"].is_null().then_some(stands)
    })
    .await;
    assert_eq!((&stands["placed"], &stands["missed"]), (&json!(1), &json!(0)));
    let all = house.audit_all(&api).await;
    assert_eq!(all.len(), 1);
    assert_eq!(stands["last_tick"]["order_id"], all[0]["id"]);
}

#[tokio::test]
async fn an_order_that_was_refused_at_a_tick_is_told_with_its_code() {
    let house = House::new().await;
    let api = house.api();
    api.put("/v1/shop", &json!({ "mode": "closed" })).await.expect(200);
    let schedule_of = every_second(order_with(&[("table", "7")]));
    api.put("/v1/schedules/often", &schedule_of).await.expect(201);
    let refused = until("a tick is refused", async || {
        let stands = schedule(&api, "often").await;
        (stands["refused"].as_i64().unwrap() > 0).then_some(stands)
    })
    .await;
    assert_eq!(refused["last_error"]["code"], "shop_closed");
    assert_eq!((&refused["placed"], &refused["last_order_id"]), (&json!(0), &Value::Null));
    api.put("/v1/shop", &json!({ "mode": "open" })).await.expect(200);
    until("one is placed", async || {
        (schedule(&api, "often").await["placed"].as_i64().unwrap() > 0).then_some(())
    })
    .await;
    assert_eq!(orders_of(&api, "often").await[0]["attributes"]["table"], "7");
}
