//! What an engine does beside its sagas: hearing the others, keeping the tables in order.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    journal::{self, load, task},
};

/// The channel on which replicas hint to each other that an inbox was written to.
pub(super) const CHANNEL: &str = "crema_inbox";

impl<E: Send + Sync + 'static> Core<E> {
    /// Turns the other replicas' hints into looks. Whatever is missed, the next tick finds.
    pub(super) async fn listen(self: Arc<Self>) {
        loop {
            let heard = async {
                let mut listener = sqlx::postgres::PgListener::connect_with(&self.drive).await?;
                listener.listen_all([CHANNEL, task::CHANNEL]).await?;
                loop {
                    match listener.recv().await?.channel() {
                        CHANNEL => self.look_now.notify_one(),
                        _ => self.work.hint(),
                    }
                }
            };
            let result: sqlx::Result<()> = tokio::select! {
                () = self.halt.cancelled() => return,
                result = heard => result,
            };
            if let Err(error) = result {
                tracing::debug!(%error, "not listening; looking every second meanwhile");
            }
            tokio::select! {
                () = self.halt.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Makes partitions ahead of time. Without them everything goes on, in one that is never dropped.
    pub(super) async fn make_partitions(&self) {
        if let Err(error) = load::ensure_partitions(&self.drive).await {
            tracing::warn!(%error, "the journal's partitions are not made; it is tried again");
        }
    }

    /// Once an hour: partitions ahead of time, old feed rows away.
    pub(super) async fn keep_house(self: Arc<Self>) {
        const FEED_KEPT_S: f64 = 86_400.0;
        let mut ticks = tokio::time::interval(Duration::from_secs(3_600));
        loop {
            tokio::select! {
                () = self.halt.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = journal::feed::prune(&self.drive, FEED_KEPT_S).await {
                tracing::warn!(%error, "old rows of the feed stay; it is tried again in an hour");
            }
            if let Err(error) = task::look::prune(&self.drive).await {
                tracing::warn!(%error, "old tasks stay; it is tried again in an hour");
            }
            self.make_partitions().await;
        }
    }
}
