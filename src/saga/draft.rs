//! A transition in the making: the lines that belong into one commit.
//!
//! What an attempt answered, and everything that follows from it without asking the world again (turning
//! back, closing), is written at once: the commit that finishes one step is the intent of the next.

mod base;
mod inbox;

use std::{borrow::Cow, sync::Arc, time::Duration};

use rand::Rng;

use self::base::Base;
use super::{
    clock::Clock,
    decide::{Action, decide, is_last_attempt},
    definition::{Answer, Ending, Plan},
    event::{Direction, Event, Kind, State, StepIndex},
    journal::{Row, Transition},
    runner::Running,
    step::{Done, Lane, Left, StepError},
    wait::FOREVER,
};

/// Lines, effects and the state they lead to, not yet committed.
pub(super) struct Draft<E> {
    plan: Arc<Plan<E>>,
    first_seq: i32,
    state: State,
    events: Vec<Event>,
    effects: Vec<E>,
    lane: Lane,
    label: Cow<'static, str>,
    unless_cancelled: bool,
    clock: Clock,
    deadline_ms: Option<i64>,
    wait: Option<Duration>,
    closed: Option<(Cow<'static, str>, Option<String>)>,
    taken: Vec<uuid::Uuid>,
    at_hand: Option<(StepIndex, u32)>,
    base: Option<Box<Base<E>>>,
}

impl<E: Send + Sync + 'static> Running<E> {
    /// Whether the saga compensates.
    pub(super) fn is_going_back(&self) -> bool {
        matches!(self.state.direction, Direction::Backward(_))
    }
}

impl<E: Send + Sync + 'static> Draft<E> {
    /// Nothing yet, on top of where the saga stands.
    pub(super) fn new(running: &Running<E>) -> Self {
        Self {
            plan: running.plan.clone(),
            first_seq: running.state.seq + 1,
            state: State::clone(&running.state),
            events: Vec::with_capacity(2),
            effects: Vec::new(),
            lane: Lane::Own,
            label: running.label.clone(),
            unless_cancelled: false,
            clock: running.clock.clone(),
            deadline_ms: running.deadline_ms,
            wait: None,
            closed: None,
            taken: Vec::new(),
            at_hand: None,
            base: None,
        }
    }

    /// How long the saga waits after this, if it does.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The step and attempt this is the answer of.
    pub(super) fn at_hand(&self) -> Option<(StepIndex, u32)> {
        self.at_hand
    }

    /// Suspends the saga for this long.
    pub(super) fn suspend(&mut self, wait: Duration) {
        self.wait = Some(wait);
    }

    /// Adds a line. One that cannot follow is left out and told: the saga then stands where it stood, and
    /// the journal stays one that adds up.
    pub(super) fn add(&mut self, event: Event) {
        match self.state.apply(&event) {
            Ok(()) => self.events.push(event),
            Err(illegal) => tracing::error!(%illegal, "a line was not written"),
        }
    }

    /// Adds a milestone of a running attempt.
    pub(super) fn reached(&mut self, step: StepIndex, attempt: u32, label: &'static str) {
        self.add(Event::StepReached { step, attempt, label: label.to_owned() });
        self.label = Cow::Borrowed(label);
    }

    /// Adds what a step answered, and what follows from it.
    pub(super) fn answer(
        &mut self,
        running: &Running<E>,
        step: StepIndex,
        attempt: u32,
        answer: Answer<E>,
    ) {
        self.at_hand = Some((step, attempt));
        let Some(planned) = running.plan.steps.get(usize::from(step)) else { return };
        let policy = planned.policy;
        match answer {
            Ok(done) => {
                self.effects.extend(done.effects);
                self.lane = self.lane.max(done.lane);
                match done.left {
                    Left::Output(output) => {
                        self.unless_cancelled |= planned.kind == Kind::Pivot;
                        self.add(Event::StepDone { step, attempt, output: output.into() });
                        if let Some(label) = planned.label_done {
                            self.label = Cow::Borrowed(label);
                        }
                    }
                    Left::Waits(wait) => self.add(Event::StepWaiting { step, attempt, wait }),
                }
            }
            Err(StepError::Refused { code, detail })
                if planned.kind == Kind::BestEffort || !self.state.past_pivot() =>
            {
                let in_doubt =
                    self.state.steps.get(usize::from(step)).is_some_and(|it| it.in_doubt);
                self.add(Event::StepRefused { step, attempt, code, detail, in_doubt });
            }
            Err(StepError::Refused { code: reason, detail })
            | Err(StepError::NeedsAttention { reason, detail }) => {
                self.wait = Some(policy.delay(u32::MAX, spread(), None));
                let retry_in_ms = self.wait_ms();
                self.add(Event::Parked { step, attempt, reason, detail, retry_in_ms });
            }
            Err(StepError::InDoubt { detail, retry_after }) => {
                let max = policy.attempts_max;
                let is_last = is_last_attempt(&running.plan.shape, &self.state, step, attempt, max);
                if running.presence.live.has_cancel() && !self.state.past_pivot() {
                    // What is turned back for is the cancellation, also when this was the last attempt.
                    self.add(Event::AttemptFailed { step, attempt, detail, retry_in_ms: 0 });
                } else if is_last {
                    // One that was accepted and has not arrived here is found by the commit.
                    self.unless_cancelled |= planned.kind != Kind::BestEffort;
                    self.add(Event::StepGivenUp { step, attempt, detail });
                } else {
                    self.wait = Some(policy.delay(attempt, spread(), retry_after));
                    let retry_in_ms = self.wait_ms();
                    self.add(Event::AttemptFailed { step, attempt, detail, retry_in_ms });
                }
            }
        }
        self.settle(running);
    }

    /// Adds what a compensation answered, and what follows from it. Whatever it answers but success is
    /// tried again: a compensation is never given up.
    pub(super) fn compensation_answer(
        &mut self,
        running: &Running<E>,
        step: StepIndex,
        attempt: u32,
        answer: Answer<E>,
        parks: bool,
    ) {
        self.at_hand = Some((step, attempt));
        let Some(planned) = running.plan.steps.get(usize::from(step)) else { return };
        let (detail, retry_after, reason) = match answer {
            Ok(Done { left: Left::Output(output), effects, lane }) => {
                self.add(Event::CompensationDone { step, attempt, output: output.into() });
                (self.effects, self.lane) = (effects, lane);
                self.settle(running);
                return;
            }
            Ok(Done { left: Left::Waits(wait), .. }) => {
                let left = wait.until_ms.map(|it| self.clock.until(it));
                (format!("it waits {}", wait.what), left, None)
            }
            Err(StepError::InDoubt { detail, retry_after }) => (detail, retry_after, None),
            Err(StepError::Refused { code, detail }) => (format!("{code}: {detail}"), None, None),
            Err(StepError::NeedsAttention { reason, detail }) => (detail, None, Some(reason)),
        };
        self.wait = Some(planned.policy.delay(attempt, spread(), retry_after));
        let retry_in_ms = self.wait_ms();
        let reason = reason.or_else(|| parks.then(|| format!("{}_compensation", planned.name)));
        self.add(match reason {
            Some(reason) => Event::Parked { step, attempt, reason, detail, retry_in_ms },
            None => Event::CompensationFailed { step, attempt, detail, retry_in_ms },
        });
    }

    /// Parks the saga because the commit itself was refused.
    pub(super) fn park(
        &mut self,
        running: &Running<E>,
        at_hand: Option<(StepIndex, u32)>,
        reason: &str,
        detail: String,
    ) {
        let cursor = self.state.compensating().and_then(|it| StepIndex::try_from(it).ok());
        let (step, attempt) = at_hand.unwrap_or((cursor.unwrap_or(self.state.cursor), 1));
        let policy = running.plan.steps.get(usize::from(step)).map(|it| it.policy);
        self.wait = Some(policy.unwrap_or_default().delay(u32::MAX, spread(), None));
        let (reason, retry_in_ms) = (reason.to_owned(), self.wait_ms());
        self.add(Event::Parked { step, attempt, reason, detail, retry_in_ms });
    }

    /// Adds everything that follows without asking the world.
    pub(super) fn settle(&mut self, running: &Running<E>) {
        if self.wait.is_some() {
            return;
        }
        loop {
            match decide(&self.plan.shape, &self.state) {
                Action::TurnBack { cause } => self.add(Event::Compensating { cause }),
                Action::Close => return self.close(running),
                Action::Wait { .. } => {
                    let until_ms = self.state.waits_until_ms();
                    return self.suspend(until_ms.map_or(FOREVER, |it| self.clock.until(it)));
                }
                Action::Pause => return self.suspend(FOREVER),
                Action::Execute { .. } | Action::Compensate { .. } | Action::Rest => return,
            }
        }
    }

    fn close(&mut self, running: &Running<E>) {
        let cause = match &self.state.direction {
            Direction::Backward(cause) => Some(cause.clone()),
            Direction::Forward | Direction::Closed(_) => None,
        };
        // Without a pivot the end itself is what an accepted cancellation keeps from happening.
        self.unless_cancelled |= cause.is_none() && !self.state.past_pivot();
        let ending = Ending {
            saga_id: running.saga_id,
            cause: cause.as_deref(),
            cancelled_by: self.state.cancelled_by.as_deref(),
            cancel_reason: self.state.cancel_reason.as_deref(),
            state: &self.state,
        };
        let Some(close) = (self.plan.closing)(&running.input, &ending) else {
            tracing::error!(saga_id = %running.saga_id, "a saga's input is another saga's");
            return;
        };
        self.effects.extend(close.effects);
        self.lane = self.lane.max(close.lane);
        self.label = Cow::Borrowed(close.status);
        self.closed = Some((Cow::Borrowed(close.status), close.reason.clone()));
        self.add(Event::Closed { status: close.status.to_owned(), reason: close.reason });
    }

    fn wait_ms(&self) -> u64 {
        self.wait.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
    }

    /// The transition for the journal, with the state and the label that it leads to.
    pub(super) fn into_transition(
        self,
        running: &Running<E>,
        horizon: Duration,
    ) -> (Transition<E>, State, Cow<'static, str>) {
        let wake = self.wait.map(|it| self.at_most_to_the_deadline(it)).filter(|it| *it > horizon);
        let row = Row {
            label: self.label.clone(),
            cursor: i16::from(self.state.cursor),
            past_pivot: self.state.past_pivot(),
            unless_cancelled: self.unless_cancelled,
            wake_in_ms: wake.map(super::lease::as_ms),
            attention: self.state.attention.clone(),
            closed: self.closed,
        };
        let transition = Transition {
            saga_id: running.saga_id,
            start: None,
            first_seq: self.first_seq,
            lines: self.events.iter().map(|it| it.line(&self.plan.shape)).collect(),
            row,
            effects: self.effects,
            lane: self.lane,
            taken: self.taken,
        };
        (transition, self.state, self.label)
    }
}

/// Jitter, −1.0 to 1.0.
fn spread() -> f64 {
    rand::rng().random_range(-1.0..=1.0)
}
