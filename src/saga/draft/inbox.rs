//! What others asked for, in a transition.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, value::to_raw_value};

use super::{Action, Draft, Event, FOREVER, Running, StepIndex, decide};
use crate::saga::{
    event::{Kind, Progress, Settlement, Signal},
    journal::inbox::{Item, Request},
    lease::as_ms,
};

impl<E: Send + Sync + 'static> Draft<E> {
    /// Adds what others asked for. Whatever the saga waits for goes on, unless they asked for something else.
    pub(in crate::saga) fn take(&mut self, running: &Running<E>, items: &[Item]) {
        let left = self.note(running, items);
        // What is tried again later still is; what waits is told anew until when.
        let is_backoff = match decide(&self.plan.shape, &self.state) {
            Action::Execute { step, .. } => !self.is_waiting(step),
            Action::Compensate { .. } => true,
            Action::TurnBack { .. }
            | Action::Wait { .. }
            | Action::Pause
            | Action::Close
            | Action::Rest => false,
        };
        self.wait = left.filter(|_| is_backoff);
        self.settle(running);
    }

    /// The lines of it alone, and what is left of the wait at hand then.
    pub(in crate::saga) fn note(
        &mut self,
        running: &Running<E>,
        items: &[Item],
    ) -> Option<Duration> {
        let mut left = running.left();
        for item in items {
            let data: Value = serde_json::from_str(&item.data).unwrap_or_default();
            let text = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
            let (by, reason) =
                (text("by").unwrap_or_else(|| "somebody".to_owned()), text("reason"));
            match item.request() {
                Some(Request::Cancel) => {
                    self.add(Event::CancelRequested { by, reason });
                    left = None;
                }
                Some(Request::Retry) => {
                    self.add(Event::RetryRequested { by, reason });
                    left = None;
                }
                Some(Request::Signal) => self.receive(&data, by),
                Some(Request::Pause) => left = self.pause(by, reason, left),
                Some(Request::Resume) => left = self.resume(by, reason),
                Some(Request::Settle) => {
                    self.settled(running, &data, by, reason.unwrap_or_default());
                    left = None;
                }
                None => {
                    tracing::error!(kind = item.kind, "a request of an unknown kind is dropped")
                }
            }
            self.taken.push(item.inbox_id);
        }
        left
    }

    fn is_waiting(&self, step: StepIndex) -> bool {
        let step = self.state.steps.get(usize::from(step));
        step.is_some_and(|it| it.progress == Progress::Waiting)
    }

    /// One that came before, told again, adds nothing.
    fn receive(&mut self, data: &Value, by: String) {
        let key = data.get("key").and_then(Value::as_str).map(str::to_owned);
        let Some(name) = data.get("name").and_then(Value::as_str).map(str::to_owned) else {
            return;
        };
        let is_known = |it: &Signal| it.name == name && it.key == key;
        if key.is_some() && self.state.signals.iter().any(is_known) {
            return;
        }
        let data = data.get("data").cloned().unwrap_or_default();
        if let Ok(data) = to_raw_value(&data).map(Arc::from) {
            self.add(Event::SignalReceived { name, key, by, data });
        }
    }

    /// What a person told of the step or the compensation at hand, with what follows in our own tables.
    fn settled(&mut self, running: &Running<E>, data: &Value, by: String, reason: String) {
        let settlement = data.get("settlement").map(Settlement::deserialize);
        let back = self.state.compensating().filter(|_| running.is_going_back());
        let step = back.and_then(|it| StepIndex::try_from(it).ok()).unwrap_or(self.state.cursor);
        let planned = self.plan.clone();
        let planned = planned.steps.get(usize::from(step));
        let known = self.state.steps.get(usize::from(step));
        let (Some(Ok(settlement)), Some(planned), Some(known)) = (settlement, planned, known)
        else {
            return;
        };
        let is_back = back.is_some();
        let attempts = if is_back { known.compensation_attempts } else { known.attempts };
        if let Settlement::Done { output } = &settlement {
            match planned.step.settled(&running.input, output, is_back) {
                Ok(done) => {
                    self.effects.extend(done.effects);
                    self.lane = self.lane.max(done.lane);
                }
                Err(error) => {
                    tracing::error!(%error, saga_id = %running.saga_id, "a settlement is dropped");
                    return;
                }
            }
            if !is_back {
                self.unless_cancelled |= planned.kind == Kind::Pivot;
                self.label = planned.label_done.map_or(self.label.clone(), Cow::Borrowed);
            }
        }
        self.add(Event::Settled { step, attempt: attempts.max(1), settlement, by, reason });
    }

    fn pause(
        &mut self,
        by: String,
        reason: Option<String>,
        left: Option<Duration>,
    ) -> Option<Duration> {
        if self.state.paused.is_some() {
            return Some(FOREVER);
        }
        let left_ms = left.and_then(|it| u64::try_from(it.as_millis()).ok());
        self.add(Event::Paused { by, reason, at_ms: self.clock.now_ms(), left_ms });
        None
    }

    fn resume(&mut self, by: String, reason: Option<String>) -> Option<Duration> {
        let paused = self.state.paused.as_ref()?;
        let (now_ms, left) = (self.clock.now_ms(), paused.left_ms.map(Duration::from_millis));
        let paused_ms = u64::try_from(now_ms.saturating_sub(paused.at_ms)).unwrap_or(0);
        let until_ms = left.map(|it| now_ms.saturating_add(as_ms(it)));
        self.add(Event::Resumed { by, reason, until_ms, paused_ms });
        left
    }

    /// A wait does not outlast the time that the saga as a whole has.
    pub(super) fn at_most_to_the_deadline(&self, wait: Duration) -> Duration {
        let is_bound =
            !self.state.past_pivot() && !self.state.is_overdue && self.state.paused.is_none();
        let deadline_ms = self.deadline_ms.filter(|_| is_bound);
        let deadline = deadline_ms
            .map(|it| self.clock.until(it.saturating_add_unsigned(self.state.paused_ms)));
        deadline.map_or(wait, |it| wait.min(it))
    }
}
