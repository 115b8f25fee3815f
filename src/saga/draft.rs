//! A transition in the making: the lines that belong into one commit.
//!
//! What an attempt answered, and everything that follows from it without asking the world again (turning
//! back, closing), is written at once: the commit that finishes one step is the intent of the next.

mod answer;
mod base;
mod inbox;

use std::{borrow::Cow, sync::Arc, time::Duration};

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
