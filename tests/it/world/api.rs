//! A small client of the HTTP API.

use std::time::Instant;

use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use serde_json::{Value, json};

use super::DEADLINE;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|it| it.to_str().unwrap())
    }

    /// The body, which must come with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// A refusal, as the API promises them to look; its code.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("/problems/{code}"));
        (self.status, code)
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str) {
        assert_eq!(self.refusal(), (status, code.to_owned()), "{self:?}");
    }
}

/// A client of one replica; its connections belong to the runtime that made it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) http: Client,
    base: String,
}

impl Api {
    pub(crate) fn new(base: &str) -> Self {
        let http = Client::builder().no_proxy().timeout(DEADLINE * 2).build().unwrap();
        Self { http, base: base.to_owned() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    /// Sends it again for as long as the machine is too busy to take it. Nothing was done then.
    async fn send_until_taken(&self, request: impl Fn() -> RequestBuilder) -> Answer {
        let since = Instant::now();
        loop {
            let answer = self.send(request()).await;
            let busy = ["unavailable", "overloaded", "in_progress"];
            let is_busy = matches!(answer.status, 409 | 503)
                && busy.contains(&answer.json()["code"].as_str().unwrap());
            if !is_busy || since.elapsed() > DEADLINE {
                return answer;
            }
            tokio::time::sleep(super::LOOK_EVERY).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send_until_taken(|| self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.http.post(self.url(path)).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.http.put(self.url(path)).json(body)).await
    }

    /// Posts an order under a key, once.
    pub(crate) async fn post_keyed_once(&self, order: &Value, key: &str) -> Answer {
        let request = self.http.post(self.url("/v1/orders")).header("idempotency-key", key);
        self.send(request.json(order)).await
    }

    /// Posts an order under a key until it is decided.
    pub(crate) async fn post_keyed(&self, order: &Value, key: &str) -> Answer {
        let request =
            || self.http.post(self.url("/v1/orders")).header("idempotency-key", key).json(order);
        self.send_until_taken(request).await
    }

    /// Posts an order until it is decided.
    pub(crate) async fn post_order(&self, order: &Value) -> Answer {
        self.send_until_taken(|| self.http.post(self.url("/v1/orders")).json(order)).await
    }

    /// Places an order; its id.
    pub(crate) async fn place(&self, order: &Value) -> String {
        let placed = self.post_order(order).await;
        id_of(&placed.expect(201))
    }

    pub(crate) async fn order(&self, id: &str) -> Value {
        self.get(&format!("/v1/orders/{id}")).await.expect(200)
    }

    /// The order once it has come so far, or has ended.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        let since = Instant::now();
        loop {
            let answer = self.get(&format!("/v1/orders/{id}?wait=10s&until={status}")).await;
            if answer.header("wait-timed-out").is_none() {
                return answer.expect(200);
            }
            assert!(since.elapsed() < DEADLINE, "never {status}: {}", answer.text);
        }
    }

    /// The order once it has ended.
    pub(crate) async fn end(&self, id: &str) -> Value {
        self.until(id, "terminal").await
    }

    /// The order once this holds.
    pub(crate) async fn once(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let order = self.order(id).await;
            if holds(&order) {
                return order;
            }
            assert!(since.elapsed() < DEADLINE, "it never came so far: {order}");
            tokio::time::sleep(super::LOOK_EVERY).await;
        }
    }

    pub(crate) async fn cancel(&self, id: &str) -> Answer {
        let url = self.url(&format!("/v1/orders/{id}/cancel"));
        self.send_until_taken(|| self.http.post(&url)).await
    }

    pub(crate) async fn collect(&self, id: &str, code: &str) -> Answer {
        self.post(&format!("/v1/orders/{id}/collect"), &json!({ "code": code })).await
    }

    /// The order's journal, which must be gapless.
    pub(crate) async fn history(&self, id: &str) -> Vec<Value> {
        let history = self.get(&format!("/v1/orders/{id}/history")).await.expect(200);
        let events = history["events"].as_array().unwrap().clone();
        for (seq, event) in (1..).zip(&events) {
            assert_eq!(event["seq"], seq, "{history}");
        }
        events
    }

    /// What is there of an ingredient: on hand, reserved.
    pub(crate) async fn stock(&self, ingredient: &str) -> (i64, i64) {
        let stock = self.get("/v1/stock").await.expect(200);
        let rows = stock["stock"].as_array().unwrap();
        let row = rows.iter().find(|it| it["ingredient"] == ingredient).unwrap();
        (row["on_hand"].as_i64().unwrap(), row["reserved"].as_i64().unwrap())
    }

    /// Changes what is there of an ingredient.
    pub(crate) async fn adjust(&self, ingredient: &str, delta: i64) -> Answer {
        let body = json!({ "delta": delta, "reason": "a test" });
        self.post(&format!("/v1/stock/{ingredient}/adjust"), &body).await
    }

    /// Waits until the replica says that it is ready.
    pub(crate) async fn ready(&self) {
        let since = Instant::now();
        while self.send(self.http.get(self.url("/readyz"))).await.status != 200 {
            assert!(since.elapsed() < DEADLINE, "never ready");
            tokio::time::sleep(super::LOOK_EVERY).await;
        }
    }
}

pub(crate) fn id_of(order: &Value) -> String {
    order["id"].as_str().unwrap().to_owned()
}

/// An order of one item, which nothing disturbs.
pub(crate) fn order_of(item: &str) -> Value {
    json!({
        "customer_id": "ada",
        "items": [{ "item": item, "quantity": 1 }],
        "payment": { "method_token": "tok_visa" },
    })
}

/// An order of one item, with attributes.
pub(crate) fn order_with(attributes: &[(&str, &str)]) -> Value {
    let mut order = order_of("cappuccino");
    for (name, value) in attributes {
        order["attributes"][*name] = json!(value);
    }
    order
}
