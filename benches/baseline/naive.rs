//! The naive path: workers poll a table for work with SKIP LOCKED and run two transactions a step, one that
//! claims it and writes down the attempt, one that writes down its result.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection, PgPool, Row, postgres::PgPoolOptions};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{
    meter::{self, Figures, Load, Meter},
    world::{Schema, World},
};

use super::prototype::{PAYLOAD, RESULTS};

/// Connections that put orders in.
const FEEDERS: usize = 4;
/// Connections that work on them; more gains nothing (measured with 16 and 48).
const WORKERS: usize = 12;
/// How long a worker rests that found nothing.
const POLL: Duration = Duration::from_millis(5);
/// Steps of an order.
const STEPS: i16 = 4;

const SCHEMA: &str = "
    create table saga (
        id uuid primary key, part integer not null, status smallint not null, seq smallint not null,
        created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
        finished_at timestamptz, locked_until timestamptz, payload json);
    create index saga_open on saga (part) where finished_at is null;
    create table history (
        saga_id uuid not null, at timestamptz not null default now(), seq smallint not null,
        kind smallint not null, data json, primary key (saga_id, seq));";

/// When each order was put in.
type Births = Arc<Mutex<HashMap<Uuid, Instant>>>;

pub(crate) async fn run(world: &World, load: Load) -> Result<Figures> {
    let mut arena = world.arena(&Schema::Own(SCHEMA)).await?;
    let pool = PgPoolOptions::new()
        .max_connections((FEEDERS + WORKERS) as u32)
        .acquire_timeout(Duration::from_secs(60))
        .connect_with(arena.options.clone())
        .await?;
    let meter = Meter::new()?;
    let slots = Arc::new(Semaphore::new(load.in_flight));
    let births = Births::default();
    let mut tasks = JoinSet::new();
    for _ in 0..FEEDERS.min(load.in_flight) {
        tasks.spawn(feed(pool.clone(), meter.clone(), slots.clone(), births.clone()));
    }
    for _ in 0..WORKERS.min(load.in_flight) {
        tasks.spawn(work(pool.clone(), meter.clone(), slots.clone(), births.clone()));
    }
    let mut figures = meter.measure(&mut arena, load).await?;
    slots.close();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    pool.close().await;
    let whole: i64 = sqlx::query_scalar(
        "select count(*) from saga s where finished_at is not null
            and (select count(*) from history h where h.saga_id = s.id) = 8",
    )
    .fetch_one(&mut arena.admin)
    .await?;
    ensure!(whole as u64 == meter.total(), "the naive path has {whole} whole orders");
    figures.commits = meter::commits(&arena.options).await? / meter.total().max(1) as f64;
    world.clear(arena).await?;
    Ok(figures)
}

async fn feed(pool: PgPool, meter: Meter, slots: Arc<Semaphore>, births: Births) -> Result<()> {
    while !meter.is_over() {
        let Ok(slot) = slots.acquire().await else { return Ok(()) };
        slot.forget();
        let id = Uuid::now_v7();
        births.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
        sqlx::query(
            "insert into saga (id, part, status, seq, payload) values ($1, 0, 0, 0, $2::text::json)",
        )
        .bind(id)
        .bind(PAYLOAD)
        .execute(&pool)
        .await?;
    }
    Ok(())
}

async fn work(pool: PgPool, meter: Meter, slots: Arc<Semaphore>, births: Births) -> Result<()> {
    let mut connection = pool.acquire().await?;
    while !meter.is_over() {
        let Some((id, status)) = claim(&mut connection).await? else {
            sleep(POLL).await;
            continue;
        };
        // The step itself is a no-op.
        finish(&mut connection, id, status).await?;
        if status + 1 == STEPS {
            slots.add_permits(1);
            let born = births.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            meter.completed(born.context("an order was finished twice")?);
        }
    }
    Ok(())
}

/// The first transaction of a step: find one, lock it for 30 s, write down that it is attempted.
async fn claim(connection: &mut PgConnection) -> sqlx::Result<Option<(Uuid, i16)>> {
    let mut transaction = connection.begin().await?;
    let found = sqlx::query(
        "select id, status from saga
          where finished_at is null and (locked_until is null or locked_until < now())
          order by part limit 1 for update skip locked",
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(found) = found else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let (id, status): (Uuid, i16) = (found.get(0), found.get(1));
    sqlx::query(
        "update saga set locked_until = now() + interval '30 s', seq = seq + 1 where id = $1",
    )
    .bind(id)
    .execute(&mut *transaction)
    .await?;
    record(&mut transaction, id, status * 2 + 1, status, r#"{"attempt":1}"#).await?;
    transaction.commit().await?;
    Ok(Some((id, status)))
}

/// The second transaction of a step: its result, and the claim given back.
async fn finish(connection: &mut PgConnection, id: Uuid, status: i16) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "update saga set status = $2, seq = seq + 1, locked_until = null, updated_at = now(),
                finished_at = case when $3 then now() end
          where id = $1",
    )
    .bind(id)
    .bind(status + 1)
    .bind(status + 1 == STEPS)
    .execute(&mut *transaction)
    .await?;
    let result = RESULTS.get(usize::from(status.unsigned_abs())).copied().unwrap_or("null");
    record(&mut transaction, id, status * 2 + 2, status, result).await?;
    transaction.commit().await
}

async fn record(
    connection: &mut PgConnection,
    id: Uuid,
    seq: i16,
    kind: i16,
    data: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into history (saga_id, seq, kind, data) values ($1, $2, $3, $4::text::json)",
    )
    .bind(id)
    .bind(seq)
    .bind(kind)
    .bind(data)
    .execute(connection)
    .await?;
    Ok(())
}
