//! The writers: they take batches, commit them, and find out what happened when nobody tells.
//!
//! A connection that breaks, or a COMMIT whose answer does not come, leaves the outcome unknown. The
//! writer then takes its own buckets over from itself: it raises their epochs (which waits for the
//! orphaned backend, or fences it), reads back where the sagas stand, and submits what is absent.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Apply, Journal, Pending, Transition, Verdict,
    commit::{Outcome, commit, fence_of},
    queue::Queue,
    write::{FeedPosition, Fence},
};
use crate::saga::{
    feed::Feed,
    lease::Ownership,
    meters::{self, LaneMeters},
};

/// CPU per row still falls up to about this many rows.
const BATCH_MAX: usize = 4_096;

/// Shortest and longest wait between two attempts at something that the database did not answer.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(20);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(1);

/// How long the server lets a transaction of ours wait for its next statement: a process that was stopped in
/// the middle of a batch must not hold its locks, above all the stock's, for as long as it is stopped.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Session settings of the writers. Their statements reach every row by its key, and the number of rows is
/// that of the batch; the planner knows neither how long a batch is nor how fast the tables grow, and a
/// plan that reads a table from end to end stays in use when the table is long. Compiling is refused too,
/// for the costs by which plans are avoided would ask for it.
const PLANS: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

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
            settings: WriterSettings {
                // How long batches take is measured by `LaneMeters`, for less.
                options: settings.options.clone().options(PLANS).disable_statement_logging(),
                ..settings.clone()
            },
            connection: None,
            position: FeedPosition { writer: rand::random(), n: 1 },
            lane,
            meters: LaneMeters::new(lane),
        };
        tasks.spawn(writer.run(is_second, stop.clone()));
    }
}

pub(super) struct Writer<E> {
    queue: Arc<Queue<Pending<E>>>,
    pub(super) settings: WriterSettings<E>,
    pub(super) connection: Option<PgConnection>,
    pub(super) position: FeedPosition,
    lane: &'static str,
    meters: LaneMeters,
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
        answer_all(queue.close(), &Verdict::Fenced);
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// Commits a batch, halving it as often as the database refuses it for what is in it.
    async fn write(&mut self, batch: Vec<Pending<E>>, stop: &CancellationToken) {
        let mut stack = vec![batch];
        let mut delay = RETRY_MIN;
        while let Some(batch) = stack.pop() {
            let batch = self.let_go_of_fenced(batch);
            if batch.is_empty() {
                continue;
            }
            let fence = fence_of(&self.settings.ownership, &batch);
            match self.attempt(&batch, &fence).await {
                Ok(outcomes) => {
                    delay = RETRY_MIN;
                    let fenced = self.answer(batch, outcomes);
                    if !fenced.is_empty() {
                        stack.push(self.look_at_fence(fenced, &fence).await);
                    }
                }
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
                    stack.push(self.find_out(batch, &fence, stop).await);
                    // What fails again and again must not keep the database busy with that.
                    sleep(delay).await;
                    delay = (delay * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// The batch without what is not ours any more, which is answered so. Nearly always that is all of it.
    fn let_go_of_fenced(&self, batch: Vec<Pending<E>>) -> Vec<Pending<E>> {
        let is_ours = |it: &Pending<E>| {
            self.settings.ownership.epoch(super::bucket_of(it.transition.saga_id)).is_some()
        };
        if batch.iter().all(is_ours) {
            return batch;
        }
        let (ours, fenced) = batch.into_iter().partition(is_ours);
        answer_all(fenced, &Verdict::Fenced);
        ours
    }

    /// One attempt, bounded in time. The future is dropped only together with its connection.
    async fn attempt(
        &mut self,
        batch: &[Pending<E>],
        fence: &Fence,
    ) -> Result<Vec<Outcome>, Failed> {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return Err(Failed::Unknown(error.to_string())),
        };
        let settings = &self.settings;
        let started = Instant::now();
        let work = commit(&mut connection, settings.apply, fence, self.position, batch);
        let work = AssertUnwindSafe(work).catch_unwind();
        let result = timeout(settings.commit_timeout, work).await;
        self.meters.commit_seconds.record(started.elapsed().as_secs_f64());
        match result {
            Ok(Ok(Ok(outcomes))) => {
                self.meters.batch_size.record(batch.len() as f64);
                let mut moved = written(batch, &outcomes).peekable();
                // A batch that wrote nothing has no row in the feed, and takes no number.
                self.position.n += i64::from(moved.peek().is_some());
                settings.feed.publish(moved.map(|it| it.saga_id));
                written(batch, &outcomes)
                    .flat_map(|it| &it.lines)
                    .for_each(|it| meters::count_line(it.kind));
                self.connection = Some(connection);
                Ok(outcomes)
            }
            Ok(Ok(Err(error))) => {
                let failed = Failed::of(&error);
                if matches!(failed, Failed::Content(_)) {
                    // An explicit transaction has queued its ROLLBACK; a ping sends it.
                    if connection.ping().await.is_ok() {
                        self.connection = Some(connection);
                    }
                }
                Err(failed)
            }
            // No code of others runs after COMMIT, so the transaction dies with its connection.
            Ok(Err(_)) => Err(Failed::Content("applying the effects panicked".to_owned())),
            Err(_) => Err(Failed::Unknown("no answer in time".to_owned())),
        }
    }

    /// The connection at hand, or a new one; a server that does not answer is given up in time.
    pub(super) async fn connect(&mut self) -> sqlx::Result<PgConnection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let patience = IDLE_IN_TRANSACTION_TIMEOUT.as_millis().to_string();
        let options = self.settings.options.clone();
        let options = options.options([("idle_in_transaction_session_timeout", patience)]);
        let connecting = PgConnection::connect_with(&options);
        match timeout(self.settings.commit_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Answers, and returns what the fence held off.
    fn answer(&self, batch: Vec<Pending<E>>, outcomes: Vec<Outcome>) -> Vec<Pending<E>> {
        let (mut again, mut fenced) = (Vec::new(), Vec::new());
        for (pending, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Answered(Verdict::Fenced) => fenced.push(pending),
                Outcome::Answered(verdict) => {
                    pending.answer(verdict);
                }
                Outcome::Again => again.push(pending),
            }
        }
        if !again.is_empty() {
            self.queue.put_back(again);
        }
        fenced
    }
}

/// The transitions of a batch that were written.
fn written<'a, E>(
    batch: &'a [Pending<E>],
    outcomes: &'a [Outcome],
) -> impl Iterator<Item = &'a Transition<E>> {
    let is_written = |it: &Outcome| matches!(it, Outcome::Answered(Verdict::Written));
    let both = batch.iter().zip(outcomes);
    both.filter(move |(_, it)| is_written(it)).map(|(it, _)| &it.transition)
}

pub(super) fn answer_all<E>(batch: Vec<Pending<E>>, verdict: &Verdict) {
    for pending in batch {
        pending.answer(verdict.clone());
    }
}

/// Why a batch was not committed.
enum Failed {
    /// The database refuses something in it, and would the next time too: nothing was written.
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

/// Values and constraints (22, 23), and what is as lasting: not supported, not right, too much, raised by a
/// function (0A, 21, 42, 44, 54, P0).
fn is_about_content(sqlstate: &str) -> bool {
    ["0A", "21", "22", "23", "42", "44", "54", "P0"].iter().any(|it| sqlstate.starts_with(it))
}
