//! The API's description: committed, fresh, and kept.

use std::path::Path;

use serde_json::{Value, json};

use crate::world::{
    api::order_of,
    house::House,
    replica::{crema, run_to_end},
};

fn described() -> String {
    let output = run_to_end(crema().arg("openapi"));
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_committed_description_is_the_binarys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml");
    let described = described();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &described).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == described, "openapi.yaml is stale: run the tests with UPDATE_OPENAPI=1");
}

/// The operations of the description: method, path, statuses. Its YAML is our own writer's, in which the
/// nesting is two spaces a level.
fn operations(yaml: &str) -> Vec<(String, String, Vec<u16>)> {
    let mut operations: Vec<(String, String, Vec<u16>)> = Vec::new();
    let mut path = String::new();
    for line in yaml.lines().skip_while(|it| *it != "paths:").skip(1) {
        let indent = line.len() - line.trim_start().len();
        let name = line.trim().trim_end_matches(':').trim_matches(['\'', '"']);
        match indent {
            0 => break,
            2 => path = name.to_owned(),
            4 => operations.push((name.to_uppercase(), path.clone(), Vec::new())),
            8 => {
                if let (Ok(status), Some(last)) = (name.parse(), operations.last_mut()) {
                    last.2.push(status);
                }
            }
            _ => {}
        }
    }
    operations
}

/// A request that the route can answer with 2xx, as far as one without preparation can be.
fn body_for(method: &str, path: &str) -> Option<Value> {
    match (method, path) {
        ("POST", "/v1/orders") => Some(order_of("latte")),
        ("POST", "/v1/orders/{id}/collect") => Some(json!({ "code": "NONE" })),
        ("POST", "/v1/stock/{ingredient}/adjust") => Some(json!({ "delta": 1, "reason": "x" })),
        ("PUT", "/v1/menu/items/{item}") => {
            Some(json!({ "name": "Latte", "price": 480, "recipe": { "milk": 220 } }))
        }
        ("POST", "/v1/queues/{queue}/poll") => Some(json!({ "worker": "ada", "wait": "0s" })),
        ("POST", "/v1/tasks/{token}/fail") => Some(json!({ "code": "broken" })),
        ("PUT", "/v1/queues/{queue}/limits") => Some(json!({ "by": "ada", "reason": "x" })),
        ("PUT", "/v1/schedules/{name}") => {
            Some(json!({ "every_seconds": 86_400, "order": order_of("latte") }))
        }
        ("PATCH", "/v1/orders/{id}") => Some(json!({ "pickup_at": "2026-01-01T08:00:00Z" })),
        ("POST", "/v1/orders/{id}/resolve") => {
            Some(json!({ "outcome": "refused", "code": "x", "by": "ada", "reason": "x" }))
        }
        ("POST", "/v1/approvals/{token}") => Some(json!({ "approved": true, "by": "ada" })),
        ("PUT", "/v1/shop") => Some(json!({ "mode": "open" })),
        _ => None,
    }
}

/// A token of no task, or none at all.
fn token(id: &str) -> String {
    let hex = id.replace('-', "");
    format!("{hex}{hex}")
}

#[tokio::test]
async fn every_route_answers_as_it_is_described() {
    let house = House::new().await;
    let api = house.api();
    let known = api.place(&order_of("latte")).await;
    api.end(&known).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let operations = operations(&described());
    assert!(operations.len() >= 20, "{operations:?}");
    for (method, path, statuses) in operations {
        for id in [&*known, &unknown, "nope"] {
            let address = path.replace("{id}", id).replace("{name}", id).replace("{token}", id);
            let address = address.replace("{ingredient}", "milk").replace("{item}", "latte");
            let address = address.replace("{queue}", "bar").replace("{token}", &token(id));
            let verb = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = api.http.request(verb, api.url(&address));
            if let Some(body) = body_for(&method, &path) {
                request = request.json(&body);
            }
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            assert!(statuses.contains(&status), "{method} {address}: {status}, not {statuses:?}");
            // A stream is not read: it has no end.
            let kind = response.headers().get("content-type").map(|it| it.to_str().unwrap());
            assert_eq!(
                kind.unwrap_or_default() == "application/problem+json",
                status >= 400,
                "{method} {address}"
            );
        }
    }
}

#[tokio::test]
async fn the_server_gives_out_its_own_description() {
    let answer = House::shared().await.api().get("/openapi.yaml").await;
    assert_eq!((answer.status, answer.text), (200, described()));
}
