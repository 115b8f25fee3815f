//! Which buckets are ours: leases, takeover, hand-over, and knowing when we no longer know.
//!
//! A replica renews one row every few seconds, by the database's clock. Whoever's lease has run out is dead;
//! the living share its buckets, raising each bucket's epoch first (from then on the dead one writes
//! nothing) and reading its sagas after. A replica that could not renew for ⅔ of its lease takes itself for
//! dead, by its own monotonic clock: local time only ever makes us stop sooner.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, interval, sleep, timeout};
use uuid::Uuid;

use super::{
    Core,
    journal::{Fence, lease},
    process::Identity,
};

/// Buckets in all; fixed for life, for ids carry theirs.
pub const BUCKETS: usize = 256;

/// A replica places this many sagas in a row into one bucket before it turns to the next: a batch then
/// touches few buckets, and its fence is short. (With 32 a batch of 500 locked some 40 rows, and two
/// writers at once the same ones.)
const PLACINGS_A_BUCKET: usize = 256;

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

/// What we believe to own. An epoch of 0 means: not ours.
#[derive(Debug)]
pub struct Ownership {
    boot_id: RwLock<Uuid>,
    epochs: [AtomicI64; BUCKETS],
    placing: RwLock<Vec<u8>>,
    turn: AtomicUsize,
    renewed: Mutex<Instant>,
}

impl Ownership {
    pub(super) fn new() -> Self {
        Self {
            boot_id: RwLock::new(Uuid::now_v7()),
            epochs: std::array::from_fn(|_| AtomicI64::new(0)),
            placing: RwLock::new(Vec::new()),
            turn: AtomicUsize::new(0),
            renewed: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn boot_id(&self) -> Uuid {
        *self.boot_id.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch of a bucket of ours.
    pub(super) fn epoch(&self, bucket: u8) -> Option<i64> {
        let epoch = self.epochs.get(usize::from(bucket))?.load(Ordering::Acquire);
        (epoch > 0).then_some(epoch)
    }

    /// All buckets of ours, in order.
    pub(super) fn buckets(&self) -> Vec<i16> {
        (0..=u8::MAX).filter(|it| self.epoch(*it).is_some()).map(i16::from).collect()
    }

    /// All buckets of ours with their epochs, in order.
    pub(super) fn fence(&self) -> Fence {
        let ours = (0..=u8::MAX).filter_map(|it| Some((i16::from(it), self.epoch(it)?)));
        let (buckets, epochs) = ours.unzip();
        Fence { buckets, epochs }
    }

    /// The bucket for the next saga; `None` when no bucket is ours.
    pub(super) fn next_bucket(&self) -> Option<u8> {
        let placing = self.placing.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) / PLACINGS_A_BUCKET;
        // One that was lost since stays in the list until the next tick.
        let (left, right) = placing.split_at(turn % placing.len().max(1));
        right.iter().chain(left).copied().find(|it| self.epoch(*it).is_some())
    }

    /// Takes over what the table says of these buckets; what it did not say is ours is not. False, and
    /// nothing changed, when it was asked about a replica that we no longer are.
    pub(super) fn raised(&self, boot_id: Uuid, buckets: &[i16], held: &[(i16, i64)]) -> bool {
        let current = self.boot_id.read().unwrap_or_else(PoisonError::into_inner);
        if *current != boot_id {
            return false;
        }
        for bucket in buckets.iter().filter(|it| !held.iter().any(|(held, _)| held == *it)) {
            self.forget(*bucket);
        }
        for (bucket, epoch) in held {
            if let Some(slot) = self.slot(*bucket) {
                // Epochs only rise: what another writer has learnt meanwhile is newer.
                slot.fetch_max(*epoch, Ordering::AcqRel);
            }
        }
        true
    }

    /// Forgets buckets that we give away.
    pub(super) fn give_up(&self, buckets: &[i16]) {
        for bucket in buckets {
            self.forget(*bucket);
        }
    }

    fn forget(&self, bucket: i16) {
        if let Some(slot) = self.slot(bucket) {
            slot.store(0, Ordering::Release);
        }
    }

    fn slot(&self, bucket: i16) -> Option<&AtomicI64> {
        self.epochs.get(usize::try_from(bucket).ok()?)
    }

    /// Opens all buckets of ours for new sagas, but these.
    pub(super) fn place_in_all_but(&self, not: &[i16]) {
        let ours = self.buckets().into_iter().filter(|it| !not.contains(it));
        let placing = ours.filter_map(|it| u8::try_from(it).ok()).collect();
        *self.placing.write().unwrap_or_else(PoisonError::into_inner) = placing;
    }

    /// Stops placing new sagas anywhere.
    pub(super) fn stop_placing(&self) {
        self.placing.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether new sagas can be placed.
    pub(super) fn is_placing(&self) -> bool {
        !self.placing.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn renewed_at(&self) -> Instant {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_renewed(&self, at: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Forgets everything; the next registration is a new replica's.
    fn forget_all(&self) {
        let mut boot_id = self.boot_id.write().unwrap_or_else(PoisonError::into_inner);
        *boot_id = Uuid::now_v7();
        self.stop_placing();
        for epoch in &self.epochs {
            epoch.store(0, Ordering::Release);
        }
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
        } else {
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
        self.live.lose_all();
    }
}

/// Milliseconds for a statement; durations here are far below what an `i64` holds.
pub(super) fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
