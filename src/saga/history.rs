//! The read side: a saga as its journal tells it, with times.

mod error;

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use serde::Serialize;
use serde_json::Value;

pub use self::error::HistoryError;
use super::{
    definition::Plan,
    event::{Compensation, Direction, Event, Kind, Progress, Shape, State},
    journal::read::{JournalLine, SagaRow},
};

/// Where a step stands, as people are shown it. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// An attempt runs, or is about to.
    Running,
    /// Between two attempts: the next one is not due yet, or the saga is suspended.
    Waiting,
    /// It happened.
    Done,
    /// It did not happen and will not.
    Refused,
    /// It may have happened.
    InDoubt,
    /// The saga turned back before it.
    Skipped,
    /// The saga went on without it.
    GivenUp,
}

/// One step of a saga.
#[derive(Debug, Clone)]
pub struct StepView {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// When it became the step at hand.
    pub started_at: Option<Timestamp>,
    /// When it was settled.
    pub ended_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// What it left in the journal.
    pub output: Option<Value>,
    /// Its compensation, if one was begun or is due.
    pub compensation: Option<CompensationView>,
}

/// The compensation of one step.
#[derive(Debug, Clone)]
pub struct CompensationView {
    /// `Pending`, `Running`, `Waiting` or `Done`.
    pub status: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// What it left in the journal.
    pub output: Option<Value>,
}

/// A saga as its journal tells it.
#[derive(Debug, Clone)]
pub struct SagaView {
    /// Its row.
    pub row: SagaRow,
    /// What it was started with, as JSON text.
    pub input: String,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Who asked for the cancellation, if anybody did.
    pub cancelled_by: Option<String>,
}

/// What the fold remembers of one step besides its state.
#[derive(Default, Clone)]
struct Trace {
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    error: Option<String>,
    next_at: Option<Timestamp>,
    compensation_error: Option<String>,
    compensation_next_at: Option<Timestamp>,
}

impl SagaView {
    /// Folds a saga's lines up to where its row stands, as of the moment when the row was read.
    pub(super) fn of<E>(
        plan: &Plan<E>,
        row: SagaRow,
        lines: &[JournalLine],
    ) -> Result<Self, HistoryError> {
        let mut state = State::new(plan.shape.clone());
        let mut traces = vec![Trace::default(); plan.shape.len()];
        let (mut input, mut started_at, mut closed_at) = (None, None, None);
        for line in lines.iter().filter(|it| it.seq <= row.seq) {
            let (step, at) = (line.step.as_deref(), line.at.to_jiff());
            let event = Event::read(&plan.shape, &line.kind, step, line.attempt, &line.data)?;
            let was_backward = matches!(state.direction, Direction::Backward(_));
            state.apply(&event)?;
            match &event {
                Event::Started { input: json } => {
                    (input, started_at) = (Some(json.get().to_owned()), Some(at));
                }
                Event::Closed { .. } => closed_at = Some(at),
                // The next attempt starts now.
                Event::TakenUp { .. } | Event::RetryRequested { .. } => {
                    for trace in &mut traces {
                        (trace.next_at, trace.compensation_next_at) = (None, None);
                    }
                }
                _ => {}
            }
            if let Some(trace) = event.step().and_then(|it| traces.get_mut(usize::from(it))) {
                trace.note(&event, at, was_backward);
            }
            let at_hand = traces.get_mut(usize::from(state.cursor));
            if let (Some(trace), Direction::Forward) = (at_hand, &state.direction) {
                trace.started_at.get_or_insert(at);
            }
        }
        for trace in &mut traces {
            trace.begin_what_is_due(&row);
        }
        let is_suspended = row.wake_at.is_some();
        let steps = plan.shape.iter().zip(&state.steps).zip(traces).enumerate();
        let steps = steps.map(|(index, ((shape, _), trace))| {
            step_view(&state, (index, shape), trace, is_suspended)
        });
        Ok(Self {
            steps: steps.collect(),
            input: input.ok_or(HistoryError::Empty)?,
            started_at: started_at.ok_or(HistoryError::Empty)?,
            closed_at,
            cancelled_by: state.cancelled_by.clone(),
            row,
        })
    }

    /// The step with this name.
    pub fn step(&self, name: &str) -> Option<&StepView> {
        self.steps.iter().find(|it| it.name == name)
    }
}

impl Trace {
    /// An attempt begins without a line of its own. What is due and in memory, which is to say that its row
    /// is not suspended, runs.
    fn begin_what_is_due(&mut self, row: &SagaRow) {
        let read_at = row.read_at.to_jiff();
        let has_begun = |next_at: &Timestamp| row.wake_at.is_none() && *next_at <= read_at;
        self.next_at = self.next_at.filter(|it| !has_begun(it));
        self.compensation_next_at = self.compensation_next_at.filter(|it| !has_begun(it));
    }

    fn note(&mut self, event: &Event, at: Timestamp, backward: bool) {
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
            Event::CompensationDone { .. } => self.compensation_next_at = None,
            _ => {}
        }
    }
}

fn step_view(
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
        Progress::Pending | Progress::Open if is_at_hand => StepStatus::Running,
        Progress::Open => StepStatus::InDoubt,
        Progress::Pending if forward => StepStatus::Pending,
        Progress::Pending => StepStatus::Skipped,
    };
    let running = u32::from(status == StepStatus::Running);
    let json = |raw: &Option<std::sync::Arc<serde_json::value::RawValue>>| {
        raw.as_ref().and_then(|it| serde_json::from_str(it.get()).ok())
    };
    let status_back = compensation_status(state, index, &trace, is_suspended);
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
        output: json(&step.output),
        compensation,
    }
}

fn compensation_status(
    state: &State,
    index: usize,
    trace: &Trace,
    is_suspended: bool,
) -> Option<StepStatus> {
    let step = &state.steps[index];
    if step.compensation == Compensation::Done {
        return Some(StepStatus::Done);
    }
    if !matches!(state.direction, Direction::Backward(_)) {
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

/// A line's time as the API writes it.
pub fn at(line: &JournalLine) -> Timestamp {
    line.at.to_jiff()
}

/// A time for a statement.
pub fn to_sqlx(at: Timestamp) -> jiff_sqlx::Timestamp {
    at.to_sqlx()
}
