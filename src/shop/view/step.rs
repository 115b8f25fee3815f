//! A step as it is shown.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::saga::{
    Wait,
    event::Paused,
    history::{CompensationView, StepStatus, StepView},
};

/// One step of an order's saga.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StepOut {
    /// `payment`, `go_ahead`, `preparation`, `inventory` or `notification`.
    #[schema(example = "payment")]
    pub name: &'static str,
    /// Where it stands.
    #[schema(value_type = String, example = "done")]
    pub state: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// When it became the step at hand.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was settled.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// What it waits for, while it is suspended for a time, a signal or a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitOut>,
    /// How far the running attempt has come, where the replica that runs it is asked.
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Value>,
    /// Its compensation, if one is due or done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CompensationOut>,
}

/// The compensation of a step.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CompensationOut {
    /// `pending`, `running`, `waiting` or `done`.
    #[schema(value_type = String, example = "done")]
    pub state: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
}

/// What a step waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WaitOut {
    /// In words.
    #[schema(example = "for the time to begin")]
    pub what: String,
    /// Until when; null when only a signal ends it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The signals that end it.
    pub signals: Vec<String>,
}

impl WaitOut {
    fn of(wait: Wait, until: Option<Timestamp>) -> Self {
        Self { what: wait.what, until, signals: wait.signals }
    }
}

/// A pause.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PausedOut {
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl PausedOut {
    pub(super) fn of(paused: Paused) -> Self {
        let at = Timestamp::from_millisecond(paused.at_ms).unwrap_or_default();
        Self { by: paused.by, reason: paused.reason, at }
    }
}

pub(super) fn step_out(step: StepView, progress: Option<&Value>) -> StepOut {
    let is_running = step.status == StepStatus::Running;
    StepOut {
        name: step.name,
        state: step.status,
        attempts: step.attempts,
        started_at: step.started_at,
        ended_at: step.ended_at,
        last_error: step.last_error,
        next_attempt_at: step.next_attempt_at.filter(|_| step.wait.is_none()),
        waits_for: step.wait.map(|it| WaitOut::of(it, step.next_attempt_at)),
        progress: progress.filter(|_| is_running).cloned(),
        compensation: step.compensation.map(|it: CompensationView| CompensationOut {
            state: it.status,
            attempts: it.attempts,
            last_error: it.last_error,
            next_attempt_at: it.next_attempt_at,
        }),
    }
}
