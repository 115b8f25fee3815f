//! A database, a rehearsal and the replicas that share them; and the audit of what happened there.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

use super::{
    api::{Api, id_of},
    cluster::{Place, TestDb},
    replica::Replica,
};

/// Steps that give up and come again fast, so that no test waits for a policy made for people.
pub(crate) const FAST: [&str; 5] = [
    "--retry-backoff=20ms",
    "--retry-backoff-max=200ms",
    "--payment-timeout=10s",
    "--preparation-silence=2s",
    "--notification-timeout=5s",
];

/// A database with its rehearsal. It says where things are and holds no connection, so tests may share it.
pub(crate) struct House {
    pub(crate) database_url: String,
    pub(crate) place: Place,
    replicas: Vec<Replica>,
}

impl House {
    /// A fresh database, with one replica of fast steps.
    pub(crate) async fn new() -> Self {
        Self::with(&FAST).await
    }

    /// A fresh database, with one replica that was told this.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        let mut house = Self::empty().await;
        let replica = house.replica(flags);
        house.replicas.push(replica);
        house
    }

    /// A fresh database, with two replicas that both take orders.
    pub(crate) async fn of_two() -> Self {
        let mut house = Self::new().await;
        house.add(&FAST).await;
        house
    }

    /// One more replica; waits until all of them take orders.
    pub(crate) async fn add(&mut self, flags: &[&str]) {
        let replica = self.replica(flags);
        self.replicas.push(replica);
        for replica in &self.replicas {
            replica.api().ready().await;
        }
    }

    /// A fresh database.
    pub(crate) async fn empty() -> Self {
        let place = Place::new();
        std::fs::create_dir_all(place.base()).unwrap();
        let database_url = TestDb::new().await.url().to_owned();
        Self { database_url, place, replicas: Vec::new() }
    }

    /// The house that all tests share which leave menu, stock, mode and moods alone.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<House> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                let house = Self::new().await;
                house.moods(&json!({ "slow_ms": 1_500, "late_ms": 300 })).await;
                house
            })
            .await
    }

    /// Another replica, which is the caller's.
    pub(crate) fn replica(&self, flags: &[&str]) -> Replica {
        Replica::start(&self.database_url, self.place.base(), flags)
    }

    /// Takes the first replica out, for a test that ends it.
    pub(crate) fn take(&mut self) -> Replica {
        self.replicas.remove(0)
    }

    /// Kills the first replica.
    pub(crate) fn take_and_kill(&mut self) {
        self.take().sigkill();
    }

    /// What all replicas logged.
    pub(crate) fn replicas_log(&self) -> String {
        self.replicas.iter().map(Replica::log).collect()
    }
    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// A client of the first replica.
    pub(crate) fn api(&self) -> Api {
        self.replicas[0].api()
    }

    /// A connection of the test's own.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.unwrap()
    }

    /// Where the rehearsal is.
    pub(crate) async fn rehearsal(&self) -> String {
        let sql = "select value from setting where name = 'rehearsal_url'";
        sqlx::query_scalar(sql).fetch_one(&mut self.connection().await).await.unwrap()
    }

    /// Changes everybody's moods.
    pub(crate) async fn moods(&self, change: &Value) -> Value {
        let rehearsal = Api::new(&self.rehearsal().await);
        rehearsal.put("moods", change).await.expect(200)
    }

    /// What the participants did for an order.
    pub(crate) async fn ledger(&self, id: &str) -> Ledger {
        let rehearsal = Api::new(&self.rehearsal().await);
        let lines = rehearsal.get(&format!("ledger?order_id={id}")).await.expect(200);
        Ledger { lines: lines.as_array().unwrap().clone() }
    }

    /// Everything the participants did.
    pub(crate) async fn whole_ledger(&self) -> Ledger {
        let lines = Api::new(&self.rehearsal().await).get("ledger").await.expect(200);
        Ledger { lines: lines.as_array().unwrap().clone() }
    }

    /// The order's end, its journal and the participants' ledger, after they were held against each other.
    pub(crate) async fn audited(&self, api: &Api, id: &str) -> Audited {
        let order = api.end(id).await;
        let status = order["status"].as_str().unwrap().to_owned();
        let key = format!("{id}/{}", status.to_lowercase());
        let given_up = order["steps"][4]["state"] == "given_up";
        let since = std::time::Instant::now();
        let ledger = loop {
            let ledger = self.ledger(id).await;
            // The notice of a bad end follows its commit; that of a good one comes before it.
            if given_up || ledger.of("notice").iter().any(|it| it["key"] == *key) {
                break ledger;
            }
            assert!(since.elapsed() < super::DEADLINE, "no notice of {order}");
            tokio::time::sleep(super::LOOK_EVERY).await;
        };
        ledger.check(&order);
        let history = api.history(id).await;
        let last = history.last().unwrap();
        assert_eq!((&last["kind"], &last["data"]["status"]), (&json!("closed"), &order["status"]));
        Audited { order, history, ledger }
    }

    /// Waits until nothing is open, then holds all orders against the participants' whole ledger, and the
    /// stock against its moves.
    pub(crate) async fn audit_all(&self, api: &Api) -> Vec<Value> {
        let mut connection = self.connection().await;
        let open = "select count(*) from saga where closed_status is null";
        let since = std::time::Instant::now();
        while sqlx::query_scalar::<_, i64>(open).fetch_one(&mut connection).await.unwrap() > 0 {
            assert!(since.elapsed() < super::DEADLINE * 2, "some orders never end");
            tokio::time::sleep(super::LOOK_EVERY).await;
        }
        let mut orders: Vec<Value> = Vec::new();
        let mut path = "/v1/orders?limit=200".to_owned();
        loop {
            let page = api.get(&path).await.expect(200);
            orders.extend(page["orders"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/v1/orders?limit=200&cursor={cursor}");
        }
        let mut by_order: std::collections::HashMap<String, Vec<Value>> = Default::default();
        for line in self.whole_ledger().await.lines {
            let id = line["order_id"].as_str().unwrap_or_default().to_owned();
            by_order.entry(id).or_default().push(line);
        }
        for order in &orders {
            let lines = by_order.remove(&id_of(order)).unwrap_or_default();
            Ledger { lines }.check(order);
        }
        assert!(by_order.is_empty(), "the participants know orders that we do not: {by_order:?}");
        let wrong: i64 = sqlx::query_scalar(
            "select count(*) from stock s where s.reserved <> 0 or s.on_hand < 0",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(wrong, 0, "something stays reserved though nothing is open");
        let gaps: i64 = sqlx::query_scalar(
            "select count(*) from (select s.saga_id from saga s join journal j using (bucket, saga_id)
              group by s.saga_id, s.seq having min(j.seq) <> 1 or count(*) <> s.seq) x",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(gaps, 0, "journals have gaps");
        orders
    }

    /// The rows of every table that orders and people write to.
    pub(crate) async fn rows(&self) -> Vec<(String, i64)> {
        const TABLES: [&str; 16] = [
            "saga",
            "journal",
            "inbox",
            "orders",
            "ledger",
            "stock",
            "stock_move",
            "stock_adjustment",
            "menu_item",
            "recipe",
            "pickup_code",
            "collection",
            "idempotency_key",
            "outbox",
            "task",
            "queue",
        ];
        let mut connection = self.connection().await;
        let mut rows = Vec::new();
        for table in TABLES {
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
            let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
            rows.push((table.to_owned(), count));
        }
        rows
    }
}

/// What became of an order, by us and by the participants.
pub(crate) struct Audited {
    pub(crate) order: Value,
    pub(crate) history: Vec<Value>,
    pub(crate) ledger: Ledger,
}

impl Audited {
    /// Status and reason.
    pub(crate) fn end(&self) -> (&str, Option<&str>) {
        (self.order["status"].as_str().unwrap(), self.order["closed_reason"].as_str())
    }

    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.history.iter().map(|it| it["kind"].as_str().unwrap()).collect()
    }

    pub(crate) fn step(&self, name: &str) -> &Value {
        let steps = self.order["steps"].as_array().unwrap();
        steps.iter().find(|it| it["name"] == name).unwrap()
    }
}

/// What participants did.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) lines: Vec<Value>,
}

impl Ledger {
    pub(crate) fn of(&self, kind: &str) -> Vec<&Value> {
        self.lines.iter().filter(|it| it["kind"] == kind).collect()
    }

    pub(crate) fn sum(&self, kind: &str) -> i64 {
        self.of(kind).iter().map(|it| it["amount"].as_i64().unwrap()).sum()
    }

    /// The kinds of lines in their order, notices aside.
    pub(crate) fn deeds(&self) -> Vec<&str> {
        let kinds = self.lines.iter().map(|it| it["kind"].as_str().unwrap());
        kinds.filter(|it| *it != "notice").collect()
    }

    /// What the customer was told.
    pub(crate) fn told(&self) -> Vec<&str> {
        self.of("notice").iter().map(|it| it["status"].as_str().unwrap()).collect()
    }

    /// The promises about money and notices, for a closed order.
    fn check(&self, order: &Value) {
        let (captured, refunded) = (self.sum("captured"), self.sum("refunded"));
        let total = order["total"].as_i64().unwrap();
        let kept = if order["status"] == "COMPLETED" { total } else { 0 };
        assert_eq!(captured - refunded, kept, "{order}\n{self:?}");
        assert!(self.of("captured").len() <= 1 && self.of("refunded").len() <= 1, "{self:?}");
        assert_eq!(order["money"]["captured"], captured, "{order}\n{self:?}");
        assert_eq!(order["money"]["refunded"], refunded, "{order}\n{self:?}");
        assert_eq!(order["status"] == "REFUNDED", refunded > 0, "{order}\n{self:?}");
        for told in self.told() {
            assert_eq!(order["status"], told, "{order}\n{self:?}");
        }
    }
}
