//! What would be: placings and cancellations that are only tried.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::hostile::refuse_all;
use crate::world::{
    api::{Answer, Api, id_of, order_of, order_with},
    house::{FAST, House},
};

const DRY: &str = "/v1/orders?dry_run=true";

async fn dry_place(api: &Api, order: &Value) -> Answer {
    api.post(DRY, order).await
}

async fn dry_cancel(api: &Api, id: &str) -> Answer {
    api.post(&format!("/v1/orders/{id}/cancel?dry_run=true"), &json!({})).await
}

/// Everything that is stored, by table, but for the leases, which are renewed all the time.
async fn contents(house: &House) -> Vec<(String, i64, String)> {
    let mut connection = house.connection().await;
    let tables =
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'public' and c.relkind = 'r' and c.relname <> 'replica' order by 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
    assert!(tables.len() > 20, "{tables:?}");
    let mut contents = Vec::new();
    for table in tables {
        let sql = AssertSqlSafe(format!(
            "select count(*), coalesce(md5(string_agg(t::text, ',' order by t::text)), '') from {table} t"
        ));
        let (rows, sum) = sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap();
        contents.push((table, rows, sum));
    }
    contents
}

/// An order without what is its own: its id, its code, its times.
fn anonymous(order: &Value) -> Value {
    let mut order = order.clone();
    for own in ["id", "pickup_code", "created_at", "updated_at"] {
        order.as_object_mut().unwrap().remove(own).unwrap();
    }
    order["steps"][0].as_object_mut().unwrap().remove("started_at").unwrap();
    order
}

#[tokio::test]
async fn a_dry_run_tells_what_the_placing_then_does() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let mut order = order_with(&[("rehearse.kitchen", "slow"), ("table", "7")]);
    order["items"] = json!([
        { "item": "latte", "quantity": 3, "price": 480, "note": "hot" },
        { "item": "oat_latte", "quantity": 2 }, { "item": "croissant", "quantity": 5 },
    ]);
    let dry = dry_place(&api, &order).await;
    assert_eq!((dry.header("location"), dry.header("etag")), (None, None));
    let dry = dry.expect(200);
    assert_eq!((&dry["dry_run"], &dry["replayed"]), (&json!(true), &json!(false)));
    let placed = api.post_order(&order).await.expect(201);
    assert_eq!(anonymous(&dry["order"]), anonymous(&placed));
    assert_eq!(dry["total"], placed["total"]);
    // It is nobody's: no id leads to it, and no code.
    assert_eq!(dry["order"]["pickup_code"], "");
    let nobody = format!("/v1/orders/{}", dry["order"]["id"].as_str().unwrap());
    api.get(&nobody).await.assert_refused(404, "not_found");

    let stock = dry["stock"].as_array().unwrap();
    let names: Vec<&str> = stock.iter().map(|it| it["ingredient"].as_str().unwrap()).collect();
    assert_eq!(names, ["beans", "croissant", "cup", "milk", "oat_milk"]);
    for change in stock {
        let (on_hand, reserved) = api.stock(change["ingredient"].as_str().unwrap()).await;
        assert_eq!(
            (&change["reserved"], &change["left"]),
            (&json!(reserved), &json!(on_hand - reserved))
        );
    }
    let order = api.until(&id_of(&placed), "PREPARING").await;
    let steps = dry["steps"].as_array().unwrap();
    let names = |steps: &[Value]| steps.iter().map(|it| it["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(steps), names(order["steps"].as_array().unwrap()));
    assert_eq!(steps[0]["status_done"], "PAID");
    assert_eq!((&steps[3]["pivot"], &steps[4]["best_effort"]), (&json!(true), &json!(true)));
    let policy = json!({
        "attempts_max": 3, "start_to_close_ms": 10_000, "heartbeat_ms": null, "backoff_ms": 20,
        "backoff_factor": 2.0, "backoff_max_ms": 200,
    });
    assert_eq!(steps[0]["policy"], policy);
}

#[tokio::test]
async fn dry_runs_write_nothing_and_ask_nobody() {
    let house = House::with(&["--retry-backoff=1h", "--retry-backoff-max=1h"]).await;
    let api = house.api();
    let done = api.place(&order_of("latte")).await;
    api.end(&done).await;
    let waiting = api.place(&order_with(&[("rehearse.payment", "down")])).await;
    api.once(&waiting, |it| it["steps"][0]["state"] == "waiting").await;
    let (before, ledger) = (contents(&house).await, house.whole_ledger().await.lines);
    let mut too_much = order_of("latte");
    too_much["items"] = json!(vec![json!({ "item": "croissant", "quantity": 100 }); 6]);
    for _ in 0..3 {
        dry_place(&api, &order_of("latte")).await.expect(200);
        let keyed = api.http.post(api.url(DRY)).header("idempotency-key", "k");
        api.send(keyed.json(&order_of("latte"))).await.expect(200);
        dry_place(&api, &too_much).await.assert_refused(409, "out_of_stock");
        dry_cancel(&api, &waiting).await.expect(200);
        dry_cancel(&api, &done).await.assert_refused(409, "too_late");
    }
    assert_eq!(contents(&house).await, before);
    assert_eq!(house.whole_ledger().await.lines, ledger);
    // The order that would have been cancelled was not so much as woken.
    let order = api.order(&waiting).await;
    assert_eq!((&order["cancellation"], &order["version"]), (&Value::Null, &json!(2)));
}

#[tokio::test]
async fn a_dry_run_uses_up_neither_its_key_nor_a_pickup_code() {
    let house = House::new().await;
    let api = house.api();
    let dry = async |order: &Value| {
        let request = api.http.post(api.url(DRY)).header("idempotency-key", "k1");
        api.send(request.json(order)).await
    };
    let order = order_of("latte");
    for _ in 0..3 {
        let answer = dry(&order).await;
        assert_eq!(answer.header("idempotent-replayed"), None);
        assert_eq!(answer.expect(200)["replayed"], false);
    }
    let placed = api.post_keyed(&order, "k1").await;
    assert_eq!(placed.header("idempotent-replayed"), None);
    let placed = placed.expect(201);
    // From now on the key stands for that order, and a dry run says so.
    let again = dry(&order).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let again = again.expect(200);
    assert_eq!((&again["replayed"], &again["order"]), (&json!(true), &placed));
    assert_eq!(again["stock"], json!([]));
    dry(&order_of("mocha")).await.assert_refused(422, "idempotency_key_reused");
    api.end(&id_of(&placed)).await;
    let codes = "select count(*) from pickup_code";
    let codes: i64 =
        sqlx::query_scalar(codes).fetch_one(&mut house.connection().await).await.unwrap();
    assert_eq!(codes, 1);
}

#[tokio::test]
async fn a_dry_run_is_refused_with_the_words_of_the_real_placing() {
    let house = House::new().await;
    let api = house.api();
    let changed = |pointer: &str, value: Value| {
        let mut order = order_of("latte");
        order["items"][0]["price"] = json!(480);
        order["expected_total"] = json!(480);
        *order.pointer_mut(pointer).unwrap() = value;
        order
    };
    let mut many = order_of("latte");
    many["items"] = json!(vec![json!({ "item": "croissant", "quantity": 100 }); 6]);
    let latte = order_of("latte");
    let shop = async |state: &Value| api.put("/v1/shop", state).await.expect(200);
    let same = async |order: &Value, status: u16, code: &str| {
        let [dry, real] = [dry_place(&api, order).await, api.post("/v1/orders", order).await];
        dry.assert_refused(status, code);
        assert_eq!(dry.header("retry-after"), real.header("retry-after"));
        let [dry, real] = [dry, real].map(|it| {
            let mut problem = it.json();
            problem.as_object_mut().unwrap().remove("request_id").unwrap();
            problem
        });
        assert_eq!(dry, real);
    };
    same(&many, 409, "out_of_stock").await;
    same(&changed("/items/0/price", json!(1)), 409, "price_changed").await;
    same(&changed("/expected_total", json!(1)), 409, "price_changed").await;
    same(&changed("/items/0/item", json!("tea")), 422, "item_unknown").await;
    same(&changed("/items/0/quantity", json!(101)), 422, "quantity_limit").await;
    same(&changed("/customer_id", json!("")), 422, "body_invalid").await;
    same(&changed("/customer_id", json!(super::hostile::CARD)), 422, "card_number_refused").await;
    same(&order_with(&[("rehearse.kitchen", "angry")]), 422, "body_invalid").await;
    shop(&json!({ "mode": "paused" })).await;
    same(&latte, 409, "shop_closed").await;
    shop(&json!({ "mode": "open", "max_open_orders": 0 })).await;
    same(&latte, 503, "at_capacity").await;
    shop(&json!({ "mode": "open" })).await;
    // The menu in memory is behind that of the database: the verdict is the database's.
    let menu = "with raised as (update shop set menu_version = menu_version + 1)
                update menu_item set price = 490 where item = 'latte'";
    sqlx::query(menu).execute(&mut house.connection().await).await.unwrap();
    assert_eq!(dry_place(&api, &latte).await.expect(200)["total"], 490);
    same(&changed("/items/0/price", json!(480)), 409, "price_changed").await;
    assert_eq!(house.rows().await[0], ("saga".to_owned(), 0));
}

#[tokio::test]
async fn a_dry_run_without_the_key_that_is_required_is_refused() {
    let house = House::with(&[&FAST[..], &["--require-idempotency-key"]].concat()).await;
    let api = house.api();
    let refused = dry_place(&api, &order_of("latte")).await;
    refused.assert_refused(400, "idempotency_key_required");
    let keyed = api.http.post(api.url(DRY)).header("idempotency-key", "k");
    api.send(keyed.json(&order_of("latte"))).await.expect(200);
}

#[tokio::test]
async fn a_hundred_dry_runs_for_the_last_croissant_all_say_yes_and_reserve_nothing() {
    let house = House::new().await;
    let api = house.api();
    api.adjust("croissant", -499).await.expect(200);
    let order = order_of("croissant");
    let answers = join_all((0..100).map(|_| dry_place(&api, &order))).await;
    for answer in answers {
        let dry = answer.expect(200);
        let change =
            json!({ "ingredient": "croissant", "unit": "piece", "reserved": 1, "left": 0 });
        assert_eq!(dry["stock"], json!([change]));
    }
    assert_eq!(api.stock("croissant").await, (1, 0));
    let id = api.place(&order).await;
    dry_place(&api, &order).await.assert_refused(409, "out_of_stock");
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
    assert_eq!(house.audit_all(&api).await.len(), 1);
}

#[tokio::test]
async fn dry_runs_among_real_orders_take_nothing_from_them() {
    let house = House::of_two().await;
    let apis = [house.replicas()[0].api(), house.replicas()[1].api()];
    apis[0].adjust("croissant", -490).await.expect(200);
    let order = order_of("croissant");
    let trying = join_all((0..200).map(|n| {
        let (api, order) = (&apis[n % 2], &order);
        async move {
            let dry = async {
                let answer = dry_place(api, order).await;
                assert!([200, 409].contains(&answer.status), "{answer:?}");
            };
            tokio::join!(dry, api.post_order(order)).1.status
        }
    }));
    let accepted = trying.await.into_iter().filter(|it| *it == 201).count();
    assert_eq!(accepted, 10);
    assert_eq!(house.audit_all(&apis[0]).await.len(), 10);
    assert_eq!(apis[1].stock("croissant").await, (0, 0));
}

/// A dry run whose client has gone is seen to its end, and its connection comes back outside of any transaction.
#[tokio::test]
async fn clients_that_leave_in_the_middle_of_a_dry_run_leave_nothing_behind() {
    let house = House::new().await;
    let api = house.api();
    let order = order_of("croissant");
    let before = contents(&house).await;
    let leaving = (0..200).map(|n| {
        let request = api.http.post(api.url(DRY)).json(&order);
        request.timeout(Duration::from_micros(200 * (n % 40))).send()
    });
    let left = join_all(leaving).await.iter().filter(|it| it.is_err()).count();
    assert!(left > 0, "every client stayed");
    dry_place(&api, &order).await.expect(200);
    crate::world::until("the dry runs end", async || {
        let open = "select count(*) from pg_stat_activity
                     where datname = current_database() and state like 'idle in transaction%'";
        let mut connection = house.connection().await;
        let open: i64 = sqlx::query_scalar(open).fetch_one(&mut connection).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
    assert_eq!(contents(&house).await, before);
    api.place(&order).await;
    assert_eq!(house.audit_all(&api).await.len(), 1);
}

#[tokio::test]
async fn what_is_misspelt_is_not_done() {
    let house = House::new().await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    api.end(&id).await;
    let mut requests = Vec::new();
    for query in
        ["dryrun=true", "dry-run=true", "dry_run=1", "dry_run=yes", "dry_run=", "dry_run=true&x=1"]
    {
        let place = api.http.post(api.url(&format!("/v1/orders?{query}"))).json(&order_of("latte"));
        requests.push((place, 400, "invalid_query"));
        let cancel = api.http.post(api.url(&format!("/v1/orders/{id}/cancel?{query}")));
        requests.push((cancel, 400, "invalid_query"));
    }
    refuse_all(&house, requests).await;
    api.post("/v1/orders?dry_run=false", &order_of("latte")).await.expect(201);
}
