//! Customers: many at once, who place orders, look at them, cancel some, and write down what they were told
//! as Jepsen does: *ok* (it happened), *fail* (it did not and will not), or *info* (nobody knows).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{moods::mood, params::Params, service::Door};

/// Requests to place an order at once; twice as many in the rush hour.
const PLACING_AT_ONCE: usize = 24;
/// Between two tries while nobody answers.
const PAUSE: Duration = Duration::from_millis(20);
/// The items, their prices, and what of each ingredient they take is the seeded menu's.
const ITEMS: [(&str, i64); 4] =
    [("espresso", 250), ("cappuccino", 450), ("mocha", 520), ("croissant", 300)];

/// What a customer was told when asking for something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told<T> {
    Ok(T),
    /// Refused, with this code and this status of the order.
    Fail(String, Option<String>),
    Info,
}

/// An order as somebody saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    pub(crate) status: String,
    pub(crate) version: i64,
}

/// Everything one customer asked and was told about one order.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) customer: String,
    pub(crate) key: Option<String>,
    pub(crate) attributes: Value,
    pub(crate) total: i64,
    pub(crate) placings: Vec<Told<Uuid>>,
    pub(crate) reads: Vec<Seen>,
    /// Reads of an order that had been answered 201, and was not there.
    pub(crate) missing: usize,
    /// Answers to the cancellation: the status code is 202 or 200.
    pub(crate) cancels: Vec<Told<u16>>,
}

impl Record {
    pub(crate) fn id(&self) -> Option<Uuid> {
        self.placings.iter().find_map(|it| match it {
            Told::Ok(id) => Some(*id),
            _ => None,
        })
    }
}

/// All customers of a test.
pub(crate) struct Crowd {
    http: Client,
    doors: Vec<Door>,
    params: Params,
    turns: Semaphore,
    /// Room for orders that are open.
    room: Semaphore,
    answered: AtomicUsize,
    /// Nothing will happen any more: look a last time and go.
    pub(crate) over: CancellationToken,
}

impl Crowd {
    pub(crate) fn new(params: Params, doors: Vec<Door>) -> Arc<Self> {
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(15)).build().unwrap();
        let at_once = PLACING_AT_ONCE * if params.is_rush_hour() { 2 } else { 1 };
        let (turns, room) = (Semaphore::new(at_once), Semaphore::new(params.in_flight));
        let (answered, over) = (AtomicUsize::new(0), CancellationToken::new());
        Arc::new(Self { http, doors, params, turns, room, answered, over })
    }

    /// So many orders have ended, or never were.
    pub(crate) fn make_room(&self, orders: usize) {
        if self.params.is_rush_hour() {
            self.room.add_permits(orders);
        }
    }

    /// How many customers know what became of their placing, or gave up asking.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets them all in.
    pub(crate) fn come(self: &Arc<Self>) -> JoinSet<Record> {
        let mut customers = JoinSet::new();
        for index in 0..self.params.orders {
            let crowd = self.clone();
            customers.spawn(async move { crowd.customer(index).await });
        }
        customers
    }

    async fn customer(&self, index: usize) -> Record {
        let mut chance = self.params.chance(index as u64 + 1_000);
        let (moods, must_cancel) = mood(&mut chance);
        let (item, price) = *ITEMS.choose(&mut chance).unwrap();
        let quantity = chance.random_range(1..=3_i64);
        let mut record = Record {
            customer: format!("customer-{index}"),
            key: chance.random_bool(0.8).then(|| format!("key-{index}")),
            attributes: moods.iter().map(|(name, it)| (name.to_string(), json!(it))).collect(),
            total: price * quantity,
            placings: Vec::new(),
            reads: Vec::new(),
            missing: 0,
            cancels: Vec::new(),
        };
        let body = json!({
            "customer_id": record.customer, "items": [{"item": item, "quantity": quantity}],
            "payment": {"method_token": "tok_visa"}, "attributes": record.attributes,
            "expected_total": record.total,
        });
        self.room.acquire().await.unwrap().forget();
        {
            let _turn = self.turns.acquire().await.unwrap();
            self.place(&mut record, &body, &mut chance).await;
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        if record.id().is_none() {
            self.make_room(1);
        }
        if let Some(id) = record.id() {
            let cancels = must_cancel || chance.random_bool(0.15);
            self.follow(&mut record, id, &body, cancels, &mut chance).await;
        }
        record
    }

    /// Asks until the answer is definite; without a key only once, for a second try might be a second order.
    async fn place(&self, record: &mut Record, body: &Value, chance: &mut StdRng) {
        loop {
            let mut request = self.http.post(self.url("/v1/orders", chance).await).json(body);
            if let Some(key) = &record.key {
                request = request.header("idempotency-key", key);
            }
            let told = match told(request).await {
                Some((StatusCode::CREATED, order)) => {
                    assert_eq!(order["total"], record.total, "{order}");
                    Told::Ok(order["id"].as_str().unwrap().parse().unwrap())
                }
                answer => refused(answer),
            };
            let is_info = told == Told::Info;
            record.placings.push(told);
            if !is_info || record.key.is_none() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at the order, cancels it at some point if that is its fate, and now and then stays to the end.
    async fn follow(
        &self,
        record: &mut Record,
        id: Uuid,
        body: &Value,
        cancels: bool,
        chance: &mut StdRng,
    ) {
        self.look(record, id, "", chance).await;
        if cancels {
            let until = ["PENDING", "PAID", "PREPARING", "READY"].choose(chance).unwrap();
            let until = format!("?wait=500ms&until={until}");
            self.look(record, id, &until, chance).await;
            self.cancel(record, id, chance).await;
        }
        self.look(record, id, "", chance).await;
        if record.key.is_some() && chance.random_bool(0.1) {
            // The same request again, whenever: the same order.
            self.place(record, body, chance).await;
        }
        let stays = chance.random_bool(0.25);
        while stays && !self.over.is_cancelled() {
            self.look(record, id, "?wait=1s", chance).await;
            let ended = |it: &Seen| is_final(&it.status);
            if record.reads.last().is_some_and(ended) {
                break;
            }
        }
    }

    async fn look(&self, record: &mut Record, id: Uuid, query: &str, chance: &mut StdRng) {
        let url = self.url(&format!("/v1/orders/{id}{query}"), chance).await;
        let begin = Instant::now();
        match told(self.http.get(url)).await {
            Some((StatusCode::OK, order)) => {
                let status = order["status"].as_str().unwrap().to_owned();
                let version = order["version"].as_i64().unwrap();
                record.reads.push(Seen { begin, end: Instant::now(), status, version });
            }
            Some((StatusCode::NOT_FOUND, _)) => record.missing += 1,
            _ => tokio::time::sleep(PAUSE).await,
        }
    }

    async fn cancel(&self, record: &mut Record, id: Uuid, chance: &mut StdRng) {
        loop {
            let url = self.url(&format!("/v1/orders/{id}/cancel"), chance).await;
            let told = match told(self.http.post(url)).await {
                Some((status @ (StatusCode::ACCEPTED | StatusCode::OK), _)) => {
                    Told::Ok(status.as_u16())
                }
                answer => refused(answer),
            };
            let is_info = told == Told::Info;
            record.cancels.push(told);
            if !is_info || self.over.is_cancelled() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// An address at a replica that lives, as far as known.
    async fn url(&self, path: &str, chance: &mut StdRng) -> String {
        loop {
            let open: Vec<String> = self
                .doors
                .iter()
                .filter_map(|it| Some(it.borrow().as_ref()?.join(path).unwrap().to_string()))
                .collect();
            if let Some(url) = open.choose(chance) {
                return url.clone();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

pub(crate) fn is_final(status: &str) -> bool {
    matches!(status, "COMPLETED" | "FAILED" | "CANCELLED" | "REFUNDED")
}

/// Status and body; none when the answer did not come, or not whole.
async fn told(request: reqwest::RequestBuilder) -> Option<(StatusCode, Value)> {
    let answer = request.send().await.ok()?;
    Some((answer.status(), answer.json().await.ok()?))
}

/// Only a 4xx says that it did not happen; and not the one that says "ask again".
fn refused<T>(answer: Option<(StatusCode, Value)>) -> Told<T> {
    match answer {
        Some((status, problem)) if status.is_client_error() && problem["code"] != "in_progress" => {
            let of = problem["order_status"].as_str();
            let code = problem["code"].as_str().unwrap_or("none").to_owned();
            Told::Fail(code, of.map(str::to_owned))
        }
        _ => Told::Info,
    }
}
