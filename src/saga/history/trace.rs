//! What a fold remembers of each step, and the view it makes of it.

use jiff::{SignedDuration, Timestamp};

use super::{CompensationView, StepStatus, StepView};
use crate::saga::{
    event::{Compensation, Direction, Event, Kind, Progress, Shape, State},
    journal::SagaRow,
};

/// What the fold remembers of one step besides its state.
#[derive(Default, Clone)]
pub(super) struct Trace {
    pub started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    error: Option<String>,
    pub next_at: Option<Timestamp>,
    compensation_error: Option<String>,
    pub compensation_next_at: Option<Timestamp>,
}

impl Trace {
    pub(super) fn wait(&mut self, until_ms: Option<i64>) {
        self.next_at = until_ms.and_then(|it| Timestamp::from_millisecond(it).ok());
    }

    /// An attempt begins without a line of its own. What is due and in memory, which is to say that its row
    /// is not suspended, runs.
    pub(super) fn begin_what_is_due(&mut self, row: &SagaRow) {
        let read_at = row.read_at.to_jiff();
        let has_begun = |next_at: &Timestamp| row.wake_at.is_none() && *next_at <= read_at;
        self.next_at = self.next_at.filter(|it| !has_begun(it));
        self.compensation_next_at = self.compensation_next_at.filter(|it| !has_begun(it));
    }

    pub(super) fn note(&mut self, event: &Event, at: Timestamp, backward: bool) {
        let after =
            |ms: u64| at + SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX / 2));
        match event {
            Event::StepDone { .. } => (self.ended_at, self.next_at) = (Some(at), None),
            Event::StepRefused { detail, .. } | Event::StepGivenUp { detail, .. } => {
                (self.ended_at, self.next_at) = (Some(at), None);
                self.error = Some(detail.clone());
            }
            Event::AttemptFailed { detail, retry_in_ms, .. } => {
                self.error = Some(detail.clone());
                self.next_at = Some(after(*retry_in_ms));
            }
            Event::Parked { detail, retry_in_ms, .. } if !backward => {
                self.error = Some(detail.clone());
                self.next_at = Some(after(*retry_in_ms));
            }
            Event::CompensationFailed { detail, retry_in_ms, .. }
            | Event::Parked { detail, retry_in_ms, .. } => {
                self.compensation_error = Some(detail.clone());
                self.compensation_next_at = Some(after(*retry_in_ms));
            }
            Event::StepWaiting { wait, .. } => self.wait(wait.until_ms),
            Event::TimerFired { .. } => self.next_at = None,
            Event::Settled { .. } => {
                if backward {
                    self.compensation_next_at = None;
                } else {
                    (self.ended_at, self.next_at) = (Some(at), None);
                }
            }
            Event::CompensationDone { .. } => self.compensation_next_at = None,
            _ => {}
        }
    }
}

pub(super) fn step_view(
    state: &State,
    (index, shape): (usize, &Shape),
    trace: Trace,
    is_suspended: bool,
) -> StepView {
    let step = &state.steps[index];
    let forward = state.direction == Direction::Forward;
    let is_at_hand = forward && usize::from(state.cursor) == index;
    let status = match step.progress {
        Progress::Done => StepStatus::Done,
        Progress::Refused => StepStatus::Refused,
        Progress::GivenUp if shape.kind == Kind::BestEffort => StepStatus::GivenUp,
        Progress::GivenUp => StepStatus::InDoubt,
        Progress::Pending | Progress::Open
            if is_at_hand && (is_suspended || trace.next_at.is_some()) =>
        {
            StepStatus::Waiting
        }
        Progress::Waiting if is_at_hand && !step.is_called(&state.signals) => StepStatus::Waiting,
        Progress::Pending | Progress::Open | Progress::Waiting if is_at_hand => StepStatus::Running,
        Progress::Open | Progress::Waiting => StepStatus::InDoubt,
        Progress::Pending if forward => StepStatus::Pending,
        Progress::Pending => StepStatus::Skipped,
    };
    let running = u32::from(status == StepStatus::Running);
    let json = |raw: &Option<std::sync::Arc<serde_json::value::RawValue>>| {
        raw.as_ref().and_then(|it| serde_json::from_str(it.get()).ok())
    };
    let status_back =
        compensation_status(state, (index, shape.is_compensated), &trace, is_suspended);
    let compensation = status_back.map(|status| CompensationView {
        status,
        attempts: step.compensation_attempts + u32::from(status == StepStatus::Running),
        last_error: trace.compensation_error,
        next_attempt_at: trace.compensation_next_at,
        output: json(&step.compensation_output),
    });
    StepView {
        name: shape.name,
        status,
        attempts: step.attempts + running,
        started_at: trace.started_at,
        ended_at: trace.ended_at,
        last_error: trace.error,
        next_attempt_at: trace.next_at.filter(|_| is_at_hand),
        wait: step.wait.clone().filter(|_| is_at_hand),
        output: json(&step.output),
        compensation,
    }
}

fn compensation_status(
    state: &State,
    (index, is_compensated): (usize, bool),
    trace: &Trace,
    is_suspended: bool,
) -> Option<StepStatus> {
    let step = &state.steps[index];
    if step.compensation == Compensation::Done {
        return Some(StepStatus::Done);
    }
    if !is_compensated || !matches!(state.direction, Direction::Backward(_)) {
        return None;
    }
    match step.progress {
        Progress::Pending => None,
        Progress::Refused if !step.in_doubt => None,
        _ if state.compensating() != Some(index) => Some(StepStatus::Pending),
        _ if is_suspended || trace.compensation_next_at.is_some() => Some(StepStatus::Waiting),
        _ => Some(StepStatus::Running),
    }
}
