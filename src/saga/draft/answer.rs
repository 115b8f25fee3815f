//! What an attempt answered, in a transition.

use std::{borrow::Cow, time::Duration};

use rand::Rng;

use super::{
    Answer, Done, Draft, Event, Kind, Left, Running, StepError, StepIndex, is_last_attempt,
};

impl<E: Send + Sync + 'static> Draft<E> {
    /// Adds what a step answered, and what follows from it.
    pub(in crate::saga) fn answer(
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
                self.doubt(running, (step, attempt), (detail, retry_after), policy.attempts_max);
            }
            Err(StepError::GivenUp { detail }) => {
                self.doubt(running, (step, attempt), (detail, None), 1);
            }
        }
        self.settle(running);
    }

    /// Adds that nobody knows what became of an attempt, of `max` in all.
    fn doubt(
        &mut self,
        running: &Running<E>,
        (step, attempt): (StepIndex, u32),
        (detail, retry_after): (String, Option<Duration>),
        max: u32,
    ) {
        let Some(planned) = running.plan.steps.get(usize::from(step)) else { return };
        let is_last = is_last_attempt(&running.plan.shape, &self.state, step, attempt, max);
        if running.presence.live.has_cancel() && !self.state.past_pivot() {
            // What is turned back for is the cancellation, also when this was the last attempt.
            self.add(Event::AttemptFailed { step, attempt, detail, retry_in_ms: 0 });
        } else if is_last {
            // One that was accepted and has not arrived here is found by the commit.
            self.unless_cancelled |= planned.kind != Kind::BestEffort;
            self.add(Event::StepGivenUp { step, attempt, detail });
        } else {
            self.wait = Some(planned.policy.delay(attempt, spread(), retry_after));
            let retry_in_ms = self.wait_ms();
            self.add(Event::AttemptFailed { step, attempt, detail, retry_in_ms });
        }
    }

    /// Adds what a compensation answered, and what follows from it. Whatever it answers but success is
    /// tried again: a compensation is never given up.
    pub(in crate::saga) fn compensation_answer(
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
            Err(StepError::GivenUp { detail }) => (detail, None, None),
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
    pub(in crate::saga) fn park(
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
}

/// Jitter, −1.0 to 1.0.
fn spread() -> f64 {
    rand::rng().random_range(-1.0..=1.0)
}
