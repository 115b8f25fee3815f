//! Tests of what is pure: states, decisions, lines, delays.

mod histories;
mod policy;
mod table;
mod upgrade;
mod waits;

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};

use super::event::{Event, Kind, Settlement, Shape, State, StepIndex, Wait};

/// A step that must be done, the pivot, and one that the saga can go on without.
fn shape() -> Arc<[Shape]> {
    Arc::new([
        Shape { name: "a", kind: Kind::Required, is_compensated: true },
        Shape { name: "p", kind: Kind::Pivot, is_compensated: true },
        Shape { name: "n", kind: Kind::BestEffort, is_compensated: true },
    ])
}

fn raw(value: serde_json::Value) -> Arc<RawValue> {
    to_raw_value(&value).unwrap().into()
}

fn refused(step: StepIndex, attempt: u32, in_doubt: bool) -> Event {
    let (code, detail) = ("no".to_owned(), "it \"broke\"".to_owned());
    Event::StepRefused { step, attempt, code, detail, in_doubt }
}

/// Waits for a time, or for the signal `go`.
fn waiting(step: StepIndex, attempt: u32) -> Event {
    let what = "for \"it\"".to_owned();
    let (until_ms, signals) = (Some(1_700_000_000_123), vec!["go".to_owned()]);
    let wait = Wait { until_ms, signals, what, attention: None };
    Event::StepWaiting { step, attempt, wait }
}

fn settled(step: StepIndex, attempt: u32, settlement: Settlement) -> Event {
    let (by, reason) = ("ada".to_owned(), "seen on paper".to_owned());
    Event::Settled { step, attempt, settlement, by, reason }
}

fn signal(name: &str) -> Event {
    let (name, key, by) = (name.to_owned(), Some("k".to_owned()), "ada".to_owned());
    Event::SignalReceived { name, key, by, data: raw(serde_json::json!({ "n": 1 })) }
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
        waiting(step, attempt),
        Event::TimerFired { step, attempt },
        settled(step, attempt, Settlement::Done { output: serde_json::json!({ "n": [2] }) }),
        settled(step, attempt, Settlement::Refused { code: "no".to_owned() }),
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
        Event::RetryRequested { by: by.clone(), reason: Some("a whim".to_owned()) },
        signal("go"),
        Event::Paused { by: by.clone(), reason: None, at_ms: 1_700_000_000_000, left_ms: Some(7) },
        Event::Resumed { by, reason: None, until_ms: Some(1_700_000_000_456), paused_ms: 9 },
        Event::DeadlinePassed,
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
