//! The keeper: one task a replica that leases slots, reports what was heard, and sends out whose turn has come.
//!
//! It asks the database only while a limit or a breaker is in the way of somebody, or has been a moment ago; and
//! for the rest hears from the look that an idle replica takes every second whether there is anything new.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    super::{
        Core,
        house::CHANNEL,
        journal::{inbox, limits},
    },
    gate::Gate,
    share::{Ask, Seen, Settled, settle},
};

/// Another replica came first this often, and then somebody else's turn is waited for.
const TRIES: usize = 8;
/// The pause after an exchange that did not come about: others were faster, or we are taken for dead.
const PAUSE: Duration = Duration::from_millis(250);
/// The same where the database did not answer.
const PAUSE_UNREACHABLE: Duration = Duration::from_secs(1);
/// Far enough to mean never, near enough for the timer.
const NEVER: Duration = Duration::from_secs(86_400);

impl<E: Send + Sync + 'static> Core<E> {
    /// Learns of the limits before the first saga runs.
    pub(in crate::saga) async fn learn_limits(&self) -> sqlx::Result<()> {
        limits::ensure(&self.drive, &self.limits.names()).await?;
        for gate in &self.limits.gates {
            self.exchange(gate).await?;
        }
        Ok(())
    }

    /// Sees to the gates for as long as the engine runs.
    pub(in crate::saga) async fn keep_limits(self: Arc<Self>) {
        let limits = &self.limits;
        loop {
            let due = limits.gates.iter().filter_map(|it| it.due()).min();
            tokio::select! {
                () = self.halt.cancelled() => return,
                () = limits.wake.notified() => {}
                () = sleep_until(due.unwrap_or_else(|| Instant::now() + NEVER)) => {}
            }
            for gate in &limits.gates {
                gate.dispatch();
                if !gate.is_exchange_due(Instant::now()) {
                    continue;
                }
                if let Err(error) = self.exchange(gate).await {
                    tracing::warn!(%error, participant = gate.name(), "limits are not exchanged");
                }
            }
        }
    }

    /// Tells what we have and heard, and takes what we are given.
    async fn exchange(&self, gate: &Arc<Gate>) -> sqlx::Result<()> {
        let boot_id = self.ownership.boot_id();
        let (ask, running) = gate.ask(boot_id);
        let settled = self.settle(gate, &ask, &running).await;
        let (seen, settled) = match settled {
            Ok(Some(it)) => it,
            Ok(None) => {
                gate.put_back(ask, PAUSE);
                return Ok(());
            }
            Err(error) => {
                gate.put_back(ask, PAUSE_UNREACHABLE);
                return Err(error);
            }
        };
        let has_changed = settled.breaker.name() != seen.breaker.name();
        let change = gate.take(&seen, settled, || self.ownership.boot_id() == boot_id);
        gate.measure();
        if let Some((before, after)) = change {
            let participant = gate.name();
            tracing::warn!(participant, before, after, "the circuit of a participant has changed");
        }
        if has_changed && let Err(error) = inbox::hint(&self.drive, CHANNEL).await {
            tracing::debug!(%error, "a hint was not sent");
        }
        Ok(())
    }

    /// Reads how the participant stands, decides, and writes it down unless somebody else did in between. `None`:
    /// it did not come about.
    async fn settle(
        &self,
        gate: &Gate,
        ask: &Ask,
        running: &[uuid::Uuid],
    ) -> sqlx::Result<Option<(Seen, Settled)>> {
        for _ in 0..TRIES {
            let Some((seen, turn)) = limits::read(&self.drive, gate.name(), ask.boot_id).await?
            else {
                return Ok(None);
            };
            let settled = settle(&self.limits.settings.breaker, &seen, ask);
            let is_written = !settled.is_changed
                || limits::write(
                    &self.drive,
                    gate.name(),
                    turn,
                    ask.boot_id,
                    &seen,
                    &settled,
                    running,
                )
                .await?;
            if is_written {
                return Ok(Some((seen, settled)));
            }
        }
        Ok(None)
    }
}
