//! Engines on a database of their own, and what the tests ask of it.

use std::time::Duration;

use crema::{
    postgres::PoolSpec,
    saga::{
        Engine, EngineBuilder, EngineSettings, Policy, StartError, Started, journal::CancelVerdict,
        lease::LeaseSettings, step::Lane,
    },
};
use sqlx::{PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{
    effects::{Effect, TABLE, apply},
    sagas::{forward, near, patient, pivoted, plain},
    toys::{Act, Toy, World},
};
use crate::world::{cluster::TestDb, until};

/// Three attempts, close together.
pub(crate) const QUICK: Policy = Policy {
    attempts_max: 3,
    start_to_close: Duration::from_secs(50),
    heartbeat: None,
    backoff: Duration::from_millis(2),
    backoff_factor: 2.0,
    backoff_max: Duration::from_millis(10),
    jitter: 0.2,
};

/// Attempts so far apart that the saga is suspended between them.
pub(crate) const FAR_APART: Policy = Policy {
    backoff: Duration::from_secs(60),
    backoff_max: Duration::from_secs(60),
    jitter: 0.0,
    ..QUICK
};

/// A lease that does not run out however busy the machine is, and a quick look at things.
pub(crate) fn settings(name: &str) -> EngineSettings {
    EngineSettings {
        name: name.to_owned(),
        lease: LeaseSettings {
            lease: Duration::from_secs(30),
            renew: Duration::from_millis(500),
            tick: Duration::from_millis(50),
        },
        cancel_grace: Duration::from_millis(50),
        ..EngineSettings::default()
    }
}

/// A lease that runs out soon.
pub(crate) fn short_lease(name: &str) -> EngineSettings {
    let mut settings = settings(name);
    settings.lease.lease = Duration::from_millis(1_500);
    settings.lease.renew = Duration::from_millis(200);
    settings
}

/// A database, the participants' world, and a pool.
pub(crate) struct Rig {
    pub db: TestDb,
    pub world: World,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let db = TestDb::new().await;
        sqlx::raw_sql(TABLE).execute(db.pool()).await.unwrap();
        Self { db, world: World::new() }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    /// An engine with the quick policy.
    pub(crate) async fn engine(&self) -> Engine<Effect> {
        self.engine_with(settings("first"), QUICK).await
    }

    pub(crate) async fn engine_with(
        &self,
        settings: EngineSettings,
        policy: Policy,
    ) -> Engine<Effect> {
        let engine = self.joining(settings, policy).await;
        until("the engine places", async || engine.is_placing().then_some(())).await;
        engine
    }

    /// An engine that may have to wait for its buckets.
    pub(crate) async fn joining(&self, settings: EngineSettings, policy: Policy) -> Engine<Effect> {
        let drive = self.db.database().pool(PoolSpec {
            role: "drive",
            max_connections: 4,
            statement_timeout: Duration::from_secs(30),
            read_only: false,
        });
        let options = self.db.database().connect_options().application_name("writer");
        start_engine(&self.world, options, drive, settings, policy).await
    }

    pub(crate) async fn start(
        &self,
        engine: &Engine<Effect>,
        saga: &'static str,
        toy: Toy,
    ) -> Uuid {
        let saga_id = engine.new_id().expect("the engine owns a bucket");
        let started = engine.start((saga, 1), saga_id, toy, Vec::new(), Lane::Own).await;
        assert_eq!(started, Ok(Started::Accepted));
        saga_id
    }

    /// Starts a saga as soon as the engine owns a bucket for it; false when it does not at the moment.
    pub(crate) async fn try_start(
        &self,
        engine: &Engine<Effect>,
        saga: &'static str,
        toy: Toy,
    ) -> bool {
        let Some(saga_id) = engine.new_id() else { return false };
        match engine.start((saga, 1), saga_id, toy, Vec::new(), Lane::Own).await {
            Ok(Started::Accepted) => true,
            Err(StartError::NotOwned) => false,
            other => panic!("{other:?}"),
        }
    }

    /// Starts a saga and waits for its end.
    pub(crate) async fn run(
        &self,
        engine: &Engine<Effect>,
        saga: &'static str,
        toy: Toy,
    ) -> (Uuid, String) {
        let saga_id = self.start(engine, saga, toy).await;
        (saga_id, self.end(saga_id).await)
    }

    /// Waits for the end of a saga.
    pub(crate) async fn end(&self, saga_id: Uuid) -> String {
        until("the saga ends", async || self.status(saga_id).await).await
    }

    /// Waits for the end of all sagas.
    pub(crate) async fn all_end(&self) {
        let open = "select count(*) from saga where closed_status is null";
        until("all sagas end", async || (self.number(open).await == 0).then_some(())).await;
    }

    pub(crate) async fn status(&self, saga_id: Uuid) -> Option<String> {
        sqlx::query_scalar("select closed_status from saga where saga_id = $1")
            .bind(saga_id)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// The journal, a line a word or three: `step_done a 1`.
    pub(crate) async fn journal(&self, saga_id: Uuid) -> Vec<String> {
        sqlx::query_scalar(
            "select concat_ws(' ', kind, step, attempt) from journal where saga_id = $1 order by seq",
        )
        .bind(saga_id)
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    /// Waits until a line like this is in the journal.
    pub(crate) async fn line(&self, saga_id: Uuid, line: &str) {
        until(line, async || self.journal(saga_id).await.iter().any(|it| it == line).then_some(()))
            .await;
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }

    pub(crate) async fn execute(&self, sql: &'static str) -> u64 {
        sqlx::query(sql).execute(self.pool()).await.unwrap().rows_affected()
    }

    pub(crate) async fn cancel(&self, engine: &Engine<Effect>, saga_id: Uuid) -> CancelVerdict {
        engine.cancel(self.pool(), saga_id, "somebody", Some("a whim")).await.unwrap()
    }

    /// Everything that must hold of the journals and of the participants' ledger, whatever happened.
    pub(crate) async fn audit(&self) {
        audit(self.pool(), &self.world).await;
    }
}

pub(crate) async fn start_engine(
    world: &World,
    options: PgConnectOptions,
    drive: PgPool,
    settings: EngineSettings,
    policy: Policy,
) -> Engine<Effect> {
    EngineBuilder::new(options, drive, apply)
        .settings(settings)
        .register(plain(world, policy))
        .register(pivoted(world, policy))
        .register(forward(world, policy))
        .register(near(world, policy))
        .register(patient(world, policy))
        .start()
        .await
        .unwrap()
}

/// Queries that must find nothing.
const MUST_BE_EMPTY: [(&str, &str); 7] = [
    (
        "a journal with a gap, or one that its row does not agree with",
        "select s.saga_id from saga s left join journal j using (bucket, saga_id)
          group by s.saga_id, s.seq
         having min(j.seq) <> 1 or max(j.seq) <> count(*) or max(j.seq) <> s.seq",
    ),
    (
        "an epoch that fell",
        "select saga_id from (select saga_id, epoch, lag(epoch) over (partition by saga_id order by seq)
                                as before from journal) as it where epoch < before",
    ),
    (
        "an epoch that its bucket never had",
        "select saga_id from journal j join bucket b using (bucket) where j.epoch > b.epoch",
    ),
    (
        "a line after the end",
        "select saga_id from journal j where exists (
            select from journal e where e.saga_id = j.saga_id and e.seq < j.seq and e.kind = 'closed')",
    ),
    (
        "a step that was done or taken back twice",
        "select saga_id from journal where kind in ('step_done', 'compensation_done')
          group by saga_id, kind, step having count(*) > 1",
    ),
    (
        "a closed row without its line, or the other way round",
        "select saga_id from saga s where (closed_status is not null) <> exists (
            select from journal j where j.saga_id = s.saga_id and j.kind = 'closed'
                and j.data->>'status' = coalesce(s.closed_status, j.data->>'status'))",
    ),
    (
        "a cancellation that was accepted, and a saga that completed all the same",
        "select saga_id from saga where cancel_requested and closed_status = 'COMPLETED'",
    ),
];

pub(crate) async fn audit(pool: &PgPool, world: &World) {
    for (what, sql) in MUST_BE_EMPTY {
        let found = sqlx::query(sql).fetch_all(pool).await.unwrap();
        assert!(found.is_empty(), "{} of: {what}", found.len());
    }
    let ends: Vec<(Uuid, String, String)> = sqlx::query_as(
        "select saga_id, definition, closed_status from saga where closed_status is not null",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for (saga_id, definition, status) in ends {
        audit_ledger(saga_id, &definition, &status, &world.ledger(saga_id));
    }
}

/// Completed: every step that must be done was done once, and nothing was taken back. Otherwise:
/// whatever was done was taken back, the last first.
fn audit_ledger(saga_id: Uuid, definition: &str, status: &str, ledger: &[(&'static str, Act)]) {
    let of = |act: Act| -> Vec<&'static str> {
        ledger.iter().filter(|it| it.1 == act).map(|it| it.0).collect()
    };
    let context = format!("{saga_id} ({definition}) ended {status}: {ledger:?}");
    let (did, undid) = (of(Act::Did), of(Act::Undid));
    if status == "COMPLETED" {
        let mut required = did.clone();
        required.retain(|it| *it != "d");
        assert_eq!(required, ["a", "b", "c"], "{context}");
        assert_eq!(undid, [""; 0], "{context}");
    } else {
        let mut backwards = did;
        backwards.reverse();
        assert_eq!(undid, backwards, "{context}");
    }
}
