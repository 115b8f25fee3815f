//! Who wants to know: wakes streams and long polls when lines are written, here or on another replica.
//!
//! What is read is always the journal; this only says when to look. A local commit wakes at once; what other
//! replicas write is found by a task that follows the feed's table while anybody is interested.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::broadcast,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::journal::{
    feed,
    read::{self, JournalLine},
};

/// Batches that a slow subscriber may be behind before it is told to look for itself.
const BACKLOG: usize = 1_024;
/// How often the feed's table is read while anybody is interested.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// Batches read at once.
const BATCHES_AT_ONCE: i64 = 200;

/// The sagas of a batch.
pub type Woken = Arc<[Uuid]>;

/// Publishes commits to whoever waits for them. Clones share the subscribers.
#[derive(Debug, Clone)]
pub struct Feed {
    woken: broadcast::Sender<Woken>,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { woken: broadcast::channel(BACKLOG).0 }
    }

    /// Tells of the sagas of a batch that is durable, which are only named when somebody is interested.
    pub(super) fn publish(&self, sagas: impl Iterator<Item = Uuid>) {
        if self.woken.receiver_count() > 0 {
            let sagas: Woken = sagas.collect();
            if !sagas.is_empty() {
                let _ = self.woken.send(sagas);
            }
        }
    }

    /// Registers interest. Subscribe first, then look, then wait: nothing is slept through.
    pub fn subscribe(&self) -> broadcast::Receiver<Woken> {
        self.woken.subscribe()
    }

    /// Follows the other replicas' batches.
    pub(super) async fn follow(self, pool: PgPool, stop: CancellationToken) {
        let mut ticks = interval(FOLLOW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cursor: Option<Cursor> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if self.woken.receiver_count() == 0 {
                cursor = None;
                continue;
            }
            let result = match cursor.as_mut() {
                None => Cursor::now(&pool).await.map(|it| cursor = Some(it)),
                Some(cursor) => cursor.next(&pool).await.map(|batches| {
                    for batch in batches {
                        let _ = self.woken.send(batch.into());
                    }
                }),
            };
            if let Err(error) = result {
                tracing::debug!(%error, "the feed cannot be read; streams look for themselves");
            }
        }
    }
}

/// A position in the feed of all sagas: one number a writer, and how far into one batch. What commits later is
/// after it, also when it is older; what it has passed does not come again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// When the newest batch began that it has passed, in microseconds by the database's clock.
    at_us: i64,
    positions: BTreeMap<i64, i64>,
    within: Option<Within>,
}

/// A batch of which some lines have been passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Within {
    writer: i64,
    n: i64,
    passed: i64,
}

impl Cursor {
    /// After everything that is committed now.
    pub async fn now(pool: &PgPool) -> sqlx::Result<Self> {
        let positions = feed::positions(pool).await?.into_iter().collect();
        Ok(Self { at_us: 0, positions, within: None })
    }

    /// Whether every line after this position is still there: the feed is kept for a day. Forgets writers of
    /// which nothing is left, so that a position does not grow for ever.
    pub async fn is_whole(&mut self, pool: &PgPool) -> sqlx::Result<bool> {
        let known: BTreeMap<i64, i64> = feed::positions(pool).await?.into_iter().collect();
        self.positions.retain(|writer, _| known.contains_key(writer));
        feed::is_whole_after(pool, self.at_us).await
    }

    /// The sagas of the next batches; moves on behind them.
    async fn next(&mut self, pool: &PgPool) -> sqlx::Result<Vec<Vec<Uuid>>> {
        let batches = self.batches(pool, BATCHES_AT_ONCE).await?;
        Ok(batches
            .into_iter()
            .map(|it| {
                self.positions.insert(it.writer, it.n);
                it.saga_ids
            })
            .collect())
    }

    async fn batches(&self, pool: &PgPool, limit: i64) -> sqlx::Result<Vec<feed::Batch>> {
        let (writers, numbers): (Vec<i64>, Vec<i64>) = self.positions.iter().unzip();
        feed::after(pool, &writers, &numbers, limit).await
    }

    /// The lines of the next batch of some writer, each with the position behind it as opaque bytes; moves
    /// on behind the batch. `None` when there is none.
    pub async fn lines(
        &mut self,
        pool: &PgPool,
    ) -> sqlx::Result<Option<Vec<(JournalLine, Vec<u8>)>>> {
        let batch = match self.within {
            Some(within) => feed::one(pool, within.writer, within.n).await?,
            None => self.batches(pool, 1).await?.into_iter().next(),
        };
        let Some(batch) = batch else {
            self.within = None;
            return Ok(None);
        };
        let lines = read::lines_by_key(pool, &batch.saga_ids, &batch.seqs).await?;
        // Only now: whoever could not read stands where it stood, and asks again.
        let passed = self.within.take().map_or(0, |it| it.passed);
        let (writer, n) = (batch.writer, batch.n);
        self.at_us = batch.at_us;
        let mut numbered = Vec::with_capacity(lines.len());
        for (passed, line) in (1..).zip(lines).skip(usize::try_from(passed).unwrap_or(usize::MAX)) {
            self.within = Some(Within { writer, n, passed });
            numbered.push((line, self.to_bytes()));
        }
        self.within = None;
        self.positions.insert(writer, n);
        Ok(Some(numbered))
    }

    /// As opaque bytes, for a client to bring back: a time, three numbers for the batch at hand, two for
    /// each writer.
    pub fn to_bytes(&self) -> Vec<u8> {
        let within = self.within.map_or([0; 3], |it| [it.writer, it.n, it.passed]);
        let positions = self.positions.iter().flat_map(|(writer, n)| [*writer, *n]);
        let numbers = std::iter::once(self.at_us).chain(within).chain(positions);
        numbers.flat_map(i64::to_be_bytes).collect()
    }

    /// Reads [`Cursor::to_bytes`] back; `None` when these bytes are none of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let numbers: Vec<i64> = words.iter().map(|it| i64::from_be_bytes(*it)).collect();
        let (head, positions) = numbers.split_first_chunk::<4>()?;
        if !rest.is_empty() || positions.len() % 2 != 0 {
            return None;
        }
        let [at_us, writer, n, passed] = *head;
        let within = (n > 0).then_some(Within { writer, n, passed });
        let (pairs, _) = positions.as_chunks::<2>();
        let positions = pairs.iter().map(|[writer, n]| (*writer, *n)).collect();
        Some(Self { at_us, positions, within })
    }
}
