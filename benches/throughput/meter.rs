//! What a run is measured by: orders, their times, processor time, WAL, commits.

use std::{
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::world::Arena;

/// Clock ticks a second in `/proc`, on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// How hard, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What a run came to. `None` where a contender has no such thing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub(crate) wal_bytes: f64,
    pub(crate) postgres_us: f64,
    pub(crate) process_us: f64,
    /// Commits an order, over the whole run.
    pub(crate) commits: f64,
}

/// Counts orders while it records. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Meter {
    shared: Arc<Shared>,
}

struct Shared {
    is_recording: AtomicBool,
    is_over: AtomicBool,
    total: AtomicU64,
    times_us: Mutex<Histogram<u64>>,
}

impl Meter {
    pub(crate) fn new() -> Result<Self> {
        let shared = Shared {
            is_recording: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            total: AtomicU64::new(0),
            times_us: Mutex::new(Histogram::new_with_bounds(1, 600_000_000, 3)?),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether the drivers should end.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Relaxed)
    }

    /// One order has come to its end.
    pub(crate) fn completed(&self, since: Instant) {
        self.shared.total.fetch_add(1, Ordering::Relaxed);
        if self.shared.is_recording.load(Ordering::Relaxed) {
            let us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.times().saturating_record(us.max(1));
        }
    }

    /// Orders of the whole run.
    pub(crate) fn total(&self) -> u64 {
        self.shared.total.load(Ordering::Relaxed)
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Histogram<u64>> {
        self.shared.times_us.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the load to become steady, measures, and tells the drivers to end.
    pub(crate) async fn measure(&self, arena: &mut Arena, load: Load) -> Result<Figures> {
        sleep(load.warm_up).await;
        let before = Usage::read(arena).await?;
        let times = self.record_for(load.measured).await;
        let after = Usage::read(arena).await?;
        self.end();
        let orders = times.count.max(1) as f64;
        Ok(Figures {
            per_second: times.per_second,
            p50_ms: times.p50_ms,
            p99_ms: times.p99_ms,
            wal_bytes: (after.wal_bytes - before.wal_bytes) as f64 / orders,
            postgres_us: (after.postgres_s - before.postgres_s) * 1e6 / orders,
            process_us: (after.process_s - before.process_s) * 1e6 / orders,
            commits: 0.0,
        })
    }

    /// What is completed in this time.
    pub(crate) async fn record_for(&self, time: Duration) -> Times {
        let started = Instant::now();
        self.shared.is_recording.store(true, Ordering::Relaxed);
        sleep(time).await;
        self.shared.is_recording.store(false, Ordering::Relaxed);
        let elapsed = started.elapsed().as_secs_f64();
        let times = self.times();
        let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let count = times.len();
        Times { count, per_second: count as f64 / elapsed, p50_ms: ms(0.5), p99_ms: ms(0.99) }
    }

    /// Tells the drivers to end.
    pub(crate) fn end(&self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// How many there were of something, how fast, and how long each took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What has been used so far: by the server since it started, by this process since it did.
pub(crate) struct Usage {
    pub(crate) wal_bytes: i64,
    pub(crate) postgres_s: f64,
    pub(crate) process_s: f64,
}

impl Usage {
    pub(crate) async fn read(arena: &mut Arena) -> Result<Self> {
        let wal_bytes = sqlx::query_scalar("select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint")
            .fetch_one(&mut arena.admin)
            .await?;
        let postgres_s = postgres_cpu_s(arena.postmaster)?;
        Ok(Self { wal_bytes, postgres_s, process_s: cpu_s("self")? })
    }
}

/// Processor time of a process, by its number or `self`.
pub(crate) fn cpu_s(process: &str) -> Result<f64> {
    let stat = Stat::read(process).with_context(|| format!("there is no /proc/{process}"))?;
    Ok(stat.ticks as f64 / TICKS_A_SECOND)
}

/// Processor time of the server: its living processes, and the dead ones as their parent knows them.
fn postgres_cpu_s(postmaster: i32) -> Result<f64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(stat) = name.to_str().filter(|it| it.starts_with(|c: char| c.is_ascii_digit()))
        else {
            continue;
        };
        let Some(stat) = Stat::read(stat) else { continue };
        if stat.parent == postmaster {
            ticks += stat.ticks;
        } else if stat.pid == postmaster {
            ticks += stat.ticks + stat.ticks_of_dead_children;
        }
    }
    Ok(ticks as f64 / TICKS_A_SECOND)
}

struct Stat {
    pid: i32,
    parent: i32,
    ticks: u64,
    ticks_of_dead_children: u64,
}

impl Stat {
    /// Reads `/proc/…/stat` (`proc(5)`); the program's name, in brackets, may hold anything.
    fn read(process: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let (head, tail) = text.rsplit_once(')')?;
        let pid = head.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)?,
            ticks_of_dead_children: number(13)? + number(14)?,
        })
    }
}

/// Memory of this process in bytes that stands in RAM.
pub(crate) fn resident_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("an odd /proc/self/statm")?.parse()?;
    Ok(pages * 4_096)
}

/// Commits in a database since it was made, by whoever rests now: a backend reports its commits once a
/// second, and its last ones when it ends.
pub(crate) async fn commits(options: &sqlx::postgres::PgConnectOptions) -> Result<f64> {
    sleep(Duration::from_millis(1_200)).await;
    let mut connection = PgConnection::connect_with(options).await?;
    let commits: i64 = sqlx::query_scalar(
        "select xact_commit from pg_stat_database where datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(commits as f64)
}
