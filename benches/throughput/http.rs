//! An order as its customer meets it: the shipped binary over HTTP, with the rehearsal's participants in a
//! process of their own, which have every answer on disk before they give it.
//!
//! A customer places an order, then asks to be told of its end, then places the next. The load comes from
//! this process, on the same processors.

use std::{
    fmt::Write as _,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    meter::{self, Load, Meter, Times, Usage},
    report::median,
    service::Process,
    world::{Arena, Schema, World},
};

/// Nothing runs out, whatever the run places.
const STOCK: &str = "update stock set on_hand = 1000000000000";

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    orders: Times,
    posts: Times,
    commits: f64,
    wal_bytes: f64,
    postgres_us: f64,
    server_us: f64,
    participants_us: f64,
    load_us: f64,
}

/// All runs at one load.
pub(crate) struct Cell {
    pub(crate) in_flight: usize,
    pub(crate) runs: Vec<Figures>,
}

/// The table, in Markdown.
pub(crate) fn table(cells: &[Cell]) -> String {
    let mut text = String::from(
        "| customers | orders/s | POST p50 ms | POST p99 ms | order p50 ms | order p99 ms | commits/order \
         | WAL B/order | Postgres µs | server µs | participants µs | load µs |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for cell in cells {
        let of = |figure: fn(&Figures) -> f64| median(cell.runs.iter().map(figure));
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.3} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            cell.in_flight,
            of(|it| it.orders.per_second),
            of(|it| it.posts.p50_ms),
            of(|it| it.posts.p99_ms),
            of(|it| it.orders.p50_ms),
            of(|it| it.orders.p99_ms),
            of(|it| it.commits),
            of(|it| it.wal_bytes),
            of(|it| it.postgres_us),
            of(|it| it.server_us),
            of(|it| it.participants_us),
            of(|it| it.load_us),
        );
    }
    text
}

/// One run.
pub(crate) async fn run(world: &World, load: Load) -> Result<Figures> {
    let mut arena = world.arena(&Schema::Product).await?;
    sqlx::raw_sql(STOCK).execute(&mut arena.admin).await?;
    let folder = tempfile::Builder::new()
        .prefix("crema-bench-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()?;
    let rehearsal = Process::rehearsal(folder.path())?;
    let server = Process::server(&arena, folder.path(), &rehearsal)?;
    let before = meter::commits(&arena.options).await?;
    let shop = Shop {
        http: reqwest::Client::builder().no_proxy().build()?,
        base: Arc::from(server.base.as_str()),
        orders: Meter::new()?,
        posts: Meter::new()?,
        numbers: Arc::default(),
    };
    let mut customers = JoinSet::new();
    for _ in 0..load.in_flight {
        customers.spawn(shop.clone().visit());
    }
    let mut figures = measure(&mut arena, &shop, load, (&server, &rehearsal)).await?;
    while let Some(ended) = customers.join_next().await {
        ended??;
    }
    let total = shop.orders.total();
    let commits = meter::commits(&arena.options).await? - before;
    figures.commits = commits / total.max(1) as f64;
    audit(&mut arena, &shop.http, &rehearsal, total).await?;
    server.stop()?;
    rehearsal.stop()?;
    world.clear(arena).await?;
    Ok(figures)
}

/// What the customers share.
#[derive(Clone)]
struct Shop {
    http: reqwest::Client,
    base: Arc<str>,
    orders: Meter,
    posts: Meter,
    numbers: Arc<AtomicU64>,
}

impl Shop {
    /// A customer's day.
    async fn visit(self) -> Result<()> {
        while !self.orders.is_over() {
            let since = Instant::now();
            let order = self.place().await?;
            self.posts.completed(since);
            let id = order.get("id").and_then(Value::as_str).context("an order has an id")?;
            while !self.is_completed(id).await? {}
            self.orders.completed(since);
        }
        Ok(())
    }

    async fn place(&self) -> Result<Value> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let order = json!({
            "customer_id": format!("customer-{number}"),
            "items": [{"item": "cappuccino", "quantity": 2, "note": "oat milk"},
                      {"item": "espresso", "quantity": 1}],
            "payment": {"method_token": "tok_visa"},
        });
        let request = self.http.post(format!("{}/v1/orders", self.base)).json(&order);
        let answer = request.header("idempotency-key", number.to_string()).send().await?;
        ensure!(answer.status() == 201, "an order was refused: {}", answer.text().await?);
        Ok(answer.json().await?)
    }

    /// Whether an order has come to its end within the time that a server lets one wait.
    async fn is_completed(&self, id: &str) -> Result<bool> {
        let url = format!("{}/v1/orders/{id}?wait=30s&until=terminal", self.base);
        let answer = self.http.get(url).send().await?.error_for_status()?;
        let order: Value = answer.json().await?;
        let is_closed = order.get("closed_at").is_some_and(|it| !it.is_null());
        ensure!(!is_closed || order["status"] == "COMPLETED", "an order did not complete: {order}");
        Ok(is_closed)
    }
}

async fn measure(
    arena: &mut Arena,
    shop: &Shop,
    load: Load,
    (server, rehearsal): (&Process, &Process),
) -> Result<Figures> {
    sleep(load.warm_up).await;
    let before = (Usage::read(arena).await?, server.cpu_s()?, rehearsal.cpu_s()?);
    let (orders, posts) =
        tokio::join!(shop.orders.record_for(load.measured), shop.posts.record_for(load.measured));
    let after = (Usage::read(arena).await?, server.cpu_s()?, rehearsal.cpu_s()?);
    shop.orders.end();
    let count = orders.count.max(1) as f64;
    let us = |seconds: f64| seconds * 1e6 / count;
    Ok(Figures {
        orders,
        posts,
        commits: 0.0,
        wal_bytes: (after.0.wal_bytes - before.0.wal_bytes) as f64 / count,
        postgres_us: us(after.0.postgres_s - before.0.postgres_s),
        server_us: us(after.1 - before.1),
        participants_us: us(after.2 - before.2),
        load_us: us(after.0.process_s - before.0.process_s),
    })
}

/// Every order COMPLETED and paid for once, by our books and by the participants' own ledger.
async fn audit(
    arena: &mut Arena,
    http: &reqwest::Client,
    rehearsal: &Process,
    orders: u64,
) -> Result<()> {
    let count = i64::try_from(orders)?;
    let adds_up: bool = sqlx::query_scalar(
        "select (select count(*) from saga where closed_status = 'COMPLETED') = $1
            and (select count(*) from ledger where kind = 'capture') = $1
            and (select count(*) from ledger) = $1
            and (select bool_and(reserved = 0) from stock)",
    )
    .bind(count)
    .fetch_one(&mut arena.admin)
    .await?;
    ensure!(adds_up, "the books do not add up to {orders} orders");
    let url = format!("{}/ledger", rehearsal.base);
    let lines: Vec<Value> =
        http.get(url).timeout(Duration::from_secs(60)).send().await?.json().await?;
    for kind in ["captured", "prepared", "notice"] {
        let found = lines.iter().filter(|it| it["kind"] == kind).count() as u64;
        ensure!(found == orders, "{found} times {kind} for {orders} orders");
    }
    Ok(())
}
