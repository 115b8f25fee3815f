//! Which buckets are ours: leases, takeover, hand-over, and knowing when we no longer know.
//!
//! A replica renews one row every few seconds, by the database's clock. Whoever's lease has run out is dead;
//! the living share its buckets, raising each bucket's epoch first (from then on the dead one writes
//! nothing) and reading its sagas after. A replica that could not renew for ⅔ of its lease takes itself for
//! dead, by its own monotonic clock: local time only ever makes us stop sooner.

mod ownership;

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, interval, sleep, timeout};
use uuid::Uuid;

pub use self::ownership::{BUCKETS, Ownership};
use super::{Core, journal::lease, process::Identity};

/// How long a replica is taken for alive, and how often it says so.
#[derive(Debug, Clone, Copy)]
pub struct LeaseSettings {
    /// Length of the lease.
    pub lease: Duration,
    /// Time between two renewals.
    pub renew: Duration,
    /// Time between two looks at what is ours, due, or waiting in the inbox.
    pub tick: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        let (lease, renew) = (Duration::from_secs(10), Duration::from_secs(3));
        Self { lease, renew, tick: Duration::from_secs(1) }
    }
}

impl LeaseSettings {
    /// A lease of this length, renewed so often that two renewals may fail before it is lost.
    pub fn of(lease: Duration) -> Self {
        Self { lease, renew: lease * 3 / 10, ..Self::default() }
    }

    fn trust(&self) -> Duration {
        self.lease * 2 / 3
    }
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Registers this process as a replica.
    pub(super) async fn register(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let started = Instant::now();
        let lease_ms = as_ms(self.settings.lease.lease);
        let (boot_id, name) = (self.ownership.boot_id(), &self.settings.name);
        let process = Identity::own().map(|it| it.to_text());
        lease::register(connection, boot_id, name, process.as_deref(), lease_ms).await?;
        self.ownership.set_renewed(started);
        Ok(())
    }

    /// Ends the leases of replicas that were killed on this machine, so that a restart need not wait for
    /// its own predecessor's lease.
    pub(super) async fn end_leases_of_the_dead(
        &self,
        connection: &mut PgConnection,
    ) -> sqlx::Result<()> {
        let known = lease::processes(connection).await?;
        let ended = known.into_iter().filter(|(_, process)| Identity::has_ended(process));
        let dead: Vec<Uuid> = ended.map(|(boot_id, _)| boot_id).collect();
        if !dead.is_empty() {
            tracing::info!(replicas = dead.len(), "found replicas that were killed");
            lease::end(connection, &dead).await?;
        }
        Ok(())
    }

    /// Renews the lease for as long as the engine runs, on a connection of its own: nothing else that the
    /// database is slow at may cost us the lease.
    pub(super) async fn keep_lease(self: Arc<Self>) {
        let mut connection: Option<PgConnection> = None;
        let mut ticks = interval(self.settings.lease.renew);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.halt.cancelled() => break,
                _ = ticks.tick() => {}
            }
            // Bounded, and dropped together with its connection: one that hangs must not keep us from
            // trying another.
            let limit = self.settings.lease.lease / 3;
            let renewed = tokio::select! {
                () = self.halt.cancelled() => break,
                renewed = timeout(limit, self.renew(connection.take())) => renewed,
            };
            let error = match renewed {
                Ok(Ok(it)) => {
                    connection = Some(it);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            tracing::warn!(error, "the lease cannot be renewed");
            sleep(Duration::from_millis(100)).await;
            ticks.reset_immediately();
        }
        if let Some(connection) = connection {
            let _ = connection.close().await;
        }
    }

    async fn renew(&self, connection: Option<PgConnection>) -> sqlx::Result<PgConnection> {
        let mut connection = match connection {
            Some(it) => it,
            None => PgConnection::connect_with(&self.options).await?,
        };
        let started = Instant::now();
        let (boot_id, lease_ms) = (self.ownership.boot_id(), as_ms(self.settings.lease.lease));
        if lease::renew(&mut connection, boot_id, lease_ms).await? {
            self.ownership.set_renewed(started);
        } else if !self.drain.is_cancelled() {
            // One that stops is off the list already, and must not come back to it.
            self.lose_everything("the lease had run out");
            self.register(&mut connection).await?;
        }
        Ok(connection)
    }

    /// Takes us for dead when the lease could not be renewed for ⅔ of its length.
    pub(super) async fn watch_lease(self: Arc<Self>) {
        let mut ticks = interval(self.settings.lease.lease / 40);
        loop {
            tokio::select! {
                () = self.halt.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let silent = self.ownership.renewed_at().elapsed();
            if silent > self.settings.lease.trust() && !self.ownership.buckets().is_empty() {
                self.lose_everything("the lease could not be renewed in time");
            }
        }
    }

    fn lose_everything(&self, why: &str) {
        tracing::error!(why, "this replica lets go of everything it owned");
        metrics::counter!("crema_lease_lost_total").increment(1);
        self.ownership.forget_all();
        self.limits.forget();
        self.live.lose_all();
    }
}

/// Milliseconds for a statement; durations here are far below what an `i64` holds.
pub(super) fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
