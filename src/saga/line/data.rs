//! The JSON of a line: what it says besides its kind, its step and its attempt.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::saga::event::{Event, Settlement, StepIndex, Wait};

/// A line's data, as JSON text.
pub(super) fn of(event: &Event) -> String {
    match event {
        Event::Started { input } => input.get().to_owned(),
        Event::StepDone { output, .. } | Event::CompensationDone { output, .. } => {
            output.get().to_owned()
        }
        Event::StepReached { label, .. } => json!({ "label": label }).to_string(),
        Event::StepRefused { code, detail, in_doubt, .. } => {
            json!({ "code": code, "detail": detail, "in_doubt": in_doubt }).to_string()
        }
        Event::AttemptFailed { detail, retry_in_ms, .. }
        | Event::CompensationFailed { detail, retry_in_ms, .. } => {
            json!({ "detail": detail, "retry_in_ms": retry_in_ms }).to_string()
        }
        Event::StepGivenUp { detail, .. } => json!({ "detail": detail }).to_string(),
        Event::StepWaiting { wait: Wait { until_ms, signals, what, attention }, .. } => {
            let until = until_ms.and_then(timestamp);
            json!({ "until": until, "signals": signals, "what": what, "attention": attention })
                .to_string()
        }
        Event::TimerFired { .. } | Event::DeadlinePassed => "{}".to_owned(),
        Event::Settled { settlement, by, reason, .. } => {
            json!({ "settlement": settlement, "by": by, "reason": reason }).to_string()
        }
        Event::SignalReceived { name, key, by, data } => {
            json!({ "name": name, "key": key, "by": by, "data": data }).to_string()
        }
        Event::Paused { by, reason, at_ms, left_ms } => {
            let at = timestamp(*at_ms);
            json!({ "by": by, "reason": reason, "at": at, "left_ms": left_ms }).to_string()
        }
        Event::Resumed { by, reason, until_ms, paused_ms } => {
            let until = until_ms.and_then(timestamp);
            json!({ "by": by, "reason": reason, "until": until, "paused_ms": paused_ms })
                .to_string()
        }
        Event::Parked { reason, detail, retry_in_ms, .. } => {
            json!({ "reason": reason, "detail": detail, "retry_in_ms": retry_in_ms }).to_string()
        }
        Event::CancelRequested { by, reason } | Event::RetryRequested { by, reason } => {
            json!({ "by": by, "reason": reason }).to_string()
        }
        Event::Compensating { cause } => json!({ "cause": cause }).to_string(),
        Event::TakenUp { replica, handed_over } => {
            json!({ "replica": replica, "handed_over": handed_over }).to_string()
        }
        Event::CrashLoop { takeovers } => json!({ "takeovers": takeovers }).to_string(),
        Event::Closed { status, reason } => {
            json!({ "status": status, "reason": reason }).to_string()
        }
    }
}

fn timestamp(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

/// A time that may be missing, in milliseconds; `None` for one that cannot be read.
fn time(data: &Value, key: &str) -> Option<Option<i64>> {
    match data.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(value) => {
            let at: Timestamp = value.as_str()?.parse().ok()?;
            Some(Some(at.as_millisecond()))
        }
    }
}

fn text(data: &Value, key: &str) -> Option<String> {
    data.get(key)?.as_str().map(str::to_owned)
}

pub(super) fn read_step(kind: &str, step: StepIndex, attempt: u32, data: &Value) -> Option<Event> {
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
        "step_waiting" => {
            let signals = Vec::deserialize(data.get("signals")?).ok()?;
            let (until_ms, what) = (time(data, "until")?, text(data, "what")?);
            let wait = Wait { until_ms, signals, what, attention: text(data, "attention") };
            Event::StepWaiting { step, attempt, wait }
        }
        "timer_fired" => Event::TimerFired { step, attempt },
        "settled" => Event::Settled {
            step,
            attempt,
            settlement: Settlement::deserialize(data.get("settlement")?).ok()?,
            by: text(data, "by")?,
            reason: text(data, "reason")?,
        },
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

pub(super) fn read_saga(kind: &str, data: &Value) -> Option<Event> {
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
        "signal_received" => Event::SignalReceived {
            name: text(data, "name")?,
            key: text(data, "key"),
            by: text(data, "by")?,
            data: Arc::from(serde_json::value::to_raw_value(data.get("data")?).ok()?),
        },
        "paused" => Event::Paused {
            by: text(data, "by")?,
            reason: text(data, "reason"),
            at_ms: time(data, "at")??,
            left_ms: data.get("left_ms").and_then(Value::as_u64),
        },
        "resumed" => Event::Resumed {
            by: text(data, "by")?,
            reason: text(data, "reason"),
            until_ms: time(data, "until")?,
            paused_ms: data.get("paused_ms")?.as_u64()?,
        },
        "deadline_passed" => Event::DeadlinePassed,
        "closed" => Event::Closed { status: text(data, "status")?, reason: text(data, "reason") },
        _ => return None,
    })
}
