//! The prototype that the engine was designed after, in its form `d1n`: a narrow row updated by every
//! transition, the payload as event 0, group commit by two writers with the orders split between them.
//! It has no verdicts, labels, attempts, inbox, feed, leases or restart: a bound, not a product.

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use uuid::Uuid;

use crate::{
    meter::{self, Figures, Load, Meter},
    world::{Schema, World},
};

/// 320 bytes of order.
pub(crate) const PAYLOAD: &str = r#"{"customer_id":"cust-00001234","items":[{"item_name":"Cappuccino","quantity":2,"price_cents":450,"size":"large","milk":"oat"},{"item_name":"Espresso","quantity":1,"price_cents":300,"size":"small","milk":"none"}],"total_cents":1200,"currency":"EUR","payment_method":"card","note":"extra hot, no sugar please!"}"#;
/// What the four steps leave behind.
pub(crate) const RESULTS: [&str; 4] = [
    r#"{"ok":true,"transaction_id":"6f1d7a0e-5c1b-4c7e-9a52-0f6f3a9f2b11","amount_cents":1200}"#,
    r#"{"ok":true,"barista":"b-7","machine":"m-2","took_ms":0,"note":"prepared by station 2"}"#,
    r#"{"ok":true,"items":[["beans",18],["milk",240],["cup",2]],"reservation":"r-18273645"}"#,
    r#"{"ok":true,"channel":"push","message_id":"0192f3aa-7d55-7a10-8a34-5fd0f6a1c0de"}"#,
];
const WRITERS: usize = 2;
const BATCH_MAX: usize = 4_096;
const QUIET_LOOKS: u32 = 3;

const SCHEMA: &str = "
    create table lease (
        part integer primary key, epoch bigint not null, owner text, until timestamptz)
        with (fillfactor = 10);
    insert into lease select n, 1, 'x', now() + interval '1 day' from generate_series(0, 63) n;
    create table saga (
        id uuid primary key, part integer not null, status smallint not null, seq smallint not null,
        created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
        finished_at timestamptz, payload json, history json)
        with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05);
    create index saga_open on saga (part) where finished_at is null;
    create table history (
        saga_id uuid not null, at timestamptz not null default now(), seq smallint not null,
        kind smallint not null, data json, primary key (saga_id, seq));";

const BATCH: &str = "
    with f as materialized (
        select 1 from lease where part = $1::integer and epoch = $2::bigint for share),
    i as (insert into saga (id, part, status, seq)
          select x.id, $1, 0, 0 from f, unnest($3::uuid[]) x (id) returning 1),
    u as (update saga s set status = x.st, seq = x.sq, updated_at = now(),
                 finished_at = case when x.fin then now() end
            from f, unnest($4::uuid[], $5::int2[], $6::int2[], $7::bool[]) x (id, st, sq, fin)
           where s.id = x.id and s.seq = x.sq - 1 returning 1),
    h as (insert into history (saga_id, seq, kind, data)
          select x.id, x.sq, x.k, x.d::json
            from f, unnest($8::uuid[], $9::int2[], $10::int2[], $11::text[]) x (id, sq, k, d)
          returning 1)
    select (select count(*) from f), (select count(*) from u)";

struct Transition {
    id: Uuid,
    seq: i16,
    data: &'static str,
    acknowledge: oneshot::Sender<()>,
}

impl Transition {
    fn is_last(&self) -> bool {
        usize::from(self.seq.unsigned_abs()) == RESULTS.len()
    }

    fn status(&self) -> i16 {
        if self.is_last() { 99 } else { self.seq }
    }
}

type Queue = mpsc::UnboundedSender<Transition>;

pub(crate) async fn run(world: &World, load: Load) -> Result<Figures> {
    let mut arena = world.arena(&Schema::Own(SCHEMA)).await?;
    let meter = Meter::new()?;
    let (mut queues, mut writers): (Vec<Queue>, _) = (Vec::new(), JoinSet::new());
    for part in 0..WRITERS {
        let (queue, transitions) = mpsc::unbounded_channel();
        queues.push(queue);
        writers.spawn(write(options(&arena.options), i32::try_from(part)?, transitions));
    }
    let mut drivers = JoinSet::new();
    for _ in 0..load.in_flight {
        drivers.spawn(drive(queues.clone(), meter.clone()));
    }
    drop(queues);
    let mut figures = meter.measure(&mut arena, load).await?;
    while let Some(ended) = drivers.join_next().await {
        ended??;
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    let whole: i64 = sqlx::query_scalar(
        "select count(*) from saga s where status = 99
            and (select count(*) from history h where h.saga_id = s.id) = 5",
    )
    .fetch_one(&mut arena.admin)
    .await?;
    ensure!(whole as u64 == meter.total(), "the prototype has {whole} whole orders");
    figures.commits = meter::commits(&arena.options).await? / meter.total().max(1) as f64;
    world.clear(arena).await?;
    Ok(figures)
}

/// The prototype's session settings.
fn options(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options([
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ])
}

async fn drive(queues: Vec<Queue>, meter: Meter) -> Result<()> {
    while !meter.is_over() {
        let (started, id) = (Instant::now(), Uuid::now_v7());
        let queue = queues.get(usize::from(id.as_bytes()[15]) % WRITERS).context("a queue")?;
        for (seq, data) in (0..).zip(std::iter::once(PAYLOAD).chain(RESULTS)) {
            let (acknowledge, acknowledged) = oneshot::channel();
            queue.send(Transition { id, seq, data, acknowledge })?;
            acknowledged.await?;
            // The step itself is a no-op.
        }
        meter.completed(started);
    }
    Ok(())
}

async fn write(
    options: PgConnectOptions,
    part: i32,
    mut transitions: mpsc::UnboundedReceiver<Transition>,
) -> Result<()> {
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut batch = Vec::new();
    while transitions.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut quiet = 0;
        while batch.len() < BATCH_MAX && quiet < QUIET_LOOKS {
            tokio::task::yield_now().await;
            let before = batch.len();
            while batch.len() < BATCH_MAX
                && let Ok(it) = transitions.try_recv()
            {
                batch.push(it);
            }
            quiet += u32::from(batch.len() == before);
        }
        commit(&mut connection, part, &batch).await?;
        for transition in batch.drain(..) {
            let _ = transition.acknowledge.send(());
        }
    }
    Ok(connection.close().await?)
}

async fn commit(connection: &mut PgConnection, part: i32, batch: &[Transition]) -> Result<()> {
    let moved = || batch.iter().filter(|it| it.seq > 0);
    let written = sqlx::query(BATCH)
        .bind(part)
        .bind(1_i64)
        .bind(batch.iter().filter(|it| it.seq == 0).map(|it| it.id).collect::<Vec<_>>())
        .bind(moved().map(|it| it.id).collect::<Vec<_>>())
        .bind(moved().map(Transition::status).collect::<Vec<_>>())
        .bind(moved().map(|it| it.seq).collect::<Vec<_>>())
        .bind(moved().map(Transition::is_last).collect::<Vec<_>>())
        .bind(batch.iter().map(|it| it.id).collect::<Vec<_>>())
        .bind(batch.iter().map(|it| it.seq).collect::<Vec<_>>())
        .bind(batch.iter().map(|it| it.seq).collect::<Vec<_>>())
        .bind(batch.iter().map(|it| it.data).collect::<Vec<_>>())
        .fetch_one(connection)
        .await?;
    let updated: i64 = written.get(1);
    ensure!(updated as usize == moved().count(), "the prototype lost a transition");
    Ok(())
}
