//! The ticks of schedules (rows E-26, O-15), at moments that the test says: one order a tick whoever looks and whoever
//! dies, overlap, catch-up, the days on which the clocks change, refusals.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::world::{api::order_of, shops::Shops};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Noon, and so many seconds.
fn at(seconds: i64) -> Timestamp {
    time("2027-01-11T12:00:00Z") + SignedDuration::from_secs(seconds)
}

/// Every ten minutes, an order.
fn every_ten_minutes(order: Value) -> Value {
    json!({ "every_seconds": 600, "order": order })
}

/// An order that the kitchen does not finish.
fn lasting() -> Value {
    let mut order = order_of("cappuccino");
    order["attributes"] = json!({ "rehearse.kitchen": "slow" });
    order
}

async fn with_lasting_orders() -> Shops {
    let shops = Shops::new().await;
    shops.moods(&json!({ "slow_ms": 600_000 })).await;
    shops
}

/// A schedule's counters: placed, refused, skipped, missed; and what became of its last tick.
async fn counted(shops: &Shops, name: &str) -> ([i64; 4], String) {
    let sql = "select placed, refused, skipped, missed, coalesce(last_outcome, '-') from schedule
                where name = $1";
    let row: (i64, i64, i64, i64, String) =
        sqlx::query_as(sql).bind(name).fetch_one(shops.pool()).await.unwrap();
    ([row.0, row.1, row.2, row.3], row.4)
}

#[tokio::test]
async fn a_tick_is_one_order_however_many_replicas_look() {
    let shops = Shops::new().await;
    let [first, second] = shops.of_two().await;
    for name in ["a", "b", "c"] {
        shops.put(&first, name, every_ten_minutes(order_of("espresso")), at(0)).await;
    }
    for tick in 0..10 {
        let now = at(600 * tick + 1);
        let (one, other) = tokio::join!(first.tick_schedules(now), second.tick_schedules(now));
        assert!(one.unwrap() + other.unwrap() >= 3, "each schedule was looked at");
        shops.all_end().await;
        assert_eq!(shops.orders().await, 3 * (tick + 1));
    }
    for name in ["a", "b", "c"] {
        assert_eq!(counted(&shops, name).await, ([10, 0, 0, 0], "placed".to_owned()));
    }
    let keys = "select count(distinct key) from idempotency_key where key like 'schedule/%'";
    assert_eq!(shops.number(keys).await, 30);
}

#[tokio::test]
async fn a_tick_whose_order_was_placed_by_one_who_died_then_has_that_order() {
    let shops = Shops::new().await;
    let [first, second] = shops.of_two().await;
    shops.put(&first, "a", every_ten_minutes(order_of("espresso")), at(0)).await;
    first.tick_schedules(at(0)).await.unwrap();
    let placed = first.find_schedule("a").await.unwrap().last_order_id.unwrap();
    // As it stood before what became of the tick was noted, by one that has not been heard of since.
    let unnoted = "update schedule
        set pending_at = last_tick_at, pending_until = last_tick_at + interval '60 s',
            pending_order = new_order, wake_at = last_tick_at + interval '15 s',
            last_tick_at = null, last_outcome = null, last_order_id = null, placed = 0";
    for now in [at(20), at(61), at(700)] {
        let says = |item| serde_json::from_value(every_ten_minutes(order_of(item))).unwrap();
        first.put_schedule("a", says("espresso")).await.unwrap();
        shops.execute(unnoted).await;
        // Whatever the schedule says by now: it is the tick's own order.
        first.put_schedule("a", says("latte")).await.unwrap();
        assert_eq!(second.tick_schedules(now).await.unwrap(), 1);
        let found = second.find_schedule("a").await.unwrap();
        assert_eq!((found.last_order_id, found.placed), (Some(placed), 1), "{now}");
        assert_eq!(shops.orders().await, 1);
    }
}

#[tokio::test]
async fn a_tick_that_was_only_taken_up_by_one_who_died_gets_its_order_from_another() {
    let shops = Shops::new().await;
    let [first, second] = shops.of_two().await;
    shops.put(&first, "a", every_ten_minutes(order_of("espresso")), at(600)).await;
    let taken_up = "update schedule
        set pending_at = next_at - interval '600 s', pending_until = next_at - interval '540 s',
            pending_order = new_order, wake_at = next_at - interval '585 s'";
    shops.execute(taken_up).await;
    assert_eq!(second.tick_schedules(at(14)).await.unwrap(), 0, "it may still be at it");
    assert_eq!(second.tick_schedules(at(15)).await.unwrap(), 1);
    assert_eq!((shops.orders().await, counted(&shops, "a").await.0), (1, [1, 0, 0, 0]));
    // Nobody was there in time: then it is missed, and the next tick is none the worse.
    first.delete_schedule("a").await.unwrap();
    shops.put(&first, "b", every_ten_minutes(order_of("espresso")), at(600)).await;
    shops.execute(taken_up).await;
    first.tick_schedules(at(61)).await.unwrap();
    assert_eq!(counted(&shops, "b").await, ([0, 0, 0, 1], "missed".to_owned()));
    assert_eq!(shops.orders().await, 1);
    first.tick_schedules(at(600)).await.unwrap();
    assert_eq!((shops.orders().await, counted(&shops, "b").await.0), (2, [1, 0, 0, 1]));
}

#[tokio::test]
async fn a_tick_is_skipped_while_the_order_before_is_open() {
    let shops = with_lasting_orders().await;
    let shop = shops.open("only").await;
    shops.put(&shop, "a", every_ten_minutes(lasting()), at(0)).await;
    for tick in 0..3 {
        shop.tick_schedules(at(600 * tick)).await.unwrap();
    }
    assert_eq!(counted(&shops, "a").await, ([1, 0, 2, 0], "skipped".to_owned()));
    let first = shop.find_schedule("a").await.unwrap().last_order_id.unwrap();
    shop.cancel(first, "customer", None).await.unwrap();
    shops.all_end().await;
    shop.tick_schedules(at(1_800)).await.unwrap();
    assert_eq!(counted(&shops, "a").await, ([2, 0, 2, 0], "placed".to_owned()));
    assert_eq!(shops.orders().await, 2);
}

#[tokio::test]
async fn a_schedule_may_allow_its_orders_to_overlap() {
    let shops = with_lasting_orders().await;
    let shop = shops.open("only").await;
    let mut schedule = every_ten_minutes(lasting());
    schedule["overlap"] = json!("allow");
    shops.put(&shop, "a", schedule, at(0)).await;
    for tick in 0..3 {
        shop.tick_schedules(at(600 * tick)).await.unwrap();
    }
    assert_eq!((shops.orders().await, counted(&shops, "a").await.0), (3, [3, 0, 0, 0]));
    assert_eq!(shops.number("select count(*) from saga where closed_status is null").await, 3);
}

#[tokio::test]
async fn one_tick_can_wait_until_the_order_before_has_ended() {
    let shops = with_lasting_orders().await;
    let shop = shops.open("only").await;
    let mut schedule = every_ten_minutes(lasting());
    schedule["overlap"] = json!("buffer_one");
    shops.put(&shop, "a", schedule, at(0)).await;
    for now in [0, 600, 900, 1_200, 1_800] {
        shop.tick_schedules(at(now)).await.unwrap();
    }
    assert_eq!((shops.orders().await, counted(&shops, "a").await.0), (1, [1, 0, 2, 0]));
    let waiting = shop.find_schedule("a").await.unwrap();
    let pending = waiting.pending.unwrap();
    assert_eq!((pending.tick, pending.state), (at(600), "buffered"));
    shop.cancel(waiting.last_order_id.unwrap(), "customer", None).await.unwrap();
    shops.all_end().await;
    shop.tick_schedules(at(1_810)).await.unwrap();
    assert_eq!((shops.orders().await, counted(&shops, "a").await.0), (2, [2, 0, 2, 0]));
    // Its turn was the tick's own: the key says so.
    let key = "select count(*) from idempotency_key where key like '%/2027-01-11T12:10:00Z'";
    assert_eq!(shops.number(key).await, 1);
    // One that waits when the schedule is paused is skipped.
    shop.tick_schedules(at(2_400)).await.unwrap();
    assert!(shop.find_schedule("a").await.unwrap().pending.is_some());
    let paused = shop.pause_schedule("a", None, None).await.unwrap();
    assert_eq!((paused.pending.is_none(), paused.skipped), (true, 3));
}

#[tokio::test]
async fn a_schedule_may_cancel_the_order_before() {
    let shops = with_lasting_orders().await;
    let shop = shops.open("only").await;
    let mut schedule = every_ten_minutes(lasting());
    schedule["overlap"] = json!("cancel_other");
    shops.put(&shop, "a", schedule, at(0)).await;
    shop.tick_schedules(at(0)).await.unwrap();
    let first = shop.find_schedule("a").await.unwrap().last_order_id.unwrap();
    // What is refused takes nobody's order away.
    shops.execute("update shop set mode = 'closed'").await;
    shop.tick_schedules(at(600)).await.unwrap();
    assert_eq!(shop.find(first).await.unwrap().cancellation, None);
    shops.execute("update shop set mode = 'open'").await;
    shop.tick_schedules(at(1_200)).await.unwrap();
    shop.tick_schedules(at(1_200)).await.unwrap();
    let second = shop.find_schedule("a").await.unwrap().last_order_id.unwrap();
    assert_ne!(first, second);
    assert!(shop.find(first).await.unwrap().cancellation.is_some());
    assert_eq!(shop.find(second).await.unwrap().cancellation, None);
    assert_eq!(counted(&shops, "a").await.0, [2, 1, 0, 0]);
}

#[tokio::test]
async fn after_an_hours_outage_one_late_order_comes_and_what_was_missed_is_counted() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    let minutely =
        json!({ "cron": "* * * * *", "time_zone": "UTC", "order": order_of("espresso") });
    shops.put(&shop, "interval", every_ten_minutes(order_of("espresso")), at(0)).await;
    shops.put(&shop, "minutely", minutely.clone(), at(0)).await;
    let mut wide = minutely;
    wide["catch_up_seconds"] = json!(86_400);
    shops.put(&shop, "wide", wide, at(0)).await;
    assert_eq!(shop.tick_schedules(at(3_600 + 90)).await.unwrap(), 3);
    // 12:00 to 13:00 every ten minutes, and none is a minute late at most; 12:00 to 13:01 every minute.
    assert_eq!(counted(&shops, "interval").await, ([0, 0, 0, 7], "missed".to_owned()));
    assert_eq!(counted(&shops, "minutely").await, ([1, 0, 0, 61], "placed".to_owned()));
    assert_eq!(counted(&shops, "wide").await, ([1, 0, 0, 61], "placed".to_owned()));
    assert_eq!(shops.orders().await, 2);
    shop.tick_schedules(at(3_600 + 90)).await.unwrap();
    assert_eq!(shops.orders().await, 2, "that was all");
    let next = shop.find_schedule("interval").await.unwrap().next;
    assert_eq!(next, [4_200, 4_800, 5_400, 6_000, 6_600].map(at));
}

#[tokio::test]
async fn a_daily_order_comes_once_on_the_days_on_which_the_clocks_change() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    let daily = json!({
        "cron": "30 2 * * *", "time_zone": "europe/paris", "order": order_of("espresso"),
    });
    for (name, from, to) in [
        ("spring", "2027-03-27T01:30:00Z", "2027-03-29T12:00:00Z"),
        ("autumn", "2026-10-24T00:30:00Z", "2026-10-26T12:00:00Z"),
    ] {
        shops.put(&shop, name, daily.clone(), time(from)).await;
        // A look every ten minutes over three days.
        let mut now = time(from);
        while now < time(to) {
            shop.tick_schedules(now).await.unwrap();
            shops.all_end().await;
            now += SignedDuration::from_mins(10);
        }
        assert_eq!(counted(&shops, name).await.0, [3, 0, 0, 0], "{name}");
        shop.delete_schedule(name).await.unwrap();
    }
    let ticks: Vec<String> = sqlx::query_scalar(
        "select substring(key from 47) from idempotency_key order by substring(key from 47)",
    )
    .fetch_all(shops.pool())
    .await
    .unwrap();
    assert_eq!(
        ticks,
        [
            "2026-10-24T00:30:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-26T01:30:00Z",
            "2027-03-27T01:30:00Z",
            "2027-03-28T01:00:00Z",
            "2027-03-29T00:30:00Z",
        ]
    );
}
