//! Sends the notices of orders that ended without being completed. A dead notifier delays no order.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    Shop,
    books::outbox,
    order::Order,
    participant::Call,
    saga::{NOTIFIER, calls_notifier},
};
use crate::saga::{Policy, StepError};

/// How often the outbox is looked at when no notice is known to be due: for what another replica left.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long after a closing was decided its notice is looked for: by then its commit is done, and the
/// notices of many orders are read at once.
const LOOK_SOON: Duration = Duration::from_millis(250);
/// Notices sent at once.
const AT_ONCE: i64 = 64;
/// How long a notice is held back while it is being sent: longer than any send takes.
const HOLD_S: f64 = 60.0;
/// How long a notice waits until the notifier may be called, before it is due again: with the time of the send
/// it is less than it is held back for.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Attempts at one notice; then it is given up, and listed.
const ATTEMPTS_MAX: i32 = 12;

impl Shop {
    /// Sends what is due in the buckets of this replica, until `stop`. A send that is under way then is cut
    /// off, and its notice is due again at once, for whoever owns the bucket next. When this returns
    /// everything is noted down: until then the pools must be open.
    pub async fn send_notices(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.notices_due.notified() => tokio::time::sleep(LOOK_SOON).await,
            }
            match self.send_due(&stop).await {
                // Something was due: more may be, or will be again after its delay.
                Ok(true) => ticks.reset_after(LOOK_SOON * 4),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the outbox is looked at again"),
            }
        }
    }

    /// Sends what is due; false when nothing was, nor will be soon.
    async fn send_due(self: &Arc<Self>, stop: &CancellationToken) -> sqlx::Result<bool> {
        let buckets = self.engine.buckets();
        if buckets.is_empty() {
            return Ok(false);
        }
        let due = outbox::due(&self.write, &buckets, AT_ONCE, HOLD_S).await?;
        let any = !due.is_empty() || outbox::any_waiting(&self.read, &buckets).await?;
        let mut sending = JoinSet::new();
        for notice in due {
            let (shop, stop) = (self.clone(), stop.clone());
            sending.spawn(async move { shop.send_one(&notice, &stop).await });
        }
        // All of them, also after an error: those that are left would be dropped with the set, cut off from
        // the notifier or in the midst of the database.
        let mut noted = Ok(());
        while let Some(sent) = sending.join_next().await {
            noted = noted.and(sent.unwrap_or(Ok(())));
        }
        noted.map(|()| any)
    }

    /// Sends a notice once the notifier may be called. `None`: it may not be for long, and nothing was sent.
    async fn send_out(
        &self,
        order: &Order,
        call: Call<'_>,
        body: &str,
    ) -> Result<Option<()>, StepError> {
        if !calls_notifier(order) {
            return self.participants.notices.send(order, call, body).await.map(Some);
        }
        let pass = self.engine.go_out(NOTIFIER, call.order_id, WAIT_MAX).await;
        let Some(mut pass) = pass else { return Ok(None) };
        let sent = self.participants.notices.send(order, call, body).await;
        pass.ended(&sent, false);
        sent.map(Some)
    }

    async fn send_one(&self, due: &outbox::Due, stop: &CancellationToken) -> sqlx::Result<()> {
        // Where it goes, and in what mood, stands in the order.
        let sent = match self.order(due.order_id).await? {
            None => Err(StepError::in_doubt("its order cannot be read")),
            Some(order) => {
                let (key, rehearse) = (due.message_id.as_str(), order.mood("notification"));
                let call = Call { key, order_id: due.order_id, rehearse };
                tokio::select! {
                    biased;
                    sent = self.send_out(&order, call, &due.body) => sent,
                    () = stop.cancelled() => {
                        return outbox::put_back(&self.write, due.bucket, &due.message_id).await;
                    }
                }
            }
        };
        match sent {
            Ok(None) => outbox::put_back(&self.write, due.bucket, &due.message_id).await,
            Ok(Some(())) => outbox::sent(&self.write, due.bucket, &due.message_id).await,
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
