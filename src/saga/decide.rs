//! Given the journal so far, what next? Everything the engine ever chooses is chosen here, without a clock,
//! a database or a network in reach. The runner only carries it out.

use super::event::{Compensation, Direction, Kind, Progress, Shape, State, StepIndex, StepState};

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Call the step.
    Execute {
        /// Which.
        step: StepIndex,
        /// From 1.
        attempt: u32,
    },
    /// Call the step's compensation.
    Compensate {
        /// Which.
        step: StepIndex,
        /// From 1.
        attempt: u32,
    },
    /// Journal that the saga goes backwards from here.
    TurnBack {
        /// Why, in a stable code.
        cause: String,
    },
    /// Go on waiting: until the time or the signal that the step at hand waits for.
    Wait {
        /// Which.
        step: StepIndex,
    },
    /// Begin nothing: the saga is paused.
    Pause,
    /// Journal the end.
    Close,
    /// Nothing: it is closed.
    Rest,
}

/// The cause of a saga that goes backwards because it was cancelled.
pub const CANCELLED: &str = "cancelled";

/// The cause of a saga that goes backwards because its time was over.
pub const TIMED_OUT: &str = "timed_out";

/// Decides what follows `state` in a saga of this shape.
pub fn decide(shape: &[Shape], state: &State) -> Action {
    match &state.direction {
        Direction::Closed(_) => Action::Rest,
        Direction::Backward(_) => backward(state),
        Direction::Forward if state.cancelled_by.is_some() && !state.past_pivot() => {
            Action::TurnBack { cause: CANCELLED.to_owned() }
        }
        Direction::Forward if state.is_overdue && !state.past_pivot() => {
            Action::TurnBack { cause: TIMED_OUT.to_owned() }
        }
        Direction::Forward => forward(shape, state),
    }
}

fn forward(shape: &[Shape], state: &State) -> Action {
    let step = state.cursor;
    let Some((planned, current)) =
        shape.get(usize::from(step)).zip(state.steps.get(usize::from(step)))
    else {
        return Action::Close;
    };
    let again = Action::Execute { step, attempt: current.attempts + 1 };
    match current.progress {
        Progress::Refused | Progress::GivenUp if !state.past_pivot() => turn_back(planned, current),
        _ if state.paused.is_some() => Action::Pause,
        Progress::Waiting if !current.is_called(&state.signals) => Action::Wait { step },
        Progress::Pending | Progress::Open | Progress::Waiting | Progress::Done => again,
        // Past the pivot there is no way back: a step that must be done is asked for until it is.
        Progress::Refused | Progress::GivenUp => again,
    }
}

fn turn_back(planned: &Shape, step: &StepState) -> Action {
    let otherwise = if step.progress == Progress::GivenUp { "unavailable" } else { "refused" };
    let code = step.refusal.clone().filter(|_| step.progress == Progress::Refused);
    Action::TurnBack { cause: code.unwrap_or_else(|| format!("{}_{otherwise}", planned.name)) }
}

fn backward(state: &State) -> Action {
    let at_hand = state.compensating().and_then(|it| Some((it, state.steps.get(it)?)));
    match at_hand {
        Some((index, step)) if step.compensation != Compensation::Done => Action::Compensate {
            step: StepIndex::try_from(index).unwrap_or(StepIndex::MAX),
            attempt: step.compensation_attempts + 1,
        },
        _ => Action::Close,
    }
}

/// Whether a failed attempt at this step was its last. Past the pivot nothing that must be done is ever
/// given up.
pub fn is_last_attempt(
    shape: &[Shape],
    state: &State,
    step: StepIndex,
    attempt: u32,
    max: u32,
) -> bool {
    let best_effort = shape.get(usize::from(step)).map(|it| it.kind) == Some(Kind::BestEffort);
    attempt >= max && (best_effort || !state.past_pivot())
}
