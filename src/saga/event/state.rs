//! What a journal adds up to, and which line may follow which.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Compensation, Event, Paused, Progress, Signal, StepIndex, StepState};

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
    /// Why, in the words of whoever did.
    pub cancel_reason: Option<String>,
    /// Why a person is needed, if one is.
    pub attention: Option<String>,
    /// Who paused it, while it is.
    pub paused: Option<Paused>,
    /// Milliseconds for which it was paused so far.
    pub paused_ms: u64,
    /// What it was told, in order.
    pub signals: Vec<Signal>,
    /// Whether the time that it has as a whole is over.
    pub is_overdue: bool,
    /// Takeovers from a dead replica since the last line that is none.
    pub takeovers_in_a_row: u32,
    /// One entry a step, in the plan's order.
    pub steps: Vec<StepState>,
    pub(super) shape: Arc<[Shape]>,
}

/// What a state must know of each step of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The step's name.
    pub name: &'static str,
    /// How much the saga depends on it.
    pub kind: Kind,
    /// Whether there can be anything to take back.
    pub is_compensated: bool,
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

    /// Until when the step at hand waits, in milliseconds since 1970; `None`: not until any time.
    pub fn waits_until_ms(&self) -> Option<i64> {
        self.steps.get(usize::from(self.cursor))?.wait.as_ref()?.until_ms
    }

    /// The share of the step with this name.
    pub fn named(&self, name: &str) -> Option<&StepState> {
        self.steps.get(self.shape.iter().position(|it| it.name == name)?)
    }

    /// The step whose compensation is at hand while the saga goes backwards: the last one that
    /// happened, or may have happened, and is not taken back.
    pub fn compensating(&self) -> Option<usize> {
        self.steps.iter().zip(self.shape.iter()).rposition(|(step, shape)| {
            shape.is_compensated
                && step.may_have_happened()
                && step.compensation != Compensation::Done
        })
    }

    /// Whether nothing is left to be done or taken back.
    pub(super) fn is_at_its_end(&self) -> bool {
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

    pub(super) fn illegal(&self, event: &Event) -> Illegal {
        let step = event.step();
        let progress = step.and_then(|it| self.steps.get(usize::from(it))).map(|it| it.progress);
        let direction = self.direction.clone();
        Illegal { seq: self.seq + 1, kind: event.kind(), step, progress, direction }
    }
}
