//! The runner: one task a running saga: decide, act, write down, until it rests.
//!
//! A task owns its saga's state in memory and no connection; it waits for participants and for the journal's
//! answers only. A wait longer than the horizon suspends the saga: that costs its row and nothing here.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::{
    Core,
    clock::Clock,
    decide::{Action, decide},
    definition::{Input, Plan},
    draft::Draft,
    event::{Direction, Event, State, StepIndex},
    journal::{Refusal, Verdict, bucket_of, load},
    lease::as_ms,
    limits::Way,
    live::{Arrival, Presence},
    step::StepError,
    wait::FOREVER,
};

/// From this attempt on a failing compensation parks the saga; attempts go on.
const COMPENSATION_ATTEMPTS_BEFORE_PARKING: u32 = 10;
/// How long a saga waits for the cancellation that fenced off its commit before it reads itself again. It
/// stands in the inbox already.
const CANCELLATION_WAIT: Duration = Duration::from_secs(5);
/// How long a saga is left alone that cannot even be parked, or not be read.
pub(super) const SET_ASIDE_FOR: Duration = Duration::from_secs(100);

/// A saga in the hands of its task.
pub(super) struct Running<E> {
    pub saga_id: Uuid,
    pub plan: Arc<Plan<E>>,
    pub input: Input,
    pub state: Arc<State>,
    pub label: Cow<'static, str>,
    pub presence: Presence,
    pub clock: Clock,
    /// When the time is over that it has as a whole, pauses not counted, in milliseconds since 1970.
    pub deadline_ms: Option<i64>,
    /// Until when it waits, where that is known in memory.
    pub due: Option<Instant>,
}

/// Whether a task goes on after a turn.
pub(super) enum Turn {
    Again,
    /// Closed, suspended, or not ours any more.
    Rests,
    /// The database knows better: read the saga again.
    Reload,
}

/// Why nothing of a draft was written.
pub(super) enum Rejected {
    /// Its effects were refused.
    Refused(Refusal),
    /// A cancellation was accepted before.
    Cancelled,
    /// The database does not accept it.
    Impossible,
}

impl<E: Send + Sync + 'static> Core<E> {
    /// A saga's task.
    pub(super) async fn run(
        self: Arc<Self>,
        mut running: Running<E>,
        due_in: Duration,
        arrival: Arrival,
    ) {
        let live = running.presence.live.clone();
        if !due_in.is_zero() {
            running.due = Some(Instant::now() + due_in);
            tokio::select! {
                () = live.lost.cancelled() => return,
                () = self.drain.cancelled() => return,
                () = live.nudge.notified() => live.nudge.notify_one(),
                () = sleep(due_in) => {}
            }
        }
        let mut is_alone = false;
        let mut turn = Turn::Again;
        if arrival != Arrival::Woken && !matches!(running.state.direction, Direction::Closed(_)) {
            is_alone = match self.wait_to_be_alone(&running).await {
                Some(is_alone) => is_alone,
                None => return,
            };
            turn = self.take_up(&mut running, arrival).await;
        }
        while let Turn::Again = turn {
            let is_ours = self.ownership.epoch(bucket_of(running.saga_id)).is_some();
            if live.lost.is_cancelled() || self.drain.is_cancelled() || !is_ours {
                return;
            }
            turn = match std::mem::take(&mut is_alone) {
                true => self.turn_alone(&mut running).await,
                false => self.turn(&mut running).await,
            };
        }
        if let Turn::Reload = turn {
            let saga_id = running.saga_id;
            drop(running);
            self.live.ask_to_reload(saga_id, Arrival::Missed);
            self.look_now.notify_one();
        }
    }

    pub(super) async fn turn(&self, running: &mut Running<E>) -> Turn {
        let items = running.presence.live.take_inbox();
        if !items.is_empty() {
            return self.take(running, &items).await;
        }
        if let Some(turn) = self.hold_back(running).await {
            return turn;
        }
        let draft = match decide(&running.plan.shape, &running.state) {
            Action::Rest => return Turn::Rests,
            Action::Pause => return self.wait_on(running, FOREVER).await,
            Action::Wait { step } => match self.call_when_due(running, step) {
                Ok(draft) => draft,
                Err(wait) => return self.wait_on(running, wait).await,
            },
            Action::TurnBack { .. } | Action::Close => {
                let mut draft = Draft::new(running);
                draft.settle(running);
                draft
            }
            Action::Execute { step, attempt } => match self.execute(running, step, attempt).await {
                Ok(draft) => draft,
                Err(turn) => return turn,
            },
            Action::Compensate { step, attempt } => {
                let mut pass = match self.admit(running, step, Way::Back).await {
                    Ok(pass) => pass,
                    Err(turn) => return turn,
                };
                let Some(answer) = self.compensate(running, step, attempt).await else {
                    return Turn::Rests;
                };
                pass.ended(&answer, false);
                drop(pass);
                let parks = attempt >= COMPENSATION_ATTEMPTS_BEFORE_PARKING;
                let mut draft = Draft::new(running);
                draft.compensation_answer(running, step, attempt, answer, parks);
                draft
            }
        };
        self.submit(running, draft).await
    }

    /// Writes a draft and follows its verdict. What is refused is written as a refusal of the step, and
    /// what then is refused still parks the saga.
    pub(super) async fn submit(&self, running: &mut Running<E>, mut draft: Draft<E>) -> Turn {
        let mut is_answer = !running.is_going_back();
        loop {
            let (at_hand, wait, base) = (draft.at_hand(), draft.wait(), draft.take_base());
            let taken = draft.taken();
            let (rejected, effects) = match self.write(running, draft).await {
                Ok(Turn::Again) => return self.rest(running, wait).await,
                Ok(turn) => return turn,
                Err(rejected) => rejected,
            };
            if let Some(base) = base {
                // The local steps get a turn of their own; what came before them is not lost with them.
                draft = base.with(effects);
                continue;
            }
            draft = Draft::new(running);
            draft.remove(taken);
            match (rejected, at_hand) {
                (Rejected::Cancelled, _) => return self.give_way(running, at_hand).await,
                (Rejected::Refused(refusal), Some((step, attempt))) if is_answer => {
                    let error = StepError::refused(refusal.code, refusal.detail);
                    draft.answer(running, step, attempt, Err(error));
                }
                (Rejected::Refused(refusal), _) => {
                    draft.park(running, at_hand, refusal.code, refusal.detail);
                }
                (Rejected::Impossible, _) => {
                    let detail = "the database refuses this transition; see the log".to_owned();
                    draft.park(running, at_hand, "transition_impossible", detail);
                }
            }
            is_answer = false;
            if draft.is_empty() {
                return self.set_aside(running).await;
            }
        }
    }

    /// Goes on, now or after a wait.
    async fn rest(&self, running: &mut Running<E>, wait: Option<Duration>) -> Turn {
        running.due = wait.map(|it| Instant::now() + it);
        match wait {
            Some(wait) if wait > self.settings.horizon => Turn::Rests,
            Some(wait) => self.pause(running, wait).await,
            None => Turn::Again,
        }
    }

    /// A cancellation was accepted before the commit that could not have been taken back, or that would have
    /// given another reason. The step may have happened all the same, so it counts as in doubt; then the
    /// request itself is waited for.
    async fn give_way(&self, running: &mut Running<E>, at_hand: Option<(StepIndex, u32)>) -> Turn {
        if let Some((step, attempt)) = at_hand {
            let detail = "a cancellation was accepted first".to_owned();
            let mut draft = Draft::new(running);
            draft.add(Event::AttemptFailed { step, attempt, detail, retry_in_ms: 0 });
            match self.write(running, draft).await {
                Ok(Turn::Again) => {}
                Ok(turn) => return turn,
                Err(_) => return Turn::Reload,
            }
        }
        self.look_now.notify_one();
        let live = running.presence.live.clone();
        let since = Instant::now();
        while !live.has_items() {
            tokio::select! {
                () = live.lost.cancelled() => return Turn::Rests,
                () = self.drain.cancelled() => return Turn::Rests,
                () = live.nudge.notified() => {}
                () = sleep_until(since + CANCELLATION_WAIT) => return Turn::Reload,
            }
        }
        Turn::Again
    }

    /// Shows a saga to the operators of which not even that can be journaled.
    async fn set_aside(&self, running: &Running<E>) -> Turn {
        let (wait, attention) = (as_ms(SET_ASIDE_FOR), "transition_impossible");
        let (fence, saga_id) = (self.ownership.fence(), running.saga_id);
        match load::suspend(&self.drive, &fence, saga_id, Some(attention), wait).await {
            Ok(()) => Turn::Rests,
            Err(error) => {
                tracing::warn!(%error, saga_id = %running.saga_id, "could not set a saga aside");
                Turn::Reload
            }
        }
    }

    /// Waits in memory for less than the horizon.
    pub(super) async fn pause(&self, running: &Running<E>, wait: Duration) -> Turn {
        let live = &running.presence.live;
        if live.has_items() {
            return Turn::Again;
        }
        tokio::select! {
            () = live.lost.cancelled() => Turn::Rests,
            () = self.drain.cancelled() => Turn::Rests,
            () = live.nudge.notified() => Turn::Again,
            () = sleep(wait) => Turn::Again,
        }
    }

    /// Commits a draft. An error says that nothing was written, and why, and gives the effects back.
    pub(super) async fn write(
        &self,
        running: &mut Running<E>,
        draft: Draft<E>,
    ) -> Result<Turn, (Rejected, Vec<E>)> {
        let started = Instant::now();
        let (transition, next, label) = draft.into_transition(running, self.settings.horizon);
        let closes = transition.row.closed.is_some();
        let (verdict, effects) = self.journal.commit(transition).await;
        tracing::trace!(saga_id = %running.saga_id, ?verdict, took = ?started.elapsed());
        match verdict {
            Verdict::Written => {
                (running.state, running.label) = (Arc::new(next), label);
                Ok(if closes { Turn::Rests } else { Turn::Again })
            }
            Verdict::Fenced => Ok(Turn::Rests),
            Verdict::Stale => Ok(Turn::Reload),
            Verdict::Cancelled => Err((Rejected::Cancelled, effects)),
            Verdict::Refused(refusal) => Err((Rejected::Refused(refusal), effects)),
            Verdict::Impossible(detail) => {
                tracing::error!(saga_id = %running.saga_id, detail, "a transition is impossible");
                Err((Rejected::Impossible, effects))
            }
        }
    }
}
