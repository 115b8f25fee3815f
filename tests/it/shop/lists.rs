//! Lists of orders: what they show, and that paging neither repeats nor forgets.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::{
    api::{Api, id_of, order_of, order_with},
    house::House,
};

async fn page(api: &Api, query: &[(&str, &str)]) -> Value {
    let url = url::Url::parse_with_params(&api.url("/v1/orders"), query).unwrap();
    api.send(api.http.get(url)).await.expect(200)
}

fn ids(page: &Value) -> Vec<String> {
    page["orders"].as_array().unwrap().iter().map(id_of).collect()
}

/// All pages of a list, each of so many orders.
async fn all(api: &Api, query: &[(&str, &str)], limit: &str) -> Vec<String> {
    let mut listed = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.to_vec();
        query.push(("limit", limit));
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let page = page(api, &query).await;
        listed.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return listed,
        }
    }
}

#[tokio::test]
async fn lists_show_what_was_asked_for_newest_first() {
    let house = House::new().await;
    let api = house.api();
    let mut placed = HashMap::new();
    for (name, customer, attributes) in [
        ("plain", "ada", vec![]),
        ("table", "ada", vec![("table", "7"), ("side", "left")]),
        ("bens", "ben", vec![("table", "7")]),
        ("declined", "ben", vec![("rehearse.payment", "decline")]),
        ("parked", "ada", vec![("rehearse.payment", "wrong_amount")]),
    ] {
        let mut order = order_with(&attributes);
        order["customer_id"] = json!(customer);
        let id = api.place(&order).await;
        match name {
            "parked" => drop(api.once(&id, |it| it["attention"].is_string()).await),
            _ => drop(api.end(&id).await),
        }
        placed.insert(name, id);
    }
    let created = api.order(&placed["bens"]).await["created_at"].as_str().unwrap().to_owned();
    for (query, names) in [
        (vec![], vec!["parked", "declined", "bens", "table", "plain"]),
        (vec![("customer_id", "ada")], vec!["parked", "table", "plain"]),
        (vec![("customer_id", "nobody")], vec![]),
        (vec![("status", "COMPLETED")], vec!["bens", "table", "plain"]),
        (vec![("status", "FAILED"), ("customer_id", "ben")], vec!["declined"]),
        (vec![("status", "FAILED"), ("customer_id", "ada")], vec![]),
        (vec![("status", "REFUNDED")], vec![]),
        (vec![("status", "PENDING")], vec!["parked"]),
        (vec![("status", "PENDING"), ("attention", "false")], vec![]),
        (vec![("status", "COMPLETED"), ("attention", "false")], vec!["bens", "table", "plain"]),
        (vec![("status", "READY")], vec![]),
        (vec![("attention", "true")], vec!["parked"]),
        (vec![("attention", "true"), ("customer_id", "ben")], vec![]),
        (vec![("attention", "false")], vec!["declined", "bens", "table", "plain"]),
        (vec![("attr.table", "7")], vec!["bens", "table"]),
        (vec![("attr.table", "7"), ("attr.side", "left")], vec!["table"]),
        (vec![("attr.table", "7"), ("customer_id", "ben")], vec!["bens"]),
        (vec![("attr.table", "8")], vec![]),
        (vec![("attr.table", "7"), ("status", "COMPLETED")], vec!["bens", "table"]),
        (vec![("attr.table", "7"), ("status", "FAILED")], vec![]),
        (vec![("attr.table", "7"), ("created_to", &*created)], vec!["table"]),
        (vec![("attr.rehearse.payment", "wrong_amount"), ("attention", "true")], vec!["parked"]),
        (vec![("attr.rehearse.payment", "wrong_amount"), ("attention", "false")], vec![]),
        (vec![("created_from", &*created)], vec!["parked", "declined", "bens"]),
        (vec![("created_to", &*created)], vec!["table", "plain"]),
        (vec![("created_from", &*created), ("status", "COMPLETED")], vec!["bens"]),
        (
            vec![("created_from", "2000-01-01T00:00:00+02:00")],
            vec!["parked", "declined", "bens", "table", "plain"],
        ),
        (vec![("created_to", "1960-01-01T00:00:00Z")], vec![]),
        (vec![("created_from", "2999-01-01T00:00:00Z")], vec![]),
    ] {
        let wanted: Vec<String> = names.iter().map(|it| placed[it].clone()).collect();
        let listed = page(&api, &query).await;
        assert_eq!(ids(&listed), wanted, "{query:?}");
        assert_eq!(listed["next_cursor"], Value::Null);
        assert_eq!(all(&api, &query, "1").await, wanted, "{query:?}, page by page");
    }
    for order in page(&api, &[]).await["orders"].as_array().unwrap() {
        assert_eq!(*order, api.order(order["id"].as_str().unwrap()).await);
    }
}

#[tokio::test]
async fn pages_neither_repeat_nor_forget_while_orders_are_placed() {
    let house = House::of_two().await;
    let apis: Vec<Api> = house.replicas().iter().map(|it| it.api()).collect();
    let order = order_of("espresso");
    let before: HashSet<String> =
        join_all((0..100).map(|n| apis[n % 2].place(&order))).await.into_iter().collect();
    let placing = join_all((0..100).map(|n| apis[n % 2].place(&order)));
    let by_all = all(&apis[1], &[], "7");
    let by_one = all(&apis[0], &[("customer_id", "ada")], "9");
    let (meanwhile, by_all, by_one) = tokio::join!(placing, by_all, by_one);
    for listed in [by_all, by_one] {
        let seen: HashSet<&String> = listed.iter().collect();
        assert_eq!(seen.len(), listed.len(), "an order was listed twice");
        assert!(listed.is_sorted_by(|a, b| a > b), "not newest first");
        assert!(before.iter().all(|it| seen.contains(it)), "an order was left out");
    }
    let known: HashSet<String> = before.into_iter().chain(meanwhile).collect();
    assert_eq!(all(&apis[0], &[], "50").await.into_iter().collect::<HashSet<_>>(), known);
    house.audit_all(&apis[0]).await;
}
