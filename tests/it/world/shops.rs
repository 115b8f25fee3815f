//! Shops in this process, on a database and a rehearsal of their own: for what depends on the time, which is then the
//! test's to say.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crema::{
    postgres::PoolSpec,
    rehearsal::{Role, serve},
    saga::{EngineSettings, lease::LeaseSettings},
    shop::{
        Opening, Pools, Shop,
        kitchen::Kitchen,
        notices::Notifier,
        participant::{Limits, Participant},
        payments::Payments,
        pull::Pull,
        rehearse::Rehearsed,
        saga::{Notices, Participants, Policies},
    },
};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgPool;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    api::Api,
    cluster::{Place, TestDb},
    until,
};

/// A database, a rehearsal, and shops that share them.
pub(crate) struct Shops {
    db: TestDb,
    root: Url,
    stop: CancellationToken,
    _place: Place,
}

impl Drop for Shops {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shops {
    pub(crate) async fn new() -> Self {
        let place = Place::new();
        std::fs::create_dir_all(place.base()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, place.base().join("ledger"), stop.clone()));
        Self { db: TestDb::new().await, root, stop, _place: place }
    }

    /// One more shop, which takes orders when this returns.
    pub(crate) async fn open(&self, name: &str) -> Arc<Shop> {
        let pool = |role, read_only| {
            let statement_timeout = Duration::from_secs(30);
            self.db.database().pool(PoolSpec {
                role,
                max_connections: 4,
                statement_timeout,
                read_only,
            })
        };
        let reached = |name, role: Role| {
            let address = watch::channel(Some(role.address(&self.root))).1;
            Participant::new(name, address, Limits::default()).unwrap()
        };
        let lease = LeaseSettings {
            lease: Duration::from_secs(30),
            tick: Duration::from_millis(50),
            ..LeaseSettings::default()
        };
        let opening = Opening {
            options: self.db.database().connect_options(),
            pools: Pools {
                read: pool("read", true),
                write: pool("write", false),
                drive: pool("drive", false),
            },
            participants: Participants {
                payments: Payments::new(reached("payment", Role::Payment)),
                kitchen: Kitchen::new(reached("kitchen", Role::Kitchen)),
                notices: Notices { webhook: Notifier::Log, endpoints: BTreeMap::new() },
            },
            rehearsed: Rehearsed::ALL,
            policies: Policies::default(),
            pull: Pull::Nothing,
            engine: EngineSettings { name: name.to_owned(), lease, ..EngineSettings::default() },
        };
        let shop = Shop::open(opening).await.unwrap();
        until("it takes orders", async || shop.engine.is_placing().then_some(())).await;
        shop
    }

    /// Two shops that both take orders.
    pub(crate) async fn of_two(&self) -> [Arc<Shop>; 2] {
        [self.open("first").await, self.open("second").await]
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    /// Changes everybody's moods.
    pub(crate) async fn moods(&self, change: &Value) {
        Api::new(self.root.as_str()).put("moods", change).await.expect(200);
    }

    /// A schedule as it is to be; its next tick is this one.
    pub(crate) async fn put(&self, shop: &Shop, name: &str, schedule: Value, next: Timestamp) {
        let schedule = serde_json::from_value(schedule).unwrap();
        shop.put_schedule(name, schedule).await.unwrap();
        let sql = "update schedule set anchor_at = $2::text::timestamptz, next_at = $2::text::timestamptz,
                          wake_at = $2::text::timestamptz where name = $1";
        sqlx::query(sql).bind(name).bind(next.to_string()).execute(self.pool()).await.unwrap();
    }

    /// The number that a statement tells.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }

    /// How many orders were placed.
    pub(crate) async fn orders(&self) -> i64 {
        self.number("select count(*) from orders").await
    }

    /// Changes the tables.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.pool()).await.unwrap();
    }

    /// Waits until no order is open.
    pub(crate) async fn all_end(&self) {
        let open = "select count(*) from saga where closed_status is null";
        until("all orders end", async || (self.number(open).await == 0).then_some(())).await;
    }
}
