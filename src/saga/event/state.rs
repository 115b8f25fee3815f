//! What a journal adds up to, and which line may follow which.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Compensation, Event, Progress, StepIndex, StepState};

/// Which way the saga goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Direction {
    /// Towards completion.
    #[default]
    Forward,
    /// Backwards, compensating, because of this cause.
    Backward(String),
    /// Nowhere any more.
    Closed(String),
}

/// What a journal adds up to.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Lines so far; the next line has `seq + 1`.
    pub seq: i32,
    /// The step at hand; the number of steps when all are behind.
    pub cursor: StepIndex,
    /// Which way.
    pub direction: Direction,
    /// Who asked for the cancellation, if anybody did.
    pub cancelled_by: Option<String>,
    /// Why a person is needed, if one is.
    pub attention: Option<String>,
    /// Takeovers from a dead replica since the last line that is none.
    pub takeovers_in_a_row: u32,
    /// One entry a step, in the plan's order.
    pub steps: Vec<StepState>,
    shape: Arc<[Shape]>,
}

/// What a state must know of each step of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The step's name.
    pub name: &'static str,
    /// How much the saga depends on it.
    pub kind: Kind,
}

/// How much a saga depends on one of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Must be done; compensated when a later step cannot be.
    Required,
    /// Must be done, and nothing goes back any more once it is.
    Pivot,
    /// Nice to have: the saga goes on without it.
    BestEffort,
}

/// A line which cannot follow the lines so far: a fault of ours or a touched journal. Stop, don't guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {seq}: {kind} cannot follow (step {step:?} is {progress:?}, direction {direction:?})"
)]
pub struct Illegal {
    seq: i32,
    kind: &'static str,
    step: Option<StepIndex>,
    progress: Option<Progress>,
    direction: Direction,
}

impl State {
    /// The state before any line, for a plan of this shape.
    pub fn new(shape: Arc<[Shape]>) -> Self {
        Self { steps: vec![StepState::pending(); shape.len()], shape, ..Self::default() }
    }

    /// What the step with this name left in the journal, as JSON.
    pub fn output(&self, name: &str) -> Option<&str> {
        self.named(name)?.output.as_deref().map(RawValue::get)
    }

    /// What the compensation of the step with this name left in the journal, as JSON.
    pub fn compensation_output(&self, name: &str) -> Option<&str> {
        self.named(name)?.compensation_output.as_deref().map(RawValue::get)
    }

    /// The share of the step with this name.
    pub fn named(&self, name: &str) -> Option<&StepState> {
        self.steps.get(self.shape.iter().position(|it| it.name == name)?)
    }

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
            (_, Event::CancelRequested { by, .. }) => self.cancelled_by = Some(by.clone()),
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
            (_, Event::Closed { status, .. }) if self.is_at_its_end() => {
                self.direction = Direction::Closed(status.clone());
                self.attention = None;
            }
            _ => return Err(self.illegal(event)),
        }
        Ok(())
    }

    fn apply_to_step(&mut self, index: StepIndex, event: &Event) -> Result<(), Illegal> {
        use Progress::{Done, GivenUp, Open, Pending, Refused};
        let forward = self.direction == Direction::Forward && index == self.cursor;
        let backward = matches!(self.direction, Direction::Backward(_))
            && self.compensating() == Some(usize::from(index));
        let illegal = self.illegal(event);
        let optional =
            self.shape.get(usize::from(index)).map(|it| it.kind) == Some(Kind::BestEffort);
        // Past the pivot there is no way back, so what must be done cannot be settled otherwise.
        let may_fail = forward && (optional || !self.past_pivot());
        let Some(step) = self.steps.get_mut(usize::from(index)) else { return Err(illegal) };
        match (step.progress, event) {
            (Pending | Open, Event::StepReached { .. }) if forward => step.progress = Open,
            (Pending | Open, Event::StepDone { attempt, output, .. }) if forward => {
                (step.progress, step.attempts) = (Done, *attempt);
                step.output = Some(output.clone());
                self.cursor += 1;
                self.attention = None;
            }
            (Pending | Open, Event::StepRefused { attempt, code, in_doubt, .. })
                if may_fail && (step.in_doubt || !in_doubt) =>
            {
                (step.progress, step.attempts) = (Refused, *attempt);
                step.in_doubt = *in_doubt;
                step.refusal = Some(code.clone());
                self.cursor += u8::from(optional);
                self.attention = None;
            }
            (Pending | Open, Event::AttemptFailed { attempt, .. }) if forward => {
                (step.progress, step.attempts, step.in_doubt) = (Open, *attempt, true);
            }
            (Pending | Open, Event::StepGivenUp { attempt, .. }) if may_fail => {
                (step.progress, step.attempts) = (GivenUp, *attempt);
                self.cursor += u8::from(optional);
                self.attention = None;
            }
            (Pending | Open, Event::Parked { reason, .. }) if forward => {
                (step.progress, step.in_doubt) = (Open, true);
                self.attention = Some(reason.clone());
            }
            (_, Event::CompensationDone { attempt, output, .. }) if backward => {
                (step.compensation, step.compensation_attempts) = (Compensation::Done, *attempt);
                step.compensation_output = Some(output.clone());
                self.attention = None;
            }
            (_, Event::CompensationFailed { attempt, .. }) if backward => {
                (step.compensation, step.compensation_attempts) = (Compensation::Open, *attempt);
            }
            (_, Event::Parked { reason, attempt, .. }) if backward => {
                (step.compensation, step.compensation_attempts) = (Compensation::Open, *attempt);
                self.attention = Some(reason.clone());
            }
            _ => return Err(illegal),
        }
        Ok(())
    }

    /// The step whose compensation is at hand while the saga goes backwards: the last one that
    /// happened, or may have happened, and is not taken back.
    pub fn compensating(&self) -> Option<usize> {
        self.steps
            .iter()
            .rposition(|step| step.may_have_happened() && step.compensation != Compensation::Done)
    }

    /// Whether nothing is left to be done or taken back.
    fn is_at_its_end(&self) -> bool {
        match self.direction {
            Direction::Forward => usize::from(self.cursor) >= self.steps.len(),
            Direction::Backward(_) => self.compensating().is_none(),
            Direction::Closed(_) => false,
        }
    }

    /// Whether the pivot is behind: nothing goes back any more.
    pub fn past_pivot(&self) -> bool {
        self.shape
            .iter()
            .zip(&self.steps)
            .any(|(shape, step)| shape.kind == Kind::Pivot && step.progress == Progress::Done)
    }

    /// Whether this is the pivot.
    pub fn is_pivot(&self, step: StepIndex) -> bool {
        self.shape.get(usize::from(step)).is_some_and(|it| it.kind == Kind::Pivot)
    }

    fn illegal(&self, event: &Event) -> Illegal {
        let step = event.step();
        let progress = step.and_then(|it| self.steps.get(usize::from(it))).map(|it| it.progress);
        let direction = self.direction.clone();
        Illegal { seq: self.seq + 1, kind: event.kind(), step, progress, direction }
    }
}
