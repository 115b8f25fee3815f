//! The product's side: the shipped engine, started, kept at a number of sagas in flight, stopped, audited.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use crema::{
    postgres::{Database, PoolSpec, Source},
    saga::{Apply, Engine, EngineBuilder, EngineSettings, Lane, Saga, Started},
    shop::order::{Channel, Order, OrderLine},
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    meter::{self, Figures, Load, Meter},
    world::{Arena, Schema, World},
};

/// The lines of an order that went well.
const KINDS: &str = "started,step_done,step_done,step_done,step_done,closed";

/// The input of a benchmarked saga. The engine lets go of it when the saga's task is over, after its last
/// commit; the driver hears that as the end of the channel, at no cost to the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) order: Order,
    #[serde(skip)]
    pub(crate) _ended: Option<oneshot::Sender<()>>,
}

/// A contender: a saga, and how one of it is started.
pub(crate) struct Contender<E> {
    pub(crate) saga: fn() -> Saga<Input, E>,
    pub(crate) definition: (&'static str, i32),
    pub(crate) apply: Apply<E>,
    /// The input's order, the effects of the start, and their lane, for the n-th saga.
    pub(crate) start: fn(u64) -> (Order, Vec<E>, Lane),
    /// Statements before the run.
    pub(crate) prepare: &'static str,
    /// A statement that is true when what the effects wrote adds up to this many orders.
    pub(crate) audit: &'static str,
}

/// An order whose journal line is some 320 bytes long.
pub(crate) fn order() -> Order {
    let line = |item: &str, quantity, unit_price, note: Option<&str>| OrderLine {
        item: item.to_owned(),
        quantity,
        unit_price,
        line_total: quantity * unit_price,
        note: note.map(str::to_owned),
        queue: None,
    };
    Order {
        customer_id: "cust-00001234".to_owned(),
        items: vec![line("cappuccino", 2, 450, Some("oat milk")), line("espresso", 1, 300, None)],
        currency: "EUR".to_owned(),
        total: 1_200,
        pickup_code: "KM47".to_owned(),
        method_token: "tok_visa".to_owned(),
        notify_to: None,
        pickup_at: None,
        ready_by: None,
        priority: None,
        channel: Channel::Webhook,
        attributes: std::collections::BTreeMap::new(),
        rehearsal: false,
        needs: Vec::new(),
    }
}

/// Starts an engine that owns all buckets.
pub(crate) async fn engine<E: Send + Sync + 'static>(
    arena: &Arena,
    contender: &Contender<E>,
) -> Result<Engine<E>> {
    let database = Database::open(&Source::Url(arena.url.clone())).await?;
    let drive = database.pool(PoolSpec {
        role: "drive",
        max_connections: crema::config::limits::POOL_DRIVE_CONNECTIONS,
        statement_timeout: Duration::from_secs(10),
        read_only: false,
    });
    let engine = EngineBuilder::new(database.connect_options(), drive, contender.apply)
        .settings(EngineSettings::default())
        .register((contender.saga)())
        .start()
        .await?;
    for _ in 0..1_000 {
        if engine.is_placing() {
            return Ok(engine);
        }
        sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("the engine owns no bucket")
}

/// One run.
pub(crate) async fn run<E: Send + Sync + 'static>(
    world: &World,
    contender: &Contender<E>,
    load: Load,
) -> Result<Figures> {
    let mut arena = world.arena(&Schema::Product).await?;
    sqlx::raw_sql(contender.prepare).execute(&mut arena.admin).await?;
    let engine = engine(&arena, contender).await?;
    let before = meter::commits(&arena.options).await?;
    let (meter, count) = (Meter::new()?, Arc::new(AtomicU64::new(0)));
    let mut drivers = JoinSet::new();
    for _ in 0..load.in_flight {
        let (engine, meter, count) = (engine.clone(), meter.clone(), count.clone());
        let (definition, make) = (contender.definition, contender.start);
        drivers.spawn(async move {
            while !meter.is_over() {
                let started = Instant::now();
                let number = count.fetch_add(1, Ordering::Relaxed);
                let (order, effects, lane) = make(number);
                start(&engine, definition, order, effects, lane).await?.await.ok();
                meter.completed(started);
            }
            anyhow::Ok(())
        });
    }
    let mut figures = meter.measure(&mut arena, load).await?;
    while let Some(ended) = drivers.join_next().await {
        ended??;
    }
    engine.stop(Duration::from_secs(10)).await;
    audit(&mut arena.admin, contender.audit, meter.total()).await?;
    drop(engine);
    let commits = meter::commits(&arena.options).await? - before;
    figures.commits = commits / meter.total().max(1) as f64;
    world.clear(arena).await?;
    Ok(figures)
}

/// Starts a saga; what is returned ends when the saga does.
pub(crate) async fn start<E: Send + Sync + 'static>(
    engine: &Engine<E>,
    definition: (&'static str, i32),
    order: Order,
    effects: Vec<E>,
    lane: Lane,
) -> Result<oneshot::Receiver<()>> {
    let id = engine.new_id().context("the engine owns no bucket")?;
    let (ended, end) = oneshot::channel();
    let input = Input { order, _ended: Some(ended) };
    let started = engine.start(definition, id, input, effects, lane).await?;
    ensure!(started == Started::Accepted, "an order was refused: {started:?}");
    Ok(end)
}

/// Every order COMPLETED, with a whole journal, every line in the feed, and books that add up.
async fn audit(connection: &mut PgConnection, books: &'static str, orders: u64) -> Result<()> {
    let orders = i64::try_from(orders)?;
    let completed: i64 = sqlx::query_scalar(
        "select count(*) from saga where closed_status = 'COMPLETED' and seq = 6 and version = 4",
    )
    .fetch_one(&mut *connection)
    .await?;
    ensure!(completed == orders, "{completed} of {orders} orders are COMPLETED");
    let whole: i64 = sqlx::query_scalar(
        "select count(*) from (
             select string_agg(kind, ',' order by seq) as kinds, max(seq) as last
               from journal group by bucket, saga_id) as j
          where kinds = $1 and last = 6",
    )
    .bind(KINDS)
    .fetch_one(&mut *connection)
    .await?;
    ensure!(whole == orders, "{whole} of {orders} journals are whole");
    let fed: i64 = sqlx::query_scalar("select sum(cardinality(seqs))::bigint from feed")
        .fetch_one(&mut *connection)
        .await?;
    ensure!(fed == orders * 6, "{fed} lines of {orders} orders are in the feed");
    let adds_up: bool = sqlx::query_scalar(books).bind(orders).fetch_one(&mut *connection).await?;
    ensure!(adds_up, "the books do not add up to {orders} orders");
    Ok(())
}

/// A key, a code, a number that is nobody else's.
pub(crate) fn unique(number: u64) -> String {
    format!("{:x}-{number}", Uuid::new_v4().as_u128() as u32)
}
