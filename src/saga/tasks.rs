//! What workers ask of an engine, from whatever replica: tasks to do, and that what they tell of them is written down.

use std::{future::Future, pin::pin, time::Duration};

use sqlx::PgPool;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    engine::Engine,
    journal::{
        bucket_of,
        task::{
            CHANNEL,
            claim::{self, Claim, Claimed},
            look::{self, Awaited, Ended, QueueLimits, QueueLook, Worker},
            settle::{self, Beat, Token, Told},
        },
    },
};

impl<E: Send + Sync + 'static> Engine<E> {
    /// Tasks for a worker: those that there are, or the first that come within `wait`. Ends early, and then with
    /// nothing, when `gone` does; that is only looked at while it waits, never in the midst of the database.
    pub async fn poll(
        &self,
        pool: &PgPool,
        claim: &Claim,
        wait: Duration,
        gone: impl Future<Output = ()> + Send,
    ) -> sqlx::Result<Vec<Claimed>> {
        let deadline = Instant::now() + wait;
        let mut gone = pin!(gone);
        // Before the first claim: what is committed after it is hinted at, or found by the next look.
        let place = self.core.work.enter(&claim.queues, &claim.worker);
        let mut claimed = Vec::new();
        if wait.is_zero() || !self.core.work.is_quiet() {
            look::note_worker(pool, &claim.queues, &claim.worker).await?;
            claimed = self.claim(pool, claim).await?;
        }
        while claimed.is_empty() && !wait.is_zero() {
            let woken = tokio::select! {
                biased;
                () = &mut gone => false,
                woken = timeout_at(deadline, place.wake.notified()) => woken.is_ok(),
            };
            if !woken {
                break;
            }
            claimed = self.claim(pool, claim).await?;
        }
        Ok(claimed)
    }

    async fn claim(&self, pool: &PgPool, wanted: &Claim) -> sqlx::Result<Vec<Claimed>> {
        let claimed = claim::claim(pool, wanted).await?;
        // One hint for all: an owner elsewhere is reached by the same notification.
        let is_elsewhere =
            |it: &&Claimed| self.core.ownership.epoch(bucket_of(it.saga_id)).is_none();
        let mut new = claimed.iter().filter(|it| it.is_first);
        let first = new.clone().find(is_elsewhere).or_else(|| new.next());
        if let Some(first) = first {
            self.hint(pool, first.saga_id).await;
            self.core.look_now.notify_one();
        }
        Ok(claimed)
    }

    /// A task is made. Repeated with the same token it is the same.
    pub async fn complete_task(
        &self,
        pool: &PgPool,
        token: Token,
        result: Option<&str>,
    ) -> sqlx::Result<Told> {
        let saga_id = settle::complete(pool, token, result).await?;
        self.told(pool, token, saga_id, "done").await
    }

    /// A task cannot be made; or, to be tried again, goes back to its queue unless that was its last attempt.
    pub async fn fail_task(
        &self,
        pool: &PgPool,
        token: Token,
        (code, detail): (&str, &str),
        is_to_retry: bool,
    ) -> sqlx::Result<Told> {
        if is_to_retry && settle::give_back(pool, token, false, Some(detail), CHANNEL).await? {
            self.core.work.hint();
            return Ok(Told::GivenBack);
        }
        let saga_id = settle::fail(pool, token, code, detail).await?;
        self.told(pool, token, saga_id, "failed").await
    }

    /// Gives a task back untried.
    pub async fn release_task(&self, pool: &PgPool, token: Token) -> sqlx::Result<Told> {
        if settle::give_back(pool, token, true, None, CHANNEL).await? {
            self.core.work.hint();
            return Ok(Told::GivenBack);
        }
        settle::standing(pool, token, "").await
    }

    /// Prolongs a lease, and keeps what the worker tells of its progress. An error of the inner kind says why not.
    pub async fn beat_task(
        &self,
        pool: &PgPool,
        token: Token,
        progress: Option<&str>,
    ) -> sqlx::Result<Result<Beat, Told>> {
        if let Some(beat) = settle::beat(pool, token, progress).await? {
            return Ok(Ok(beat));
        }
        Ok(match settle::standing(pool, token, "withdrawn").await? {
            Told::Repeated => Ok(Beat { leased_until: None, cancel_requested: true }),
            told => Err(told),
        })
    }

    async fn told(
        &self,
        pool: &PgPool,
        token: Token,
        saga_id: Option<Uuid>,
        wish: &str,
    ) -> sqlx::Result<Told> {
        let Some(saga_id) = saga_id else { return settle::standing(pool, token, wish).await };
        self.hint(pool, saga_id).await;
        // A place has become free.
        self.core.work.hint();
        Ok(Told::Accepted)
    }

    /// All queues that have tasks, workers or limits, and what became of their tasks within the last hour.
    pub async fn queues(&self, pool: &PgPool) -> sqlx::Result<(Vec<QueueLook>, Vec<Ended>)> {
        Ok((look::look(pool, &[]).await?, look::ended(pool).await?))
    }

    /// The workers of a queue.
    pub async fn workers(&self, pool: &PgPool, queue: &str) -> sqlx::Result<Vec<Worker>> {
        look::workers(pool, queue).await
    }

    /// The limits of a queue, if anybody ever set any.
    pub async fn queue_limits(
        &self,
        pool: &PgPool,
        queue: &str,
    ) -> sqlx::Result<Option<QueueLimits>> {
        look::limits(pool, queue).await
    }

    /// Sets the limits of a queue, for all replicas and at once.
    pub async fn set_queue_limits(
        &self,
        pool: &PgPool,
        queue: &str,
        limits: (Option<i32>, Option<f64>),
        by_and_reason: (&str, &str),
    ) -> sqlx::Result<()> {
        look::set_limits(pool, queue, limits, by_and_reason, CHANNEL).await?;
        self.core.work.hint();
        Ok(())
    }

    /// The tasks that a saga waits for.
    pub async fn awaited(&self, pool: &PgPool, saga_id: Uuid) -> sqlx::Result<Vec<Awaited>> {
        look::awaited(pool, i16::from(bucket_of(saga_id)), saga_id).await
    }
}
