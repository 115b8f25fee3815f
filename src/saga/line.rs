//! How an [`Event`] stands in the journal: a kind, a step's name, an attempt, and JSON.

mod data;

use std::sync::Arc;

use serde_json::{Value, value::RawValue};

use super::event::{Event, Shape, StepIndex};

/// The columns of one journal line that tell what happened.
#[derive(Debug, Clone)]
pub struct Line {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// The step it is about.
    pub step: Option<&'static str>,
    /// The attempt it is about, from 1.
    pub attempt: Option<i32>,
    /// The rest, as JSON text.
    pub data: String,
}

/// Every kind of line, in the order of a saga's life. A closed set: part of the API.
pub const KINDS: [&str; 22] = [
    "started",
    "step_reached",
    "step_done",
    "step_refused",
    "attempt_failed",
    "step_given_up",
    "step_waiting",
    "timer_fired",
    "parked",
    "settled",
    "cancel_requested",
    "compensating",
    "compensation_done",
    "compensation_failed",
    "taken_up",
    "crash_loop",
    "retry_requested",
    "signal_received",
    "paused",
    "resumed",
    "deadline_passed",
    "closed",
];

/// A line that this binary cannot read: it was written by a newer one, or touched.
#[derive(Debug, thiserror::Error)]
#[error("a line of kind `{kind}`{} cannot be read", about(.step.as_deref()))]
pub struct Unreadable {
    kind: String,
    step: Option<String>,
}

fn about(step: Option<&str>) -> String {
    step.map(|it| format!(" about step `{it}`")).unwrap_or_default()
}

impl Unreadable {
    /// Whether it is of a kind that this binary does not know: a newer one wrote it.
    pub fn is_of_unknown_kind(&self) -> bool {
        !KINDS.contains(&self.kind.as_str())
    }
}

impl Event {
    /// The kind of line it is written as.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::StepReached { .. } => "step_reached",
            Self::StepDone { .. } => "step_done",
            Self::StepRefused { .. } => "step_refused",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::StepGivenUp { .. } => "step_given_up",
            Self::StepWaiting { .. } => "step_waiting",
            Self::TimerFired { .. } => "timer_fired",
            Self::Settled { .. } => "settled",
            Self::Parked { .. } => "parked",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::Compensating { .. } => "compensating",
            Self::CompensationDone { .. } => "compensation_done",
            Self::CompensationFailed { .. } => "compensation_failed",
            Self::TakenUp { .. } => "taken_up",
            Self::CrashLoop { .. } => "crash_loop",
            Self::RetryRequested { .. } => "retry_requested",
            Self::SignalReceived { .. } => "signal_received",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::DeadlinePassed => "deadline_passed",
            Self::Closed { .. } => "closed",
        }
    }

    /// The step it is about.
    pub fn step(&self) -> Option<StepIndex> {
        self.about().map(|(step, _)| step)
    }

    fn about(&self) -> Option<(StepIndex, u32)> {
        match self {
            Self::StepReached { step, attempt, .. }
            | Self::StepDone { step, attempt, .. }
            | Self::StepRefused { step, attempt, .. }
            | Self::AttemptFailed { step, attempt, .. }
            | Self::StepGivenUp { step, attempt, .. }
            | Self::StepWaiting { step, attempt, .. }
            | Self::TimerFired { step, attempt }
            | Self::Settled { step, attempt, .. }
            | Self::Parked { step, attempt, .. }
            | Self::CompensationDone { step, attempt, .. }
            | Self::CompensationFailed { step, attempt, .. } => Some((*step, *attempt)),
            Self::Started { .. }
            | Self::CancelRequested { .. }
            | Self::Compensating { .. }
            | Self::TakenUp { .. }
            | Self::CrashLoop { .. }
            | Self::RetryRequested { .. }
            | Self::SignalReceived { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::DeadlinePassed
            | Self::Closed { .. } => None,
        }
    }

    /// The line it is written as.
    pub fn line(&self, shape: &[Shape]) -> Line {
        let (step, attempt) = self.about().unzip();
        Line {
            kind: self.kind(),
            step: step.and_then(|it| shape.get(usize::from(it))).map(|it| it.name),
            attempt: attempt.and_then(|it| i32::try_from(it).ok()),
            data: data::of(self),
        }
    }

    /// Reads a line back.
    pub fn read(
        shape: &[Shape],
        kind: &str,
        step: Option<&str>,
        attempt: Option<i32>,
        data: &str,
    ) -> Result<Self, Unreadable> {
        let unreadable = || Unreadable { kind: kind.to_owned(), step: step.map(str::to_owned) };
        let raw =
            || RawValue::from_string(data.to_owned()).map(Arc::from).map_err(|_| unreadable());
        if kind == "started" {
            return Ok(Self::Started { input: raw()? });
        }
        let index = step
            .and_then(|name| shape.iter().position(|it| it.name == name))
            .and_then(|it| StepIndex::try_from(it).ok());
        let number = attempt.and_then(|it| u32::try_from(it).ok());
        if let (Some(step), Some(attempt)) = (index, number) {
            if kind == "step_done" {
                return Ok(Self::StepDone { step, attempt, output: raw()? });
            }
            if kind == "compensation_done" {
                return Ok(Self::CompensationDone { step, attempt, output: raw()? });
            }
        }
        let data: Value = serde_json::from_str(data).map_err(|_| unreadable())?;
        let event = match (index, number) {
            (Some(step), Some(attempt)) => data::read_step(kind, step, attempt, &data),
            _ => data::read_saga(kind, &data),
        };
        event.ok_or_else(unreadable)
    }
}
