//! How an [`Event`] stands in the journal: a kind, a step's name, an attempt, and JSON.

use std::sync::Arc;

use serde_json::{Value, json, value::RawValue};

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
pub const KINDS: [&str; 15] = [
    "started",
    "step_reached",
    "step_done",
    "step_refused",
    "attempt_failed",
    "step_given_up",
    "parked",
    "cancel_requested",
    "compensating",
    "compensation_done",
    "compensation_failed",
    "taken_up",
    "crash_loop",
    "retry_requested",
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
            Self::Parked { .. } => "parked",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::Compensating { .. } => "compensating",
            Self::CompensationDone { .. } => "compensation_done",
            Self::CompensationFailed { .. } => "compensation_failed",
            Self::TakenUp { .. } => "taken_up",
            Self::CrashLoop { .. } => "crash_loop",
            Self::RetryRequested { .. } => "retry_requested",
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
            | Self::Parked { step, attempt, .. }
            | Self::CompensationDone { step, attempt, .. }
            | Self::CompensationFailed { step, attempt, .. } => Some((*step, *attempt)),
            Self::Started { .. }
            | Self::CancelRequested { .. }
            | Self::Compensating { .. }
            | Self::TakenUp { .. }
            | Self::CrashLoop { .. }
            | Self::RetryRequested { .. }
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
            data: self.data(),
        }
    }

    fn data(&self) -> String {
        match self {
            Self::Started { input } => input.get().to_owned(),
            Self::StepDone { output, .. } | Self::CompensationDone { output, .. } => {
                output.get().to_owned()
            }
            Self::StepReached { label, .. } => json!({ "label": label }).to_string(),
            Self::StepRefused { code, detail, in_doubt, .. } => {
                json!({ "code": code, "detail": detail, "in_doubt": in_doubt }).to_string()
            }
            Self::AttemptFailed { detail, retry_in_ms, .. }
            | Self::CompensationFailed { detail, retry_in_ms, .. } => {
                json!({ "detail": detail, "retry_in_ms": retry_in_ms }).to_string()
            }
            Self::StepGivenUp { detail, .. } => json!({ "detail": detail }).to_string(),
            Self::Parked { reason, detail, retry_in_ms, .. } => {
                json!({ "reason": reason, "detail": detail, "retry_in_ms": retry_in_ms })
                    .to_string()
            }
            Self::CancelRequested { by, reason } | Self::RetryRequested { by, reason } => {
                json!({ "by": by, "reason": reason }).to_string()
            }
            Self::Compensating { cause } => json!({ "cause": cause }).to_string(),
            Self::TakenUp { replica, handed_over } => {
                json!({ "replica": replica, "handed_over": handed_over }).to_string()
            }
            Self::CrashLoop { takeovers } => json!({ "takeovers": takeovers }).to_string(),
            Self::Closed { status, reason } => {
                json!({ "status": status, "reason": reason }).to_string()
            }
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
            (Some(step), Some(attempt)) => read_step(kind, step, attempt, &data),
            _ => read_saga(kind, &data),
        };
        event.ok_or_else(unreadable)
    }
}

fn text(data: &Value, key: &str) -> Option<String> {
    data.get(key)?.as_str().map(str::to_owned)
}

fn read_step(kind: &str, step: StepIndex, attempt: u32, data: &Value) -> Option<Event> {
    let detail = || text(data, "detail");
    let retry_in_ms = || data.get("retry_in_ms")?.as_u64();
    Some(match kind {
        "step_reached" => Event::StepReached { step, attempt, label: text(data, "label")? },
        "step_refused" => Event::StepRefused {
            step,
            attempt,
            code: text(data, "code")?,
            detail: detail()?,
            // Lines from before it was said fold as they did: nothing of the step was taken back then.
            in_doubt: data.get("in_doubt").and_then(Value::as_bool).unwrap_or(false),
        },
        "attempt_failed" => {
            Event::AttemptFailed { step, attempt, detail: detail()?, retry_in_ms: retry_in_ms()? }
        }
        "step_given_up" => Event::StepGivenUp { step, attempt, detail: detail()? },
        "parked" => Event::Parked {
            step,
            attempt,
            reason: text(data, "reason")?,
            detail: detail()?,
            retry_in_ms: retry_in_ms()?,
        },
        "compensation_failed" => Event::CompensationFailed {
            step,
            attempt,
            detail: detail()?,
            retry_in_ms: retry_in_ms()?,
        },
        _ => return None,
    })
}

fn read_saga(kind: &str, data: &Value) -> Option<Event> {
    Some(match kind {
        "cancel_requested" => {
            Event::CancelRequested { by: text(data, "by")?, reason: text(data, "reason") }
        }
        "compensating" => Event::Compensating { cause: text(data, "cause")? },
        "taken_up" => Event::TakenUp {
            replica: text(data, "replica")?,
            handed_over: data.get("handed_over").and_then(Value::as_bool).unwrap_or(false),
        },
        "crash_loop" => Event::CrashLoop {
            takeovers: data.get("takeovers")?.as_u64().and_then(|it| u32::try_from(it).ok())?,
        },
        "retry_requested" => {
            Event::RetryRequested { by: text(data, "by")?, reason: text(data, "reason") }
        }
        "closed" => Event::Closed { status: text(data, "status")?, reason: text(data, "reason") },
        _ => return None,
    })
}
