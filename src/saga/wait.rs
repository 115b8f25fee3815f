//! Waiting: for a time, for a signal, for the end of a pause, for the time that a saga has as a whole.
//!
//! A wait is a row with a time to wake. In memory it is only while it is shorter than the horizon, or while
//! something that arrived for the saga is looked at; then it goes back to its row, without a line.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Core,
    decide::{Action, decide},
    definition::{Input, Plan},
    draft::Draft,
    event::{Direction, Event, StepIndex},
    journal::{
        inbox::{self, Item},
        load,
    },
    lease::as_ms,
    runner::{Running, Turn},
};

/// A wait without an end of its own, in a row: it ends by what arrives in the inbox.
pub(super) const FOREVER: Duration = Duration::from_secs(86_400 * 365 * 10);

impl<E: Send + Sync + 'static> Running<E> {
    /// What is left of the wait at hand, if it is known and not over.
    pub(super) fn left(&self) -> Option<Duration> {
        self.due.map(|it| it.saturating_duration_since(Instant::now())).filter(|it| !it.is_zero())
    }

    /// Whether an attempt that ends now may do so because of us, and not of whom it called.
    pub(super) fn is_cut_off(&self) -> bool {
        let is_over = || self.until_deadline().is_some_and(|it| it.is_zero());
        self.presence.live.has_cancel() || is_over()
    }

    /// How long it is until the time is over that the saga has as a whole, if that counts now.
    pub(super) fn until_deadline(&self) -> Option<Duration> {
        let state = &self.state;
        let is_bound = state.direction == Direction::Forward
            && !state.past_pivot()
            && !state.is_overdue
            && state.paused.is_none();
        let deadline_ms = self.deadline_ms.filter(|_| is_bound)?;
        Some(self.clock.until(deadline_ms.saturating_add_unsigned(state.paused_ms)))
    }
}

/// When the time is over that a saga has as a whole, in milliseconds since 1970. It started when its id says (RFC 9562,
/// UUIDv7).
pub(super) fn deadline_ms<E>(plan: &Plan<E>, saga_id: Uuid, input: &Input) -> Option<i64> {
    let started_ms = i64::try_from(saga_id.as_u128() >> 80).ok()?;
    let started = Timestamp::from_millisecond(started_ms).ok()?;
    Some(plan.deadline.as_ref()?(input, started)?.as_millisecond())
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Journals what others asked for. What follows from it and is refused does not take it along.
    pub(super) async fn take(&self, running: &mut Running<E>, items: &[Item]) -> Turn {
        let mut draft = Draft::new(running);
        draft.take(running, items);
        if draft.is_empty() {
            return match self.forget(running, items).await {
                Ok(()) => Turn::Again,
                Err(()) => Turn::Reload,
            };
        }
        self.follow(running, &mut draft);
        self.submit(running, draft).await
    }

    /// Journals what others told while an attempt runs, and which does not end it.
    pub(super) async fn take_note(&self, running: &mut Running<E>) -> Result<(), Turn> {
        let items = running.presence.live.take_notes();
        if items.is_empty() {
            return Ok(());
        }
        let mut draft = Draft::new(running);
        draft.note(running, &items);
        if draft.is_empty() {
            self.forget(running, &items).await.map_err(|()| Turn::Reload)?;
            return Ok(());
        }
        match self.write(running, draft).await {
            Ok(Turn::Again) => Ok(()),
            Ok(turn) => Err(turn),
            Err(_) => Err(Turn::Reload),
        }
    }

    async fn forget(&self, running: &Running<E>, items: &[Item]) -> Result<(), ()> {
        let ids: Vec<Uuid> = items.iter().map(|it| it.inbox_id).collect();
        inbox::remove(&self.drive, running.saga_id, &ids).await.map_err(|error| {
            tracing::warn!(%error, saga_id = %running.saga_id, "requests were not removed");
        })
    }

    /// What keeps a saga from going on now: its time is over, or what it waits for has not come.
    pub(super) async fn hold_back(&self, running: &mut Running<E>) -> Option<Turn> {
        if running.until_deadline().is_some_and(|it| it.is_zero()) {
            let mut draft = Draft::new(running);
            draft.add(Event::DeadlinePassed);
            draft.settle(running);
            return Some(self.submit(running, draft).await);
        }
        match decide(&running.plan.shape, &running.state) {
            Action::Execute { .. } | Action::Compensate { .. } => {
                let left = running.left()?;
                Some(self.wait_on(running, left).await)
            }
            Action::TurnBack { .. }
            | Action::Wait { .. }
            | Action::Pause
            | Action::Close
            | Action::Rest => None,
        }
    }

    /// The call of a step whose time has come, or how long it still waits.
    pub(super) fn call_when_due(
        &self,
        running: &mut Running<E>,
        step: StepIndex,
    ) -> Result<Draft<E>, Duration> {
        let at_hand = running.state.steps.get(usize::from(step));
        let until_ms = running.state.waits_until_ms();
        let attempt = at_hand.map_or(1, |it| it.attempts + 1);
        let left = until_ms.map_or(FOREVER, |it| running.clock.until(it));
        // What was slept through to its end by the database's clock is over, whatever ours says.
        let was_slept = until_ms.is_some() && running.due.is_some_and(|it| it <= Instant::now());
        if !left.is_zero() && !was_slept {
            return Err(left);
        }
        let mut draft = Draft::new(running);
        draft.add(Event::TimerFired { step, attempt });
        self.follow(running, &mut draft);
        Ok(draft)
    }

    /// Waits on with nothing to write: in memory for less than the horizon, else in its row.
    pub(super) async fn wait_on(&self, running: &mut Running<E>, wait: Duration) -> Turn {
        let wait = running.until_deadline().map_or(wait, |it| wait.min(it));
        if wait <= self.settings.horizon {
            running.due = Some(Instant::now() + wait);
            return self.pause(running, wait).await;
        }
        if running.presence.live.has_items() {
            return Turn::Again;
        }
        let (fence, saga_id) = (self.ownership.fence(), running.saga_id);
        match load::suspend(&self.drive, &fence, saga_id, None, as_ms(wait)).await {
            Ok(()) => Turn::Rests,
            Err(error) => {
                tracing::warn!(%error, %saga_id, "could not suspend a saga");
                Turn::Reload
            }
        }
    }
}
