//! Which line may follow which, and what it adds: one total match for each direction of a saga.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Compensation, Direction, Event, Illegal, Kind, Paused, Progress, Settlement, Signal, State,
    StepIndex, StepState,
};

impl State {
    /// Adds one line. What is not listed is illegal and changes nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), Illegal> {
        if matches!(self.direction, Direction::Closed(_))
            || (self.seq == 0) != matches!(event, Event::Started { .. })
        {
            return Err(self.illegal(event));
        }
        match event.step() {
            Some(step) => self.apply_to_step(step, event)?,
            None => self.apply_to_saga(event)?,
        }
        self.seq += 1;
        match event {
            Event::TakenUp { handed_over: true, .. } => {}
            Event::TakenUp { .. } => self.takeovers_in_a_row += 1,
            _ => self.takeovers_in_a_row = 0,
        }
        Ok(())
    }

    fn apply_to_saga(&mut self, event: &Event) -> Result<(), Illegal> {
        match (&self.direction, event) {
            (Direction::Forward, Event::Started { .. }) => {}
            (_, Event::CancelRequested { by, reason }) => {
                (self.cancelled_by, self.cancel_reason) = (Some(by.clone()), reason.clone());
            }
            (Direction::Forward, Event::Compensating { cause }) if !self.past_pivot() => {
                self.direction = Direction::Backward(cause.clone());
                self.attention = None;
            }
            (Direction::Forward, Event::TakenUp { .. }) => {
                let step = self.steps.get_mut(usize::from(self.cursor));
                let unsettled =
                    |it: &&mut StepState| matches!(it.progress, Progress::Pending | Progress::Open);
                if let Some(step) = step.filter(unsettled) {
                    (step.progress, step.attempts) = (Progress::Open, step.attempts + 1);
                    step.in_doubt = true;
                }
            }
            (Direction::Backward(_), Event::TakenUp { .. }) => {
                let index = self.compensating();
                if let Some(step) = index.and_then(|it| self.steps.get_mut(it)) {
                    step.compensation_attempts += 1;
                }
            }
            (_, Event::CrashLoop { .. }) => self.attention = Some("crash_loop".to_owned()),
            (_, Event::RetryRequested { .. }) => self.attention = None,
            (_, Event::SignalReceived { name, key, data, .. }) => {
                let (seq, name, key) = (self.seq + 1, name.clone(), key.clone());
                self.signals.push(Signal { seq, name, key, data: data.clone() });
            }
            (_, Event::Paused { by, reason, at_ms, left_ms }) if self.paused.is_none() => {
                let (by, reason) = (by.clone(), reason.clone());
                self.paused = Some(Paused { by, reason, at_ms: *at_ms, left_ms: *left_ms });
            }
            (_, Event::Resumed { until_ms, paused_ms, .. }) if self.paused.is_some() => {
                self.paused = None;
                self.paused_ms = self.paused_ms.saturating_add(*paused_ms);
                let at_hand = self.steps.get_mut(usize::from(self.cursor));
                if let Some(wait) = at_hand.and_then(|it| it.wait.as_mut()) {
                    wait.until_ms = until_ms.or(wait.until_ms);
                }
            }
            (Direction::Forward, Event::DeadlinePassed) if !self.past_pivot() => {
                self.is_overdue = true;
            }
            (_, Event::Closed { status, .. }) if self.is_at_its_end() => {
                self.direction = Direction::Closed(status.clone());
                self.attention = None;
            }
            _ => return Err(self.illegal(event)),
        }
        Ok(())
    }

    fn apply_to_step(&mut self, index: StepIndex, event: &Event) -> Result<(), Illegal> {
        let illegal = self.illegal(event);
        let attention = match self.direction {
            Direction::Forward if index == self.cursor => self.apply_forward(index, event),
            Direction::Backward(_) if self.compensating() == Some(usize::from(index)) => {
                self.steps.get_mut(usize::from(index)).and_then(|it| it.apply_backward(event))
            }
            Direction::Forward | Direction::Backward(_) | Direction::Closed(_) => None,
        };
        match attention.ok_or(illegal)? {
            Attention::Needed(reason) => self.attention = Some(reason),
            Attention::Over => self.attention = None,
            Attention::AsBefore => {}
        }
        Ok(())
    }

    fn apply_forward(&mut self, index: StepIndex, event: &Event) -> Option<Attention> {
        use Progress::{Done, GivenUp, Open, Pending, Refused, Waiting};
        let seq = self.seq + 1;
        let optional =
            self.shape.get(usize::from(index)).map(|it| it.kind) == Some(Kind::BestEffort);
        // Past the pivot there is no way back, so what must be done cannot be settled otherwise.
        let may_fail = optional || !self.past_pivot();
        let step = self.steps.get_mut(usize::from(index))?;
        if !matches!(step.progress, Pending | Open | Waiting) {
            return None;
        }
        match event {
            Event::StepReached { .. } => {
                step.progress = Open;
                return Some(Attention::AsBefore);
            }
            Event::StepDone { attempt, output, .. } => {
                step.settle(Done, *attempt);
                step.output = Some(output.clone());
            }
            Event::StepRefused { attempt, code, in_doubt, .. }
                if may_fail && (step.in_doubt || !in_doubt) =>
            {
                step.settle(Refused, *attempt);
                (step.in_doubt, step.refusal) = (*in_doubt, Some(code.clone()));
            }
            Event::AttemptFailed { attempt, .. } => {
                step.settle(Open, *attempt);
                step.in_doubt = true;
                return Some(Attention::AsBefore);
            }
            Event::StepGivenUp { attempt, .. } if may_fail => step.settle(GivenUp, *attempt),
            Event::StepWaiting { wait, .. } => {
                step.suspend(wait, seq);
                return Some(wait.attention.clone().map_or(Attention::Over, Attention::Needed));
            }
            Event::TimerFired { .. } if step.progress == Waiting => {
                step.is_time_over = true;
                return Some(Attention::AsBefore);
            }
            Event::Parked { reason, .. } => {
                step.settle(Open, step.attempts);
                step.in_doubt = true;
                return Some(Attention::Needed(reason.clone()));
            }
            Event::Settled { attempt, settlement: Settlement::Done { output }, .. } => {
                step.settle(Done, *attempt);
                step.output = raw(output);
            }
            Event::Settled { attempt, settlement: Settlement::Refused { code }, .. }
                if may_fail =>
            {
                step.settle(Refused, *attempt);
                (step.in_doubt, step.refusal) = (false, Some(code.clone()));
            }
            _ => return None,
        }
        let is_behind = match step.progress {
            Done => true,
            Refused | GivenUp => optional,
            Pending | Open | Waiting => false,
        };
        self.cursor += u8::from(is_behind);
        Some(Attention::Over)
    }
}

/// What a line does to a saga's need of a person.
enum Attention {
    Needed(String),
    Over,
    AsBefore,
}

impl StepState {
    fn apply_backward(&mut self, event: &Event) -> Option<Attention> {
        let (compensation, attempt, attention) = match event {
            Event::CompensationDone { attempt, output, .. } => {
                self.compensation_output = Some(output.clone());
                (Compensation::Done, *attempt, Attention::Over)
            }
            Event::Settled { attempt, settlement: Settlement::Done { output }, .. } => {
                self.compensation_output = raw(output);
                (Compensation::Done, *attempt, Attention::Over)
            }
            Event::CompensationFailed { attempt, .. } => {
                (Compensation::Open, *attempt, Attention::AsBefore)
            }
            Event::Parked { reason, attempt, .. } => {
                (Compensation::Open, *attempt, Attention::Needed(reason.clone()))
            }
            _ => return None,
        };
        (self.compensation, self.compensation_attempts) = (compensation, attempt);
        Some(attention)
    }
}

fn raw(value: &serde_json::Value) -> Option<Arc<RawValue>> {
    serde_json::value::to_raw_value(value).ok().map(Arc::from)
}
