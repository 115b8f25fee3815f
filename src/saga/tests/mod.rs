//! Tests of what is pure: states, decisions, lines, delays.

mod histories;
mod policy;
mod table;
mod upgrade;

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};

use super::event::{Event, Kind, Shape, State, StepIndex};

/// A step that must be done, the pivot, and one that the saga can go on without.
fn shape() -> Arc<[Shape]> {
    Arc::new([
        Shape { name: "a", kind: Kind::Required },
        Shape { name: "p", kind: Kind::Pivot },
        Shape { name: "n", kind: Kind::BestEffort },
    ])
}

fn raw(value: serde_json::Value) -> Arc<RawValue> {
    to_raw_value(&value).unwrap().into()
}

fn refused(step: StepIndex, attempt: u32, in_doubt: bool) -> Event {
    let (code, detail) = ("no".to_owned(), "it \"broke\"".to_owned());
    Event::StepRefused { step, attempt, code, detail, in_doubt }
}

/// One event of every kind about a step.
fn about_step(step: StepIndex, attempt: u32) -> Vec<Event> {
    let (detail, output) = (|| "it \"broke\"".to_owned(), || raw(serde_json::json!({ "n": [1] })));
    let retry_in_ms = 1_500;
    vec![
        Event::StepReached { step, attempt, label: "HALFWAY".to_owned() },
        Event::StepDone { step, attempt, output: output() },
        refused(step, attempt, false),
        refused(step, attempt, true),
        Event::AttemptFailed { step, attempt, detail: detail(), retry_in_ms },
        Event::StepGivenUp { step, attempt, detail: detail() },
        Event::Parked { step, attempt, reason: "odd".to_owned(), detail: detail(), retry_in_ms },
        Event::CompensationDone { step, attempt, output: output() },
        Event::CompensationFailed { step, attempt, detail: detail(), retry_in_ms },
    ]
}

/// One event of every kind about the saga as a whole.
fn about_saga() -> Vec<Event> {
    let (by, replica) = ("ada".to_owned(), "first".to_owned());
    vec![
        Event::Started { input: raw(serde_json::json!({ "x": 1 })) },
        Event::CancelRequested { by: by.clone(), reason: None },
        Event::Compensating { cause: "no".to_owned() },
        Event::TakenUp { replica: replica.clone(), handed_over: false },
        Event::TakenUp { replica, handed_over: true },
        Event::CrashLoop { takeovers: 7 },
        Event::RetryRequested { by, reason: Some("a whim".to_owned()) },
        Event::Closed { status: "END".to_owned(), reason: None },
    ]
}

/// Every event there is, about every step and one that does not exist.
fn all_events(attempt: u32) -> Vec<Event> {
    let steps = (0..=3).flat_map(|step| about_step(step, attempt));
    about_saga().into_iter().chain(steps).collect()
}

fn after(events: &[Event]) -> State {
    let mut state = State::new(shape());
    for event in events {
        state.apply(event).unwrap();
    }
    state
}
