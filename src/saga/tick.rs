//! The look at the database once a second: what changed hands, what is due, what waits in the inbox.

use std::sync::Arc;

use tokio::time::interval;
use uuid::Uuid;

use super::{
    Core,
    journal::{
        lease::{self, Outlook},
        load,
    },
    lease::{BUCKETS, as_ms},
    live::Arrival,
};

impl<E: Send + Sync + 'static> Core<E> {
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
        let (boot_id, ours) = (self.ownership.boot_id(), self.ownership.buckets());
        let horizon = as_ms(self.settings.horizon);
        let outlook =
            lease::look(&self.drive, boot_id, &ours, horizon, &self.foreign.readable()).await?;
        self.clock.set(outlook.now_ms);
        metrics::gauge!("crema_buckets_owned").set(ours.len() as f64);
        metrics::gauge!("crema_sagas_live").set(self.live.len() as f64);
        metrics::gauge!("crema_orders_parked").set(outlook.parked as f64);
        metrics::gauge!("crema_oldest_due_age_seconds")
            .set(outlook.oldest_due_s.unwrap_or(0.0).max(0.0));
        self.limits.hear_of(outlook.participants);
        self.reconcile(boot_id, &ours, &outlook).await?;
        self.balance(outlook.replicas.max(1), outlook.ownerless).await?;
        self.load_doubted().await?;
        if outlook.has_inbox {
            self.drain_inbox(&self.ownership.buckets()).await?;
        }
        self.sweep().await?;
        self.reload().await?;
        if outlook.oldest_due_s.is_some() {
            self.load_due().await?;
        }
        Ok(())
    }

    /// Once a minute: looks for sagas that run by their rows and are in nobody's memory, twice in a row. There
    /// should be none; should there be one all the same, it is counted, told, and taken up again, for an
    /// order that nobody drives is the worst that can happen to it.
    async fn sweep(&self) -> sqlx::Result<()> {
        if !self.live.is_time_to_sweep(self.settings.sweep) {
            return Ok(());
        }
        let (ours, readable) = (self.ownership.buckets(), self.foreign.readable());
        let running = load::running_ids(&self.drive, &ours, &readable).await?;
        for saga_id in self.live.stranded(running) {
            tracing::error!(%saga_id, "nobody drove this saga; it is taken up again");
            metrics::counter!("crema_sagas_stranded_total").increment(1);
            self.live.ask_to_reload(saga_id, Arrival::Missed);
        }
        self.notice_foreign().await
    }

    /// Brings what we believe to own in line with the table. The two differ when the answer to a takeover
    /// or a release was lost, or when somebody else wrote to the table.
    async fn reconcile(
        self: &Arc<Self>,
        boot_id: Uuid,
        ours: &[i16],
        outlook: &Outlook,
    ) -> sqlx::Result<()> {
        let owned: Vec<(i16, i64)> =
            outlook.owned.iter().copied().zip(outlook.epochs.iter().copied()).collect();
        if self.drain.is_cancelled() || !self.ownership.raised(boot_id, ours, &owned) {
            return Ok(());
        }
        let (gained, lost): (Vec<i16>, Vec<i16>) = (
            outlook.owned.iter().filter(|it| !ours.contains(it)).copied().collect(),
            ours.iter().filter(|it| !outlook.owned.contains(it)).copied().collect(),
        );
        if gained.is_empty() && lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(gained = gained.len(), lost = lost.len(), "buckets changed hands unseen");
        self.live.let_go(&lost);
        self.place_in_all_but(&[]);
        self.load_all(gained.into_iter().map(|it| (it, Arrival::HandedOver)).collect()).await
    }

    /// Takes ownerless buckets up to our fair share, or hands over what is beyond it.
    async fn balance(self: &Arc<Self>, replicas: i64, ownerless: i64) -> sqlx::Result<()> {
        let ours = self.ownership.buckets();
        let share = (BUCKETS as i64 + replicas - 1) / replicas;
        let room = share - ours.len() as i64;
        if ownerless > 0 && room > 0 {
            let boot_id = self.ownership.boot_id();
            let former = self.ownership.former_boots();
            let taken = lease::take_over(&self.drive, boot_id, &former, room).await?;
            let epochs: Vec<(i16, i64)> = taken.iter().map(|it| (it.bucket, it.epoch)).collect();
            if !self.ownership.raised(boot_id, &[], &epochs) {
                return Ok(()); // We were taken for dead meanwhile; the new one starts afresh.
            }
            self.place_in_all_but(&[]);
            if !taken.is_empty() {
                tracing::info!(buckets = taken.len(), "took over buckets");
            }
            // Back from ourselves, no process ended: a lease that ran out is no crash.
            let arrival = |owner: Option<Uuid>| match owner {
                Some(owner) if !former.contains(&owner) => Arrival::TakenOver,
                _ => Arrival::HandedOver,
            };
            self.load_all(taken.iter().map(|it| (it.bucket, arrival(it.owner))).collect()).await?;
        } else if room < 0 {
            let beyond = ours.iter().rev().take(usize::try_from(-room).unwrap_or(0));
            self.hand_over(&beyond.copied().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Stops buckets, lets what is being written be written, then releases them.
    pub(super) async fn hand_over(&self, buckets: &[i16]) -> sqlx::Result<()> {
        self.place_in_all_but(buckets);
        self.limits.note_who_stands();
        self.live.lose(buckets, self.settings.handover_timeout).await;
        let stood = self.limits.take_who_stood(buckets, !self.drain.is_cancelled());
        if let Err(error) = load::suspend_all(&self.drive, &self.ownership.fence(), &stood).await {
            tracing::warn!(%error, "sagas that waited at a gate count as under way");
        }
        self.ownership.give_up(buckets);
        lease::release(&self.drive, self.ownership.boot_id(), buckets).await?;
        tracing::info!(buckets = buckets.len(), "handed over buckets");
        Ok(())
    }

    /// Opens our buckets for new sagas, but these; none of them once we stop.
    fn place_in_all_but(&self, not: &[i16]) {
        self.ownership.place_in_all_but(not);
        if self.drain.is_cancelled() {
            self.ownership.stop_placing();
        }
    }
}
