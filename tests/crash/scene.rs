//! What a test plays on: a database, replicas, customers, and what is known of how far they have come.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crema::rehearsal::Line;
use rand::{Rng, rngs::StdRng};
use serde_json::json;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::task::JoinSet;

use crate::{
    audit::{self, Takeover},
    customers::{Crowd, Record},
    operator,
    params::{Params, Tell},
    service::{Door, Service},
    world::{DEADLINE, cluster::Place},
};

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// Lines that an order's journal has at the end, roughly: from it kill points are chosen.
const LINES_AN_ORDER: usize = 6;

/// A shop under test. The folder is shared by all replicas: the rehearsal's ledger lies in it.
pub(crate) struct Scene {
    pub(crate) params: Params,
    pub(crate) db: PgPool,
    pub(crate) chance: StdRng,
    services: Vec<Service>,
    takeovers: Vec<Takeover>,
    /// Orders that were open at each kill.
    open_at_kills: Vec<i64>,
    pub(crate) place: Place,
    _tell: Tell,
}

impl Scene {
    /// Replicas with these database URLs; `None` for one with a private database. `purpose` tells tests apart.
    pub(crate) async fn open(
        purpose: u64,
        urls: &[Option<String>],
        db: impl FnOnce(&Path) -> PgConnectOptions,
    ) -> Self {
        Self::with(Params::read(), purpose, urls, db).await
    }

    /// The same in the rush hour: for every order that ends the next customer comes in, and the kitchen takes its
    /// time, so that hundreds of orders are in flight whenever something breaks.
    pub(crate) async fn rush_hour(
        purpose: u64,
        urls: &[Option<String>],
        db: impl FnOnce(&Path) -> PgConnectOptions,
    ) -> Self {
        Self::with(Params::read().rush_hour(), purpose, urls, db).await
    }

    async fn with(
        params: Params,
        purpose: u64,
        urls: &[Option<String>],
        db: impl FnOnce(&Path) -> PgConnectOptions,
    ) -> Self {
        let place = Place::new();
        std::fs::create_dir_all(place.base()).unwrap();
        // Where the place looks for a server that it has to stop.
        let _ = std::os::unix::fs::symlink("postgres/data", place.base().join("data"));
        let mut services: Vec<Service> = urls
            .iter()
            .zip(["ada", "bob", "cyd"])
            .map(|(url, name)| Service::new(name, place.base(), url.as_deref()))
            .collect();
        for service in &mut services {
            service.start().await;
        }
        let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(DEADLINE);
        let db = pool.test_before_acquire(true).connect_lazy_with(db(place.base()));
        tokio::spawn(operator::keep_pace(db.clone(), params.prep_ms));
        let (chance, takeovers, open_at_kills) = (params.chance(purpose), Vec::new(), Vec::new());
        let _tell = Tell(params);
        let scene = Self { params, db, chance, services, takeovers, open_at_kills, place, _tell };
        until("all buckets have an owner", async || scene.owned().await == Some(256)).await;
        operator::stock_up(&scene.services[0].door(), params.orders).await;
        scene
    }

    pub(crate) fn doors(&self) -> Vec<Door> {
        self.services.iter().map(Service::door).collect()
    }

    /// The customers, who come in as far as there is room.
    pub(crate) fn crowd(&self) -> Arc<Crowd> {
        let crowd = Crowd::new(self.params, self.doors());
        tokio::spawn(let_in(crowd.clone(), self.db.clone()));
        crowd
    }

    pub(crate) fn service(&mut self, index: usize) -> &mut Service {
        &mut self.services[index]
    }

    /// Any of the replicas.
    pub(crate) fn anyone(&mut self) -> usize {
        self.chance.random_range(0..self.services.len())
    }

    /// Buckets whose owner lives.
    pub(crate) async fn owned(&self) -> Option<i64> {
        let sql = "select count(*) from bucket b join replica r on r.boot_id = b.owner \
                   where r.leased_until > now()";
        sqlx::query_scalar(sql).fetch_one(&self.db).await.ok()
    }

    /// Buckets that a living replica of this name owns.
    pub(crate) async fn owned_by(&self, name: &str) -> Option<i64> {
        let sql = "select count(*) from bucket b join replica r on r.boot_id = b.owner \
                   where r.leased_until > now() and r.name = $1";
        sqlx::query_scalar(sql).bind(name).fetch_one(&self.db).await.ok()
    }

    /// From now on nothing may be written under an older epoch.
    pub(crate) async fn note_takeover(&mut self) {
        self.takeovers.push(Takeover::look(&self.db).await);
    }

    async fn lines(&self) -> Option<i64> {
        sqlx::query_scalar("select count(*) from journal").fetch_one(&self.db).await.ok()
    }

    async fn open_orders(&self) -> Option<i64> {
        let sql = "select count(*) from saga where closed_status is null";
        sqlx::query_scalar(sql).fetch_one(&self.db).await.ok()
    }

    /// Points in the life of all orders, in order, at which something is to break: each a number of lines.
    pub(crate) fn points(&mut self, count: usize) -> Vec<i64> {
        let all = self.params.orders * LINES_AN_ORDER;
        let between = all / 50..all * 4 / 5;
        let mut points: Vec<i64> =
            (0..count).map(|_| self.chance.random_range(between.clone()) as i64).collect();
        points.sort_unstable();
        points
    }

    /// Waits until the orders have come so far, or will not come further.
    pub(crate) async fn reach(&self, lines: i64, crowd: &Crowd) {
        let (mut since, mut last) = (Instant::now(), None);
        loop {
            let now = (self.lines().await, self.open_orders().await);
            let all_came = crowd.answered() == self.params.orders;
            if now.0.is_some_and(|it| it >= lines) || (all_came && now.1 == Some(0)) {
                return;
            }
            if last != Some(now) {
                (since, last) = (Instant::now(), Some(now));
            }
            assert!(since.elapsed() < DEADLINE, "nothing moves on the way to {lines}: {now:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Open orders that have got nowhere since they were taken up.
    async fn taken_up(&self) -> Option<i64> {
        let sql = "select count(*) from saga s join journal j using (bucket, saga_id) \
                    where s.closed_status is null and j.seq = s.seq and j.kind = 'taken_up'";
        sqlx::query_scalar(sql).fetch_one(&self.db).await.ok()
    }

    /// Waits until the shop is full, or all have come, and for some moment after that. None when nothing is open
    /// any more; else something is to be killed now.
    ///
    /// Orders that were taken up have got on before: those that are taken up twice without having done so are
    /// suspected of having killed their replica, and run one at a time.
    pub(crate) async fn time_to_kill(&mut self, crowd: &Crowd) -> Option<()> {
        let full = self.params.in_flight as i64 * 9 / 10;
        let (mut since, mut last) = (Instant::now(), None);
        loop {
            let now = (self.lines().await, self.open_orders().await, self.taken_up().await);
            let all_came = crowd.answered() == self.params.orders;
            let is_full = now.1.is_some_and(|it| it >= full || all_came);
            if is_full && now.2.is_some_and(|it| it < full / 10) {
                break;
            }
            if last != Some(now) {
                (since, last) = (Instant::now(), Some(now));
            }
            assert!(since.elapsed() < DEADLINE, "the shop does not fill: {now:?}");
            tokio::time::sleep(LOOK * 4).await;
        }
        if let Some(lines) = self.lines().await {
            let more = self.chance.random_range(0..self.params.in_flight as i64 / 4);
            self.reach(lines + more, crowd).await;
        }
        self.note_kill().await.filter(|it| *it > 0).map(|_| ())
    }

    /// Notes how many orders are open at a kill.
    pub(crate) async fn note_kill(&mut self) -> Option<i64> {
        let open = self.open_orders().await;
        self.open_at_kills.extend(open);
        open
    }

    /// The faults are over: everything has to come to its end, and add up.
    pub(crate) async fn finish(self, crowd: &Crowd, customers: JoinSet<Record>) {
        let (mut since, mut last) = (Instant::now(), None);
        loop {
            let all_came = crowd.answered() == self.params.orders;
            let now = (self.lines().await, self.open_orders().await, crowd.answered());
            if all_came && now.1 == Some(0) {
                break;
            }
            if last != Some(now) {
                (since, last) = (Instant::now(), Some(now));
            }
            if since.elapsed() > DEADLINE {
                let stuck = audit::stuck(&self.db, &self.takeovers).await;
                panic!("nothing moves any more (lines, open, placed: {now:?}):\n{stuck}");
            }
            operator::clear(&self.db, &self.doors()).await;
            tokio::time::sleep(LOOK * 20).await;
        }
        crowd.over.cancel();
        let kills = &self.open_at_kills;
        eprintln!("orders in flight at each kill: {kills:?}");
        if self.params.is_rush_hour() {
            let crowded = kills.iter().filter(|it| **it > 0).count();
            assert!(crowded >= self.params.rounds, "too few kills: {kills:?}");
        }
        let records = customers.join_all().await;
        let ledger = self.ledger().await;
        audit::audit(&self.db, &ledger, &records, &self.takeovers).await;
    }

    /// The participants' own ledger, asked for where the database says they are.
    async fn ledger(&self) -> Vec<Line> {
        let mut ledger = None;
        until("the rehearsal shows its ledger", async || {
            ledger = operator::ledger(&self.db).await;
            ledger.is_some()
        })
        .await;
        ledger.unwrap()
    }
}

/// Waits until it holds, and fails after [`DEADLINE`].
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// How to reach the private database of a service with this data folder.
pub(crate) fn private(data_dir: &Path) -> PgConnectOptions {
    let base = data_dir.join("postgres");
    let password = std::fs::read_to_string(base.join("password")).unwrap_or_default();
    PgConnectOptions::new_without_pgpass()
        .socket(base.join("run"))
        .port(5432)
        .username("postgres")
        .password(&password)
        .database("postgres")
}

/// The paces of the rehearsal: short, so that a test is about faults and not about waiting.
pub(crate) fn paces(prep_ms: u64) -> serde_json::Value {
    json!({"slow_ms": 300, "late_ms": 200, "prep_ms": prep_ms})
}

/// Makes room for a customer for every order that has ended.
async fn let_in(crowd: Arc<Crowd>, db: PgPool) {
    let sql = "select count(*) from saga where closed_status is not null";
    let mut ended = 0;
    while !crowd.over.is_cancelled() {
        if let Ok(now) = sqlx::query_scalar::<_, i64>(sql).fetch_one(&db).await {
            crowd.make_room(usize::try_from(now - ended).unwrap_or(0));
            ended = now;
        }
        tokio::time::sleep(LOOK * 4).await;
    }
}
