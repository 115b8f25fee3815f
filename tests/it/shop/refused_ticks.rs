//! Ticks whose order is refused, and schedules that are changed under way (rows E-26, O-15), at moments that the test
//! says.

use crema::shop::menu::NewMenuItem;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::world::{api::order_of, shops::Shops};

/// Noon, and so many seconds.
fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2027-01-11T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

fn hourly(order: Value) -> Value {
    json!({ "cron": "0 * * * *", "time_zone": "Europe/Paris", "order": order })
}

#[tokio::test]
async fn an_order_that_is_refused_is_noted_and_tried_again_within_its_window_only() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    shops.put(&shop, "a", hourly(order_of("espresso")), at(0)).await;
    shops.execute("update shop set mode = 'closed'").await;
    let mut looks = 0;
    for now in 0..3_600 {
        looks += shop.tick_schedules(at(now)).await.unwrap();
    }
    let refused = shop.find_schedule("a").await.unwrap();
    let error = refused.last_error.unwrap();
    assert_eq!((error.tick, error.code.as_str()), (at(0), "shop_closed"));
    assert_eq!((refused.refused, refused.missed, refused.placed), (1, 0, 0));
    assert_eq!(refused.last_tick.unwrap().outcome, "refused");
    assert!((2..=7).contains(&looks), "{looks} looks, each later than the one before");
    // The next tick has a window of its own, and the shop opens in it.
    assert_eq!(shop.tick_schedules(at(3_600)).await.unwrap(), 1);
    assert_eq!(shop.find_schedule("a").await.unwrap().pending.unwrap().state, "placing");
    shops.execute("update shop set mode = 'open'").await;
    for now in 3_601..3_660 {
        shop.tick_schedules(at(now)).await.unwrap();
    }
    let placed = shop.find_schedule("a").await.unwrap();
    let last = placed.last_tick.unwrap();
    assert_eq!((last.tick, last.outcome.as_str()), (at(3_600), "placed"));
    assert_eq!((placed.placed, placed.refused, shops.orders().await), (1, 1, 1));
    assert_eq!(last.order_id, placed.last_order_id);
}

#[tokio::test]
async fn what_cannot_be_accepted_any_more_is_not_tried_again() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    let mut order = order_of("espresso");
    order["expected_total"] = json!(250);
    shops.put(&shop, "a", hourly(order), at(0)).await;
    let (name, station, recipe) = ("Espresso".to_owned(), None, Vec::new());
    let dearer = NewMenuItem { name, price: 260, available: true, station, recipe };
    shop.put_item("espresso", &dearer).await.unwrap();
    shop.tick_schedules(at(0)).await.unwrap();
    let refused = shop.find_schedule("a").await.unwrap();
    assert_eq!(refused.last_error.unwrap().code, "price_changed");
    assert_eq!((refused.refused, refused.pending.is_none(), shops.orders().await), (1, true, 0));
    assert_eq!(shop.tick_schedules(at(3_599)).await.unwrap(), 0, "nothing is left to do");
}

#[tokio::test]
async fn out_of_stock_is_a_refusal_of_the_schedule_too() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    shops.put(&shop, "a", hourly(order_of("croissant")), at(0)).await;
    shops.execute("update stock set on_hand = 0 where ingredient = 'croissant'").await;
    shop.tick_schedules(at(0)).await.unwrap();
    let refused = shop.find_schedule("a").await.unwrap();
    assert_eq!(refused.last_error.unwrap().code, "out_of_stock");
    shop.adjust("croissant", 1, "baked").await.unwrap();
    shop.tick_schedules(at(1)).await.unwrap();
    assert_eq!((shops.orders().await, shop.find_schedule("a").await.unwrap().placed), (1, 1));
}

#[tokio::test]
async fn a_paused_schedule_places_nothing_and_misses_nothing() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    shops.put(&shop, "a", hourly(order_of("espresso")), at(0)).await;
    let paused = shop.pause_schedule("a", Some("ada"), Some("on holiday")).await.unwrap();
    let switched = paused.switched.unwrap();
    assert_eq!(
        (switched.by.as_deref(), switched.reason.as_deref()),
        (Some("ada"), Some("on holiday"))
    );
    assert!(paused.paused && paused.next.is_empty());
    // What it says can change meanwhile; that does not wake it.
    let schedule = serde_json::from_value(hourly(order_of("latte"))).unwrap();
    let (is_new, put) = shop.put_schedule("a", schedule).await.unwrap();
    assert!(!is_new && put.paused && put.next.is_empty());
    assert_eq!(shop.tick_schedules(at(86_400)).await.unwrap(), 0);
    let resumed = shop.resume_schedule("a", None, None).await.unwrap();
    assert_eq!((resumed.paused, resumed.missed, resumed.next.len()), (false, 0, 5));
    assert_eq!(shop.tick_schedules(resumed.next[0]).await.unwrap(), 1);
    let after = shop.find_schedule("a").await.unwrap();
    assert_eq!((shops.orders().await, after.placed, after.missed), (1, 1, 0));
}

#[tokio::test]
async fn a_refused_tick_is_not_tried_again_once_its_schedule_is_paused() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    shops.put(&shop, "a", hourly(order_of("espresso")), at(0)).await;
    shops.execute("update shop set mode = 'paused'").await;
    shop.tick_schedules(at(0)).await.unwrap();
    shop.pause_schedule("a", None, None).await.unwrap();
    shops.execute("update shop set mode = 'open'").await;
    for now in 1..120 {
        shop.tick_schedules(at(now)).await.unwrap();
    }
    let paused = shop.find_schedule("a").await.unwrap();
    assert_eq!((shops.orders().await, paused.refused, paused.pending.is_none()), (0, 1, true));
}

#[tokio::test]
async fn a_schedule_that_is_deleted_stops_and_one_made_again_shares_no_tick_with_it() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    shops.put(&shop, "a", hourly(order_of("espresso")), at(0)).await;
    shop.tick_schedules(at(0)).await.unwrap();
    shop.delete_schedule("a").await.unwrap();
    assert_eq!(shop.tick_schedules(at(7_200)).await.unwrap(), 0);
    assert_eq!(shops.orders().await, 1);
    shops.put(&shop, "a", hourly(order_of("latte")), at(0)).await;
    shop.tick_schedules(at(0)).await.unwrap();
    let again = shop.find_schedule("a").await.unwrap();
    assert_eq!((again.placed, again.refused, shops.orders().await), (1, 0, 2));
}

#[tokio::test]
async fn a_tick_that_was_taken_up_keeps_its_order_when_the_schedule_gets_another() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    shops.put(&shop, "a", hourly(order_of("espresso")), at(0)).await;
    shops.execute("update shop set mode = 'closed'").await;
    shop.tick_schedules(at(0)).await.unwrap();
    let mut bens = order_of("latte");
    bens["customer_id"] = json!("ben");
    shop.put_schedule("a", serde_json::from_value(hourly(bens)).unwrap()).await.unwrap();
    shops.execute("update shop set mode = 'open'").await;
    // The rhythm is the same, and so are the ticks.
    shop.tick_schedules(at(1)).await.unwrap();
    let customers: Vec<String> =
        sqlx::query_scalar("select customer_id from orders").fetch_all(shops.pool()).await.unwrap();
    assert_eq!(customers, ["ada"]);
    shops.all_end().await;
    shop.tick_schedules(at(3_600)).await.unwrap();
    let bens = "select count(*) from orders where customer_id = 'ben'";
    assert_eq!((shops.number(bens).await, shops.orders().await), (1, 2));
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_holds_up_no_other() {
    let shops = Shops::new().await;
    let shop = shops.open("only").await;
    for name in ["a", "b"] {
        shops.put(&shop, name, hourly(order_of("espresso")), at(0)).await;
    }
    shops.execute("update schedule set time_zone = 'Nowhere/Land' where name = 'a'").await;
    assert_eq!(shop.tick_schedules(at(0)).await.unwrap(), 2);
    assert_eq!((shops.orders().await, shop.find_schedule("b").await.unwrap().placed), (1, 1));
    assert_eq!(shop.tick_schedules(at(59)).await.unwrap(), 0, "nor is it looked at without end");
}
