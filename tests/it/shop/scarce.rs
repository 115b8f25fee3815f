//! What there is not enough of: stock, room, opening hours; and what it costs.

use futures::future::join_all;
use serde_json::json;

use crate::world::{
    api::{Answer, Api, id_of, order_of},
    house::{FAST, House},
};

fn split(answers: Vec<Answer>) -> (Vec<Answer>, Vec<Answer>) {
    answers.into_iter().partition(|it| it.status == 201)
}

#[tokio::test]
async fn two_hundred_orders_for_the_last_ten_croissants_sell_ten() {
    let house = House::of_two().await;
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    apis[0].adjust("croissant", -490).await.expect(200);
    let order = order_of("croissant");
    let answers = join_all((0..200).map(|n| apis[n % 2].post_order(&order))).await;
    let (accepted, refused) = split(answers);
    assert_eq!(accepted.len(), 10);
    for answer in &refused {
        answer.assert_refused(409, "out_of_stock");
        assert_eq!(answer.json()["ingredient"], "croissant");
    }
    let ends = house.audit_all(&apis[0]).await;
    assert_eq!(ends.len(), 10);
    assert!(ends.iter().all(|it| it["status"] == "COMPLETED"));
    assert_eq!(house.whole_ledger().await.of("captured").len(), 10);
    assert_eq!(apis[1].stock("croissant").await, (0, 0));
    let menu = apis[1].get("/v1/menu").await.expect(200);
    let items = menu["items"].as_array().unwrap();
    let croissant = items.iter().find(|it| it["item"] == "croissant").unwrap();
    assert_eq!((&croissant["available"], &croissant["servings"]), (&json!(false), &json!(0)));
}

#[tokio::test]
async fn an_order_takes_exactly_its_recipes_from_the_stock() {
    let house = House::new().await;
    let api = house.api();
    let mut order = order_of("latte");
    order["items"] = json!([
        { "item": "latte", "quantity": 3 }, { "item": "latte", "quantity": 1 },
        { "item": "oat_latte", "quantity": 2 }, { "item": "croissant", "quantity": 5 },
    ]);
    let placed = api.post_order(&order).await.expect(201);
    assert_eq!(placed["total"], 4 * 480 + 2 * 520 + 5 * 300);
    house.audited(&api, &id_of(&placed)).await;
    for (ingredient, left) in [
        ("beans", 50_000 - 6 * 9),
        ("milk", 100_000 - 4 * 220),
        ("oat_milk", 20_000 - 2 * 220),
        ("cup", 5_000 - 6),
        ("croissant", 500 - 5),
    ] {
        assert_eq!(api.stock(ingredient).await, (left, 0), "{ingredient}");
    }
}

#[tokio::test]
async fn no_more_orders_are_open_than_the_shop_takes() {
    let flags = [&FAST[..], &["--preparation-attempts=100000"]].concat();
    let mut house = House::with(&flags).await;
    house.add(&flags).await;
    house.moods(&json!({ "kitchen": "down" })).await;
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    let room = json!({ "mode": "open", "max_open_orders": 20 });
    assert_eq!(apis[0].put("/v1/shop", &room).await.expect(200)["max_open_orders"], 20);
    let order = order_of("espresso");
    let answers = join_all((0..200).map(|n| apis[n % 2].post_order(&order))).await;
    let (accepted, refused) = split(answers);
    assert_eq!((accepted.len(), refused.len()), (20, 180));
    for answer in &refused {
        answer.assert_refused(503, "at_capacity");
        assert!(answer.header("retry-after").is_some());
    }
    house.moods(&json!({ "kitchen": null })).await;
    for answer in &accepted {
        assert_eq!(apis[0].end(&id_of(&answer.json())).await["status"], "COMPLETED");
    }
    apis[1].place(&order).await;
    assert_eq!(house.audit_all(&apis[0]).await.len(), 21);
}

#[tokio::test]
async fn a_shop_that_is_not_open_takes_nothing_new_and_finishes_what_it_has() {
    let flags = [&FAST[..], &["--preparation-attempts=100000"]].concat();
    let house = House::with(&flags).await;
    house.moods(&json!({ "kitchen": "down" })).await;
    let api = house.api();
    let id = api.place(&order_of("latte")).await;
    for mode in ["paused", "closed"] {
        api.put("/v1/shop", &json!({ "mode": mode })).await.expect(200);
        assert_eq!(api.get("/v1/shop").await.expect(200)["mode"], mode);
        let refused = api.post_order(&order_of("latte")).await;
        refused.assert_refused(409, "shop_closed");
        assert!(refused.text.contains(mode));
    }
    house.moods(&json!({ "kitchen": null })).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
    api.put("/v1/shop", &json!({ "mode": "open" })).await.expect(200);
    api.place(&order_of("latte")).await;
    house.audit_all(&api).await;
}

#[tokio::test]
async fn nobody_pays_another_price_than_the_one_he_saw() {
    let house = House::of_two().await;
    let [api, other] = [house.replicas()[0].api(), house.replicas()[1].api()];
    let mut seen = order_of("latte");
    seen["items"][0]["price"] = json!(480);
    other.place(&seen).await;
    let put =
        json!({ "name": "Latte", "price": 500, "recipe": { "beans": 9, "milk": 220, "cup": 1 } });
    let menu = api.put("/v1/menu/items/latte", &put).await.expect(200);
    assert_eq!(menu["version"], 2);
    let mut total = order_of("latte");
    total["expected_total"] = json!(480);
    for (order, what) in [(&seen, "latte"), (&total, "total")] {
        let refused = other.post_order(order).await;
        refused.assert_refused(409, "price_changed");
        let problem = refused.json();
        assert_eq!(
            (&problem["what"], &problem["seen"], &problem["now"]),
            (&json!(what), &json!(480), &json!(500))
        );
    }
    seen["items"][0]["price"] = json!(500);
    seen["expected_total"] = json!(500);
    let placed = other.post_order(&seen).await.expect(201);
    let audited = house.audited(&api, &id_of(&placed)).await;
    assert_eq!((&audited.order["total"], audited.ledger.sum("captured")), (&json!(500), 500));
    assert_eq!(house.audit_all(&api).await.len(), 2);
}

#[tokio::test]
async fn what_is_taken_off_sale_cannot_be_ordered_and_what_is_put_on_can() {
    let house = House::new().await;
    let api = house.api();
    let off = json!({ "name": "Mocha", "price": 520, "available": false, "recipe": {} });
    api.put("/v1/menu/items/mocha", &off).await.expect(200);
    let refused = api.post_order(&order_of("mocha")).await;
    refused.assert_refused(422, "item_unknown");
    assert_eq!(refused.json()["item"], "mocha");
    let cake = json!({ "name": "Cake", "price": 390, "recipe": { "chocolate": 40 } });
    let menu = api.put("/v1/menu/items/cake", &cake).await.expect(200);
    let item = menu["items"].as_array().unwrap().iter().find(|it| it["item"] == "cake").unwrap();
    assert_eq!((&item["available"], &item["servings"]), (&json!(true), &json!(125)));
    let id = api.place(&order_of("cake")).await;
    assert_eq!(house.audited(&api, &id).await.end(), ("COMPLETED", None));
    assert_eq!(api.stock("chocolate").await, (4_960, 0));
}
