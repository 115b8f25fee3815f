//! The writers: they take batches, commit them, and find out what happened when nobody tells.
//!
//! A connection that breaks, or a COMMIT whose answer does not come, leaves the outcome unknown. The
//! writer then takes its own buckets over from itself: it raises their epochs (which waits for the
//! orphaned backend, or fences it), reads back where the sagas stand, and submits what is absent.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Apply, Journal, Pending, Verdict,
    commit::{Outcome, commit, fence_of},
    lease,
    queue::Queue,
    write::{self, FeedPosition},
};
use crate::saga::{feed::Feed, lease::Ownership};

/// CPU per row still falls up to about this many rows.
const BATCH_MAX: usize = 4_096;

/// Longest wait between two attempts to reach the database.
const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// What every writer needs.
pub(in crate::saga) struct WriterSettings<E> {
    pub options: PgConnectOptions,
    pub apply: Apply<E>,
    pub ownership: Arc<Ownership>,
    pub feed: Feed,
    /// Longest time for one batch; then its outcome counts as unknown and the connection is dropped.
    pub commit_timeout: Duration,
}

impl<E> Clone for WriterSettings<E> {
    fn clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            apply: self.apply,
            ownership: self.ownership.clone(),
            feed: self.feed.clone(),
            commit_timeout: self.commit_timeout,
        }
    }
}

/// Starts two writers of the own lane and one of the shared lane. They end with `stop`, after the batch in
/// hand; what still waits then is answered "fenced".
pub(in crate::saga) fn spawn_writers<E: Send + Sync + 'static>(
    tasks: &TaskTracker,
    journal: &Journal<E>,
    settings: &WriterSettings<E>,
    stop: &CancellationToken,
) {
    let writers = [
        (&journal.own, false, "own"),
        (&journal.own, true, "own"),
        (&journal.shared, false, "shared"),
    ];
    for (queue, is_second, lane) in writers {
        let writer = Writer {
            queue: queue.clone(),
            settings: settings.clone(),
            connection: None,
            position: FeedPosition { writer: rand::random(), n: 1 },
            lane,
        };
        tasks.spawn(writer.run(is_second, stop.clone()));
    }
}

struct Writer<E> {
    queue: Arc<Queue<Pending<E>>>,
    settings: WriterSettings<E>,
    connection: Option<PgConnection>,
    position: FeedPosition,
    lane: &'static str,
}

impl<E: Send + Sync + 'static> Writer<E> {
    async fn run(mut self, is_second: bool, stop: CancellationToken) {
        let queue = self.queue.clone();
        loop {
            // `next_batch` takes nothing before its last await, so losing this race loses nothing.
            let mut batch = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                batch = queue.next_batch(is_second, BATCH_MAX) => batch,
            };
            let items = std::mem::take(&mut batch.items);
            self.write(items, &stop).await;
        }
        for pending in queue.drain() {
            let _ = pending.answer.send(Verdict::Fenced);
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// Commits a batch, halving it as often as the database refuses it for what is in it.
    async fn write(&mut self, batch: Vec<Pending<E>>, stop: &CancellationToken) {
        let mut stack = vec![batch];
        while let Some(batch) = stack.pop() {
            let (batch, fenced): (Vec<_>, Vec<_>) = batch.into_iter().partition(|it| {
                self.settings.ownership.epoch(super::bucket_of(it.transition.saga_id)).is_some()
            });
            answer_all(fenced, &Verdict::Fenced);
            if batch.is_empty() {
                continue;
            }
            match self.attempt(&batch).await {
                Ok(outcomes) => self.answer(batch, outcomes),
                Err(Failed::Content(reason)) if batch.len() == 1 => {
                    tracing::error!(reason, "the database refuses a transition");
                    answer_all(batch, &Verdict::Impossible(reason));
                }
                Err(Failed::Content(_)) => {
                    let mut left = batch;
                    let right = left.split_off(left.len().div_ceil(2));
                    stack.push(right);
                    stack.push(left);
                }
                Err(Failed::Unknown(reason)) => {
                    tracing::warn!(reason, lane = self.lane, "the outcome of a batch is unknown");
                    let absent = self.find_out(batch, stop).await;
                    stack.push(absent);
                }
            }
        }
    }

    /// One attempt, bounded in time. The future is dropped only together with its connection.
    async fn attempt(&mut self, batch: &[Pending<E>]) -> Result<Vec<Outcome>, Failed> {
        let Some(mut connection) = self.connect().await else {
            return Err(Failed::Unknown("no connection".to_owned()));
        };
        let settings = &self.settings;
        let started = Instant::now();
        let work =
            commit(&mut connection, settings.apply, &settings.ownership, self.position, batch);
        let result = timeout(settings.commit_timeout, work).await;
        metrics::histogram!("crema_journal_commit_seconds", "lane" => self.lane)
            .record(started.elapsed().as_secs_f64());
        match result {
            Ok(Ok((outcomes, lines))) => {
                metrics::histogram!("crema_journal_batch_size", "lane" => self.lane)
                    .record(batch.len() as f64);
                settings.feed.publish(self.position.writer, self.position.n, lines);
                self.position.n += 1;
                self.connection = Some(connection);
                Ok(outcomes)
            }
            Ok(Err(error)) => {
                let failed = Failed::of(&error);
                if matches!(failed, Failed::Content(_)) {
                    // An explicit transaction has queued its ROLLBACK; a ping sends it.
                    if connection.ping().await.is_ok() {
                        self.connection = Some(connection);
                    }
                }
                Err(failed)
            }
            Err(_) => Err(Failed::Unknown("no answer in time".to_owned())),
        }
    }

    async fn connect(&mut self) -> Option<PgConnection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let connected = PgConnection::connect_with(&self.settings.options).await;
        connected.inspect_err(|error| tracing::warn!(%error, "a writer cannot connect")).ok()
    }

    fn answer(&self, batch: Vec<Pending<E>>, outcomes: Vec<Outcome>) {
        let mut again = Vec::new();
        for (pending, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Answered(verdict) => {
                    let _ = pending.answer.send(verdict);
                }
                Outcome::Again => again.push(pending),
            }
        }
        if !again.is_empty() {
            self.queue.put_back(again);
        }
    }

    /// Settles what is known of a batch whose outcome is not, and returns what is certainly absent.
    async fn find_out(
        &mut self,
        mut batch: Vec<Pending<E>>,
        stop: &CancellationToken,
    ) -> Vec<Pending<E>> {
        // Whatever the orphan may still write, it writes under the old number: a reader sees no second
        // batch under it.
        self.position = FeedPosition { writer: rand::random(), n: 1 };
        let mut delay = Duration::from_millis(20);
        loop {
            let fence = fence_of(&self.settings.ownership, &batch);
            if fence.buckets.is_empty() || stop.is_cancelled() {
                answer_all(batch, &Verdict::Fenced);
                return Vec::new();
            }
            match self.read_back(&fence.buckets, &mut batch).await {
                Ok(()) => return batch,
                Err(error) => tracing::debug!(%error, "cannot read a batch back yet"),
            }
            sleep(delay).await;
            delay = (delay * 2).min(RECONNECT_MAX);
        }
    }

    /// Raises the epochs of these buckets, then answers for every transition that was written after all.
    async fn read_back(
        &mut self,
        buckets: &[i16],
        batch: &mut Vec<Pending<E>>,
    ) -> sqlx::Result<()> {
        let mut connection = PgConnection::connect_with(&self.settings.options).await?;
        let ownership = &self.settings.ownership;
        let raised = lease::raise(&mut connection, ownership.boot_id(), buckets).await?;
        ownership.raised(buckets, &raised);
        let sagas: Vec<_> = batch.iter().map(|it| it.transition.saga_id).collect();
        let standing = write::standing(&mut connection, &sagas).await?;
        let standing: std::collections::HashMap<_, _> = standing.into_iter().collect();
        let (written, absent): (Vec<_>, Vec<_>) = batch.drain(..).partition(|it| {
            let last = it.transition.last_seq();
            standing.get(&it.transition.saga_id).is_some_and(|seq| *seq >= last)
        });
        answer_all(written, &Verdict::Written);
        *batch = absent;
        self.connection = Some(connection);
        Ok(())
    }
}

fn answer_all<E>(batch: Vec<Pending<E>>, verdict: &Verdict) {
    for pending in batch {
        let _ = pending.answer.send(verdict.clone());
    }
}

/// Why a batch was not committed.
enum Failed {
    /// The database refuses something in it (SQLSTATE classes 22 and 23): nothing was written.
    Content(String),
    /// Nobody knows.
    Unknown(String),
}

impl Failed {
    fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(it) if it.code().is_some_and(|it| is_about_content(&it)) => {
                Self::Content(it.to_string())
            }
            error => Self::Unknown(error.to_string()),
        }
    }
}

fn is_about_content(sqlstate: &str) -> bool {
    sqlstate.starts_with("22") || sqlstate.starts_with("23")
}
