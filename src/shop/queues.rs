//! What those ask of the shop who make what is ordered, or look after who does: work, and the queues of it.

use std::{future::Future, time::Duration};

use sqlx::Error;

use super::{Shop, ShopError};
use crate::saga::journal::task::{
    claim::{Claim, Claimed},
    look::{Awaited, Ended, QueueLimits, QueueLook, Worker},
    settle::{Beat, Token, Told},
};

/// A queue, as those are shown it who look after it.
#[derive(Debug, Clone)]
pub struct Queue {
    /// What waits, and since when.
    pub look: QueueLook,
    /// What ended within the last hour.
    pub ended: Option<Ended>,
}

/// A queue, its workers, and who set its limits.
#[derive(Debug, Clone)]
pub struct QueueDetails {
    /// The queue.
    pub queue: Queue,
    /// Its workers.
    pub workers: Vec<Worker>,
    /// Its limits, if anybody ever set any.
    pub limits: Option<QueueLimits>,
}

impl Shop {
    /// Tasks for a worker: those that there are, or the first that come within `wait`. What was claimed for one that
    /// has `gone` meanwhile is given back.
    pub async fn poll(
        &self,
        claim: &Claim,
        wait: Duration,
        gone: impl Future<Output = ()> + Send,
    ) -> Result<Vec<Claimed>, ShopError> {
        Ok(self.engine.poll(&self.write, claim, wait, gone).await?)
    }

    /// Gives tasks back that their worker never heard of.
    pub async fn give_back(&self, claimed: Vec<Claimed>) {
        for Claimed { task_id, lease, .. } in claimed {
            let released = self.engine.release_task(&self.write, Token { task_id, lease }).await;
            if let Err(error) = released {
                tracing::debug!(%error, %task_id, "a task was not given back: its lease runs out");
            }
        }
    }

    /// Prolongs the lease of a task, and keeps its progress.
    pub async fn beat(&self, token: Token, progress: Option<&str>) -> Result<Beat, ShopError> {
        let beat = self.engine.beat_task(&self.write, token, progress).await?;
        beat.map_err(|told| told_error(told).unwrap_or(ShopError::LeaseLost))
    }

    /// A task is made.
    pub async fn complete_task(&self, token: Token, result: Option<&str>) -> Result<(), ShopError> {
        told(self.engine.complete_task(&self.write, token, result).await)
    }

    /// A task cannot be made, or not this time; true when it is back in its queue.
    pub async fn fail_task(
        &self,
        token: Token,
        code_and_detail: (&str, &str),
        is_to_retry: bool,
    ) -> Result<bool, ShopError> {
        let became =
            self.engine.fail_task(&self.write, token, code_and_detail, is_to_retry).await?;
        told(Ok(became)).map(|()| became == Told::GivenBack)
    }

    /// A task goes back to its queue, untried.
    pub async fn release_task(&self, token: Token) -> Result<(), ShopError> {
        told(self.engine.release_task(&self.write, token).await)
    }

    /// The queues.
    pub async fn queues(&self) -> Result<Vec<Queue>, ShopError> {
        let (looks, ended) = self.engine.queues(&self.write).await?;
        let of = |look: QueueLook| {
            let ended = ended.iter().find(|it| it.queue == look.queue).cloned();
            Queue { look, ended }
        };
        Ok(looks.into_iter().map(of).collect())
    }

    /// A queue that has tasks, workers or limits.
    pub async fn queue(&self, name: &str) -> Result<QueueDetails, ShopError> {
        let queues = self.queues().await?;
        let queue = queues.into_iter().find(|it| it.look.queue == name);
        let queue = queue.ok_or(ShopError::NotFound("queue"))?;
        let workers = self.engine.workers(&self.read, name).await?;
        let limits = self.engine.queue_limits(&self.read, name).await?;
        Ok(QueueDetails { queue, workers, limits })
    }

    /// Sets the limits of a queue.
    pub async fn set_queue_limits(
        &self,
        name: &str,
        limits: (Option<i32>, Option<f64>),
        by_and_reason: (&str, &str),
    ) -> Result<QueueDetails, ShopError> {
        self.engine.set_queue_limits(&self.write, name, limits, by_and_reason).await?;
        self.queue(name).await
    }

    /// The tasks that an order waits for.
    pub(super) async fn awaited(&self, order_id: uuid::Uuid) -> Result<Vec<Awaited>, ShopError> {
        Ok(self.engine.awaited(&self.read, order_id).await?)
    }
}

fn told(told: Result<Told, Error>) -> Result<(), ShopError> {
    told_error(told?).map_or(Ok(()), Err)
}

/// Why nothing of what a worker told is written; `None` when it is.
fn told_error(told: Told) -> Option<ShopError> {
    match told {
        Told::Accepted | Told::GivenBack | Told::Repeated => None,
        Told::Lost => Some(ShopError::LeaseLost),
        Told::Withdrawn => Some(ShopError::TaskWithdrawn),
        Told::Ended => Some(ShopError::TaskDone),
        Told::Unknown => Some(ShopError::NotFound("task")),
    }
}
