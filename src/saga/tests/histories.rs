//! Random legal histories: whatever has happened, something follows, and it is legal.

use proptest::prelude::*;

use super::{all_events, raw, shape};
use crate::saga::{
    decide::{Action, decide},
    event::{Direction, Event, State},
    line::KINDS,
};

/// What the engine writes when everything that it does next succeeds.
fn success(action: &Action) -> Option<Event> {
    let output = raw(serde_json::Value::Null);
    Some(match action.clone() {
        Action::Execute { step, attempt } => Event::StepDone { step, attempt, output },
        Action::Compensate { step, attempt } => Event::CompensationDone { step, attempt, output },
        Action::Wait { step } => Event::TimerFired { step, attempt: 1 },
        Action::Pause => {
            let by = "ada".to_owned();
            Event::Resumed { by, reason: None, until_ms: None, paused_ms: 1 }
        }
        Action::TurnBack { cause } => Event::Compensating { cause },
        Action::Close => Event::Closed { status: "END".to_owned(), reason: None },
        Action::Rest => return None,
    })
}

/// A legal history: each choice picks one of the events that may follow.
fn history(choices: &[prop::sample::Index]) -> Vec<Event> {
    let (mut state, mut events) = (State::new(shape()), Vec::new());
    for (choice, attempt) in choices.iter().zip(1..) {
        let mut legal = all_events(attempt);
        legal.retain(|it| state.clone().apply(it).is_ok());
        if legal.is_empty() {
            break;
        }
        let event = legal.swap_remove(choice.index(legal.len()));
        state.apply(&event).unwrap();
        events.push(event);
    }
    events
}

proptest! {
    #[test]
    fn every_prefix_leads_to_an_end(choices in prop::collection::vec(any::<prop::sample::Index>(), 1..30)) {
        let mut state = State::new(shape());
        for (event, seq) in history(&choices).iter().zip(1..) {
            prop_assert!(state.apply(event).is_ok());
            prop_assert_eq!(state.seq, seq);
            let mut future = state.clone();
            let mut left = 3 * shape().len() + 4;
            while let Some(next) = success(&decide(&shape(), &future)) {
                prop_assert!(future.apply(&next).is_ok(), "{:?} after {:?}", next, future);
                left -= 1;
                prop_assert!(left > 0, "it goes round: {:?}", future);
            }
            prop_assert!(matches!(future.direction, Direction::Closed(_)));
        }
    }

    #[test]
    fn every_line_is_read_back_as_it_was(choices in prop::collection::vec(any::<prop::sample::Index>(), 1..30)) {
        for event in history(&choices) {
            let line = event.line(&shape());
            prop_assert!(KINDS.contains(&line.kind));
            let read = Event::read(&shape(), line.kind, line.step, line.attempt, &line.data).unwrap();
            prop_assert_eq!(format!("{:?}", read.line(&shape())), format!("{:?}", line));
        }
    }

    #[test]
    fn no_line_that_is_read_panics(
        kind in prop::sample::select(KINDS.to_vec()),
        step in prop::option::of("[apnx]"),
        attempt in prop::option::of(any::<i32>()),
        data in "\\PC{0,40}",
    ) {
        if let Ok(event) = Event::read(&shape(), kind, step.as_deref(), attempt, &data) {
            let _ = State::new(shape()).apply(&event);
        }
    }
}

#[test]
fn every_kind_is_written_and_read() {
    let mut kinds: Vec<&str> = all_events(1).iter().map(Event::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut all = KINDS.to_vec();
    all.sort_unstable();
    assert_eq!(kinds, all);
}
