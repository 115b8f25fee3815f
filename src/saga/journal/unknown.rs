//! How a writer finds out what became of a batch when nobody tells, or when the fence held it off.

use std::collections::HashMap;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Pending, Verdict, bucket_of,
    commit::fence_of,
    lease,
    write::{self, FeedPosition, Fence},
    writer::{RETRY_MAX, RETRY_MIN, Writer, answer_all},
};

impl<E: Send + Sync + 'static> Writer<E> {
    /// Learns why the fence held a batch off. Another writer of ours may have raised the epochs: then the
    /// batch is simply written again. What is not ours any more is known as such afterwards.
    pub(super) async fn look_at_fence(
        &mut self,
        batch: Vec<Pending<E>>,
        fence: &Fence,
    ) -> Vec<Pending<E>> {
        let Ok(mut connection) = self.connect().await else { return batch };
        let ownership = &self.settings.ownership;
        let boot_id = ownership.boot_id();
        let buckets: Vec<i16> = fence_of(ownership, &batch).buckets;
        let limit = self.settings.commit_timeout;
        match timeout(limit, lease::owned(&mut connection, boot_id, &buckets)).await {
            Ok(Ok(owned)) => {
                ownership.raised(boot_id, &buckets, &owned);
                self.connection = Some(connection);
            }
            Ok(Err(error)) => tracing::debug!(%error, "cannot look at the fence"),
            Err(_) => tracing::debug!("no answer from the fence"),
        }
        tracing::debug!(buckets = fence.buckets.len(), "the fence held a batch off");
        batch
    }

    /// Settles what is known of a batch whose outcome is not, and returns what is certainly absent.
    pub(super) async fn find_out(
        &mut self,
        mut batch: Vec<Pending<E>>,
        fence: &Fence,
        stop: &CancellationToken,
    ) -> Vec<Pending<E>> {
        // Whatever the orphan may still write, it writes under the old number: a reader sees no second
        // batch under it.
        self.position = FeedPosition { writer: rand::random(), n: 1 };
        let mut delay = RETRY_MIN;
        loop {
            match self.read_back(&mut batch, fence).await {
                Ok(()) => return batch,
                Err(error) => tracing::debug!(%error, "cannot read a batch back yet"),
            }
            let held = fence_of(&self.settings.ownership, &batch);
            if held.buckets.is_empty() || stop.is_cancelled() {
                answer_all(batch, &Verdict::Fenced);
                return Vec::new();
            }
            sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }

    /// Raises the epochs of the batch's buckets, then answers for every transition that was written after
    /// all: its last line is there, under the epoch that this attempt had. Where another replica has taken
    /// over, it raised the epoch before it read, so that what is absent stays absent there too.
    async fn read_back(&mut self, batch: &mut Vec<Pending<E>>, fence: &Fence) -> sqlx::Result<()> {
        self.connection = None;
        let mut connection = self.connect().await?;
        let ownership = &self.settings.ownership;
        let buckets = fence_of(ownership, batch).buckets;
        let boot_id = ownership.boot_id();
        let sagas: Vec<_> = batch.iter().map(|it| it.transition.saga_id).collect();
        let lasts: Vec<_> = batch.iter().map(|it| it.transition.last_seq()).collect();
        let reading = async {
            let raised = lease::raise(&mut connection, boot_id, &buckets).await?;
            let found = write::epochs_of_lines(&mut connection, &sagas, &lasts).await?;
            sqlx::Result::Ok((raised, found))
        };
        let read = timeout(self.settings.commit_timeout, reading).await;
        let (raised, found) = read.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        ownership.raised(boot_id, &buckets, &raised);
        let epochs: HashMap<_, _> = found.into_iter().collect();
        let (written, absent): (Vec<_>, Vec<_>) = batch.drain(..).partition(|it| {
            let saga_id = it.transition.saga_id;
            let attempted = fence.epoch(i16::from(bucket_of(saga_id)));
            epochs.get(&saga_id) == Some(&attempted)
        });
        answer_all(written, &Verdict::Written);
        *batch = absent;
        self.connection = Some(connection);
        Ok(())
    }
}
