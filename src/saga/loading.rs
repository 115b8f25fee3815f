//! How sagas come into memory: at a takeover, when they are due, when something waits in their inbox.
//!
//! What is taken out of its suspension, or left by another replica, stands in the database as running from
//! then on. So a failure half way (an answer that is lost, say) may leave sagas that run according to their
//! rows and are in nobody's memory: their buckets are *doubted*, and read again at the next tick.

use std::{borrow::Cow, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Core,
    event::{Event, State},
    journal::{
        bucket_of,
        inbox::{self, Item},
        load::{self, Loaded},
    },
    lease::as_ms,
    live::{Arrival, Presence},
    runner::{Running, SET_ASIDE_FOR},
    wait,
};

impl<E: Send + Sync + 'static> Core<E> {
    /// Loads what stands as running in a bucket, page by page.
    pub(super) async fn load_running(
        self: &Arc<Self>,
        bucket: i16,
        arrival: Arrival,
    ) -> sqlx::Result<()> {
        let loaded = self.load_pages(bucket, arrival).await;
        self.doubt_after(&loaded, &[bucket]);
        loaded
    }

    /// Loads what stands as running in several buckets. A failure half way leaves the rest doubted.
    pub(super) async fn load_all(
        self: &Arc<Self>,
        buckets: Vec<(i16, Arrival)>,
    ) -> sqlx::Result<()> {
        let mut left = buckets.into_iter();
        while let Some((bucket, arrival)) = left.next() {
            let loaded = self.load_running(bucket, arrival).await;
            if loaded.is_err() {
                self.live.doubt(&left.map(|(bucket, _)| bucket).collect::<Vec<_>>());
                return loaded;
            }
        }
        self.notice_foreign().await
    }

    async fn load_pages(self: &Arc<Self>, bucket: i16, arrival: Arrival) -> sqlx::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let (limit, readable) = (self.settings.page, self.foreign.readable());
            let page = load::running(&self.drive, bucket, after, limit, &readable).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.saga_id;
            self.resume(page, arrival, &[]).await?;
        }
    }

    /// Reads the buckets again in which a saga may have been left to nobody.
    pub(super) async fn load_doubted(self: &Arc<Self>) -> sqlx::Result<()> {
        let mut doubted = self.live.take_doubted();
        while let Some(bucket) = doubted.pop_first() {
            let is_ours = u8::try_from(bucket).is_ok_and(|it| self.ownership.epoch(it).is_some());
            let loaded = match is_ours {
                true => self.load_running(bucket, Arrival::Missed).await,
                false => Ok(()),
            };
            if loaded.is_err() {
                self.live.doubt(&doubted.into_iter().collect::<Vec<_>>());
                return loaded;
            }
        }
        Ok(())
    }

    /// Wakes what is due within the horizon.
    pub(super) async fn load_due(self: &Arc<Self>) -> sqlx::Result<()> {
        let buckets = self.ownership.buckets();
        let loaded = self.load_due_pages().await;
        self.doubt_after(&loaded, &buckets);
        loaded
    }

    async fn load_due_pages(self: &Arc<Self>) -> sqlx::Result<()> {
        while self.live.len() < self.settings.live_max {
            let (horizon, page) = (as_ms(self.settings.horizon), self.settings.page);
            let (fence, readable) = (self.ownership.fence(), self.foreign.readable());
            let due = load::due(&self.drive, &fence, horizon, page, &readable).await?;
            let is_last = (due.len() as i64) < page;
            self.resume(due, Arrival::Woken, &[]).await?;
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads those sagas again that found the database to know better, or were wanted while they left.
    pub(super) async fn reload(self: &Arc<Self>) -> sqlx::Result<()> {
        let mut wanted = self.live.take_reloads();
        wanted.retain(|(saga_id, _)| self.ownership.epoch(bucket_of(*saga_id)).is_some());
        if wanted.is_empty() {
            return Ok(());
        }
        let loaded = self.reload_all(&wanted).await;
        if loaded.is_err() {
            for (saga_id, arrival) in wanted {
                self.live.ask_to_reload(saga_id, arrival);
            }
        }
        loaded
    }

    async fn reload_all(self: &Arc<Self>, wanted: &[(Uuid, Arrival)]) -> sqlx::Result<()> {
        for arrival in [Arrival::TakenOver, Arrival::HandedOver, Arrival::Missed] {
            let ids: Vec<Uuid> =
                wanted.iter().filter(|(_, it)| *it == arrival).map(|(id, _)| *id).collect();
            if !ids.is_empty() {
                let readable = self.foreign.readable();
                let loaded = load::running_of(&self.drive, &ids, &readable).await?;
                self.resume(loaded, arrival, &[]).await?;
            }
        }
        Ok(())
    }

    /// Delivers what waits in the inbox to the sagas in memory, and loads those that are not.
    pub(super) async fn drain_inbox(self: &Arc<Self>, buckets: &[i16]) -> sqlx::Result<()> {
        let items = inbox::waiting(&self.drive, buckets, 1_000, &self.foreign.readable()).await?;
        let absent = self.live.deliver(&items);
        if absent.is_empty() {
            return Ok(());
        }
        let loaded = self.wake(&absent, &items).await;
        self.doubt_after(&loaded, buckets);
        if loaded? < absent.len() {
            inbox::forget(&self.drive, buckets).await?;
        }
        Ok(())
    }

    async fn wake(self: &Arc<Self>, sagas: &[Uuid], items: &[Item]) -> sqlx::Result<usize> {
        let (fence, readable) = (self.ownership.fence(), self.foreign.readable());
        let woken = load::wake(&self.drive, &fence, sagas, &readable).await?;
        let found = woken.suspended.len() + woken.running.len();
        self.resume(woken.suspended, Arrival::Woken, items).await?;
        // Whoever had it is gone, and an attempt of theirs may have been under way.
        self.resume(woken.running, Arrival::Missed, items).await?;
        Ok(found)
    }

    fn doubt_after<T>(&self, loaded: &sqlx::Result<T>, buckets: &[i16]) {
        if loaded.is_err() {
            self.live.doubt(buckets);
        }
    }

    /// Reads these sagas' journals and starts their tasks, with what waits for them in hand: a saga that is
    /// woken to be cancelled does not try its step once more first.
    async fn resume(
        self: &Arc<Self>,
        loaded: Vec<Loaded>,
        arrival: Arrival,
        items: &[Item],
    ) -> sqlx::Result<()> {
        let entered: Vec<(Loaded, Presence)> = loaded
            .into_iter()
            .filter_map(|it| self.live.enter(it.saga_id, arrival).map(|presence| (it, presence)))
            .collect();
        let ids: Vec<Uuid> = entered.iter().map(|(it, _)| it.saga_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.live.deliver(items);
        let mut journals = load::journals(&self.drive, &ids).await?;
        for (row, presence) in entered {
            let lines = journals.remove(&row.saga_id).unwrap_or_default();
            let due_in = Duration::from_millis(u64::try_from(row.due_in_ms).unwrap_or(0));
            match self.rebuild(&row, &lines, presence) {
                Ok(running) if running.state.seq != row.seq => {
                    // It moved on between the two reads, or its journal was touched: look again.
                    tracing::warn!(saga_id = %row.saga_id, "a saga's row and journal disagree");
                    self.live.ask_to_reload(row.saga_id, Arrival::Missed);
                }
                Ok(running) => {
                    let core = self.clone();
                    self.tasks.spawn(async move { core.run(running, due_in, arrival).await });
                }
                Err(Unreadable::HereOnly(reason)) => self.leave(&row, &reason).await?,
                Err(Unreadable::Broken(reason)) => {
                    tracing::error!(saga_id = %row.saga_id, reason, "a saga cannot be taken up");
                    let (fence, wait) = (self.ownership.fence(), as_ms(SET_ASIDE_FOR));
                    let (saga_id, attention) = (row.saga_id, "journal_unreadable");
                    load::suspend(&self.drive, &fence, saga_id, Some(attention), wait).await?;
                }
            }
        }
        Ok(())
    }

    fn rebuild(
        &self,
        row: &Loaded,
        lines: &[load::StoredLine],
        presence: Presence,
    ) -> Result<Running<E>, Unreadable> {
        let broken = |reason: &dyn std::fmt::Display| Unreadable::Broken(reason.to_string());
        let key = (row.definition.clone(), row.definition_version);
        let lacking = || Unreadable::HereOnly("its version is not registered".to_owned());
        let plan = self.plans.get(&key).cloned().ok_or_else(lacking)?;
        let mut state = State::new(plan.shape.clone());
        let mut input = None;
        for line in lines {
            let (step, attempt) = (line.step.as_deref(), line.attempt);
            let event = Event::read(&plan.shape, &line.kind, step, attempt, &line.data);
            let event = event.map_err(|error| match error.is_of_unknown_kind() {
                true => Unreadable::HereOnly(error.to_string()),
                false => broken(&error),
            })?;
            state.apply(&event).map_err(|error| broken(&error))?;
            if let Event::Started { input: json } = &event {
                input = Some((plan.decode)(json.get()).map_err(|error| broken(&error))?);
            }
        }
        let input = input.ok_or_else(|| broken(&"its journal is empty"))?;
        let (saga_id, label) = (row.saga_id, Cow::Owned(row.label.clone()));
        let (state, clock) = (Arc::new(state), self.clock.clone());
        let deadline_ms = wait::deadline_ms(&plan, saga_id, &input);
        let due = None;
        Ok(Running { saga_id, plan, input, state, label, presence, clock, deadline_ms, due })
    }
}

/// Why a saga does not come into memory.
enum Unreadable {
    /// A replica of another release can read it.
    HereOnly(String),
    /// Nobody can.
    Broken(String),
}
