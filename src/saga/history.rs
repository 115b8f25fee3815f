//! The read side: a saga as its journal tells it, with times.

mod error;
mod trace;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde::Serialize;
use serde_json::Value;

pub use self::error::HistoryError;
use self::trace::{Trace, step_view};
use super::{
    definition::Plan,
    event::{Direction, Event, Paused, Signal, State, Wait},
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
    /// What it waits for, while it is suspended for a time or a signal.
    pub wait: Option<Wait>,
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
    /// Who paused it, while it is.
    pub paused: Option<Paused>,
    /// What it was told, in order.
    pub signals: Vec<Signal>,
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
                Event::Resumed { until_ms, .. } => {
                    let at_hand = traces.get_mut(usize::from(state.cursor));
                    at_hand.into_iter().for_each(|it| it.wait(*until_ms));
                }
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
            cancelled_by: state.cancelled_by,
            paused: state.paused,
            signals: state.signals,
            row,
        })
    }

    /// The step with this name.
    pub fn step(&self, name: &str) -> Option<&StepView> {
        self.steps.iter().find(|it| it.name == name)
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
