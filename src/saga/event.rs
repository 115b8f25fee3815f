//! The vocabulary of the journal, and the state which a journal adds up to. Pure: no clock, no database.
//!
//! [`State::apply`] is the one place where states change. Recovery, the history view, tests and the
//! running engine all fold the same lines through it, so there is no second code path for crashes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A step's place in its plan, from 0.
pub type StepIndex = u8;

/// One line of the journal. Lines are added, never changed.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are named after what the variants' comments say")]
pub enum Event {
    /// The saga was accepted; its input is the line's data.
    Started { input: Arc<RawValue> },
    /// A running attempt reached a point with a label of its own.
    StepReached { step: StepIndex, attempt: u32, label: String },
    /// The step happened; the next step may happen from now on.
    StepDone { step: StepIndex, attempt: u32, output: Arc<RawValue> },
    /// The step did not happen and will not.
    StepRefused { step: StepIndex, attempt: u32, code: String, detail: String },
    /// The attempt ended in doubt; the next one follows after `retry_in_ms`.
    AttemptFailed { step: StepIndex, attempt: u32, detail: String, retry_in_ms: u64 },
    /// The last attempt ended in doubt: the step may have happened.
    StepGivenUp { step: StepIndex, attempt: u32, detail: String },
    /// A person is needed (`reason`); attempts go on.
    Parked { step: StepIndex, attempt: u32, reason: String, detail: String, retry_in_ms: u64 },
    /// Somebody asked for the cancellation, and it was accepted.
    CancelRequested { by: String, reason: Option<String> },
    /// From here on the saga goes backwards.
    Compensating { cause: String },
    /// The step was taken back.
    CompensationDone { step: StepIndex, attempt: u32, output: Arc<RawValue> },
    /// The compensation did not succeed; it is tried again, without end.
    CompensationFailed { step: StepIndex, attempt: u32, detail: String, retry_in_ms: u64 },
    /// Another replica went on where the last one was lost, or, `handed_over`, gave it away in order;
    /// whatever attempt ran then counts.
    TakenUp { replica: String, handed_over: bool },
    /// A saga that keeps killing its replica was set aside.
    CrashLoop { takeovers: u32 },
    /// An operator asked for the next attempt now.
    RetryRequested { by: String, reason: Option<String> },
    /// The end, for ever.
    Closed { status: String, reason: Option<String> },
}

/// How far one step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Not begun.
    Pending,
    /// It may have happened: begun, or between two attempts.
    Open,
    /// It happened.
    Done,
    /// It did not happen and will not.
    Refused,
    /// It may have happened, and is not tried any more.
    GivenUp,
}

/// How far the compensation of one step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compensation {
    /// Not asked for, or not begun.
    No,
    /// Begun.
    Open,
    /// Taken back.
    Done,
}

/// One step's share of the state.
#[derive(Debug, Clone)]
pub struct StepState {
    /// How far it has come.
    pub progress: Progress,
    /// Attempts that have ended, takeovers included.
    pub attempts: u32,
    /// What it left in the journal.
    pub output: Option<Arc<RawValue>>,
    /// Why it was refused, if it was.
    pub refusal: Option<String>,
    /// How far its compensation has come.
    pub compensation: Compensation,
    /// Attempts at the compensation that have ended, takeovers included.
    pub compensation_attempts: u32,
    /// What the compensation left in the journal.
    pub compensation_output: Option<Arc<RawValue>>,
}

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
        let pending = StepState {
            progress: Progress::Pending,
            attempts: 0,
            output: None,
            refusal: None,
            compensation: Compensation::No,
            compensation_attempts: 0,
            compensation_output: None,
        };
        Self { steps: vec![pending; shape.len()], shape, ..Self::default() }
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
                }
            }
            (Direction::Backward(_), Event::TakenUp { .. }) => {
                if let Some(step) = self.compensating_mut() {
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
        let Some(step) = self.steps.get_mut(usize::from(index)) else { return Err(illegal) };
        match (step.progress, event) {
            (Pending | Open, Event::StepReached { .. }) if forward => step.progress = Open,
            (Pending | Open, Event::StepDone { attempt, output, .. }) if forward => {
                (step.progress, step.attempts) = (Done, *attempt);
                step.output = Some(output.clone());
                self.cursor += 1;
                self.attention = None;
            }
            (Pending | Open, Event::StepRefused { attempt, code, .. }) if forward => {
                (step.progress, step.attempts) = (Refused, *attempt);
                step.refusal = Some(code.clone());
                self.cursor += u8::from(optional);
                self.attention = None;
            }
            (Pending | Open, Event::AttemptFailed { attempt, .. }) if forward => {
                (step.progress, step.attempts) = (Open, *attempt);
            }
            (Pending | Open, Event::StepGivenUp { attempt, .. }) if forward => {
                (step.progress, step.attempts) = (GivenUp, *attempt);
                self.cursor += u8::from(optional);
                self.attention = None;
            }
            (Pending | Open, Event::Parked { reason, .. }) if forward => {
                step.progress = Open;
                self.attention = Some(reason.clone());
            }
            (Open | Done | GivenUp, Event::CompensationDone { attempt, output, .. })
                if backward =>
            {
                (step.compensation, step.compensation_attempts) = (Compensation::Done, *attempt);
                step.compensation_output = Some(output.clone());
                self.attention = None;
            }
            (Open | Done | GivenUp, Event::CompensationFailed { attempt, .. }) if backward => {
                (step.compensation, step.compensation_attempts) = (Compensation::Open, *attempt);
            }
            (Open | Done | GivenUp, Event::Parked { reason, attempt, .. }) if backward => {
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
        self.steps.iter().rposition(|step| {
            matches!(step.progress, Progress::Open | Progress::Done | Progress::GivenUp)
                && step.compensation != Compensation::Done
        })
    }

    fn compensating_mut(&mut self) -> Option<&mut StepState> {
        let index = self.compensating()?;
        self.steps.get_mut(index)
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
