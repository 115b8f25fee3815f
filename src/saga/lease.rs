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
use tokio::time::{Instant, interval, sleep};
use uuid::Uuid;

use super::{
    Core,
    journal::{inbox, lease, load},
};

/// Buckets in all; fixed for life, for ids carry theirs.
pub const BUCKETS: usize = 256;

/// A replica places this many sagas in a row into one bucket before it turns to the next: a batch then
/// touches few buckets, and its fence is short.
const PLACINGS_A_BUCKET: usize = 32;

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

    /// The bucket for the next saga; `None` when no bucket is ours.
    pub(super) fn next_bucket(&self) -> Option<u8> {
        let placing = self.placing.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) / PLACINGS_A_BUCKET;
        placing.get(turn % placing.len().max(1)).copied()
    }

    fn set(&self, owned: &[(i16, i64)]) {
        for (bucket, epoch) in owned {
            if let Some(slot) = usize::try_from(*bucket).ok().and_then(|it| self.epochs.get(it)) {
                slot.store(*epoch, Ordering::Release);
            }
        }
    }

    /// Takes over what a raise of these buckets' epochs returned; what it did not return is not ours.
    pub(super) fn raised(&self, buckets: &[i16], raised: &[(i16, i64)]) {
        let lost: Vec<(i16, i64)> = buckets
            .iter()
            .filter(|bucket| !raised.iter().any(|(it, _)| it == *bucket))
            .map(|bucket| (*bucket, 0))
            .collect();
        self.set(&lost);
        self.set(raised);
    }

    /// Opens all buckets of ours for new sagas, but these.
    fn place_in_all_but(&self, not: &[i16]) {
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
        self.stop_placing();
        for epoch in &self.epochs {
            epoch.store(0, Ordering::Release);
        }
        *self.boot_id.write().unwrap_or_else(PoisonError::into_inner) = Uuid::now_v7();
    }
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Registers this process as a replica.
    pub(super) async fn register(&self) -> sqlx::Result<()> {
        let started = Instant::now();
        let lease_ms = as_ms(self.settings.lease.lease);
        lease::register(&self.drive, self.ownership.boot_id(), &self.settings.name, lease_ms)
            .await?;
        self.ownership.set_renewed(started);
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
            match self.renew(connection.take()).await {
                Ok(it) => connection = Some(it),
                Err(error) => {
                    tracing::warn!(%error, "the lease cannot be renewed");
                    sleep(Duration::from_millis(100)).await;
                    ticks.reset_immediately();
                }
            }
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
            self.register().await?;
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

    /// Looks once a second, and whenever somebody hints that it is worth it.
    pub(super) async fn tick_forever(self: Arc<Self>) {
        let mut ticks = interval(self.settings.lease.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.drain.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.look_now.notified() => {}
            }
            if let Err(error) = self.tick().await {
                tracing::warn!(%error, "a look at what is due failed; the next one follows");
            }
        }
    }

    pub(super) async fn tick(self: &Arc<Self>) -> sqlx::Result<()> {
        let ours = self.ownership.buckets();
        let horizon = as_ms(self.settings.horizon);
        let outlook = lease::look(&self.drive, &ours, horizon).await?;
        metrics::gauge!("crema_buckets_owned").set(ours.len() as f64);
        metrics::gauge!("crema_orders_parked").set(outlook.parked as f64);
        metrics::gauge!("crema_oldest_due_age_seconds")
            .set(outlook.oldest_due_s.unwrap_or(0.0).max(0.0));
        self.balance(&ours, outlook.replicas.max(1), outlook.ownerless).await?;
        if outlook.has_inbox {
            self.drain_inbox(&self.ownership.buckets()).await?;
        }
        self.reload().await?;
        if outlook.oldest_due_s.is_some() {
            self.load_due().await?;
        }
        Ok(())
    }

    /// Takes ownerless buckets up to our fair share, or hands over what is beyond it.
    async fn balance(
        self: &Arc<Self>,
        ours: &[i16],
        replicas: i64,
        ownerless: i64,
    ) -> sqlx::Result<()> {
        let share = (BUCKETS as i64 + replicas - 1) / replicas;
        let room = share - ours.len() as i64;
        if ownerless > 0 && room > 0 {
            let boot_id = self.ownership.boot_id();
            let taken = lease::take_over(&self.drive, boot_id, room).await?;
            if boot_id != self.ownership.boot_id() {
                return Ok(()); // We were taken for dead meanwhile; the new one starts afresh.
            }
            self.ownership.set(&taken);
            self.ownership.place_in_all_but(&[]);
            if !taken.is_empty() {
                tracing::info!(buckets = taken.len(), "took over buckets");
            }
            for (bucket, _) in taken {
                self.load_running(bucket).await?;
            }
        } else if room < 0 {
            let beyond = ours.iter().rev().take(usize::try_from(-room).unwrap_or(0));
            self.hand_over(&beyond.copied().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Stops buckets, lets what is being written be written, then releases them.
    pub(super) async fn hand_over(&self, buckets: &[i16]) -> sqlx::Result<()> {
        self.ownership.place_in_all_but(buckets);
        self.live.lose(buckets, self.settings.handover_timeout).await;
        let lost: Vec<(i16, i64)> = buckets.iter().map(|it| (*it, 0)).collect();
        self.ownership.set(&lost);
        lease::release(&self.drive, self.ownership.boot_id(), buckets).await?;
        tracing::info!(buckets = buckets.len(), "handed over buckets");
        Ok(())
    }

    /// Delivers what waits in the inbox to the sagas in memory, and loads those that are not.
    async fn drain_inbox(self: &Arc<Self>, buckets: &[i16]) -> sqlx::Result<()> {
        let items = inbox::waiting(&self.drive, buckets, 1_000).await?;
        let absent = self.live.deliver(&items);
        if absent.is_empty() {
            return Ok(());
        }
        let loaded = load::wake(&self.drive, &absent).await?;
        if loaded.len() < absent.len() {
            inbox::forget(&self.drive, buckets).await?;
        }
        self.resume(loaded, false).await?;
        self.live.deliver(&items);
        Ok(())
    }
}

/// Milliseconds for a statement; durations here are far below what an `i64` holds.
pub(super) fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
