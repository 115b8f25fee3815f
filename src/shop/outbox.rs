//! Sends the notices of orders that ended without being completed. A dead notifier delays no order.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Shop, books::outbox, order::Channel, participant::Call};
use crate::saga::{Policy, StepError};

/// How often the outbox is looked at. A notice may be this much late; nothing else waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Notices sent at once.
const AT_ONCE: i64 = 64;
/// How long a notice is held back while it is being sent: longer than any send takes.
const HOLD_S: f64 = 60.0;
/// Attempts at one notice; then it is given up, and listed.
const ATTEMPTS_MAX: i32 = 12;

impl Shop {
    /// Sends what is due in the buckets of this replica, until `stop`.
    pub async fn send_notices(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.send_due().await {
                tracing::warn!(%error, "the outbox cannot be read; it is looked at again");
            }
        }
    }

    async fn send_due(self: &Arc<Self>) -> sqlx::Result<()> {
        let buckets = self.engine.buckets();
        if buckets.is_empty() {
            return Ok(());
        }
        let due = outbox::due(&self.write, &buckets, AT_ONCE, HOLD_S).await?;
        let mut sending = JoinSet::new();
        for notice in due {
            let shop = self.clone();
            sending.spawn(async move { shop.send_one(&notice).await });
        }
        while let Some(sent) = sending.join_next().await {
            sent.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    async fn send_one(&self, due: &outbox::Due) -> sqlx::Result<()> {
        let channel = if due.channel == "log" { Channel::Log } else { Channel::Webhook };
        let mood = self.mood_of_notice(due.order_id).await?;
        let call = Call { key: &due.message_id, order_id: due.order_id, rehearse: mood.as_deref() };
        match self.participants.notices.send(channel, call, &due.body).await {
            Ok(()) => outbox::sent(&self.write, due.bucket, &due.message_id).await,
            Err(error) => {
                let attempt = due.attempts + 1;
                let last = attempt >= ATTEMPTS_MAX || matches!(error, StepError::Refused { .. });
                let policy = Policy::default();
                let delay = policy.delay(u32::try_from(attempt).unwrap_or(1), 0.0, None);
                let retry = (!last).then_some(delay.as_secs_f64());
                let detail = error.to_string();
                outbox::failed(&self.write, due.bucket, &due.message_id, &detail, retry).await
            }
        }
    }
}
