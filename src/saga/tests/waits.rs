//! What a wait, a pause, a deadline and a settlement do to what is decided.

use super::{after, refused, settled, shape, signal, waiting};
use crate::saga::{
    decide::{Action, TIMED_OUT, decide},
    event::{Event, Progress, Settlement, State},
};

fn started() -> Event {
    Event::Started { input: super::raw(serde_json::json!({})) }
}

fn paused() -> Event {
    Event::Paused { by: "ada".to_owned(), reason: None, at_ms: 1, left_ms: None }
}

fn resumed(until_ms: Option<i64>) -> Event {
    Event::Resumed { by: "ada".to_owned(), reason: None, until_ms, paused_ms: 30 }
}

fn done(step: u8) -> Event {
    Event::StepDone { step, attempt: 1, output: super::raw(serde_json::json!(1)) }
}

fn action(events: &[Event]) -> Action {
    decide(&shape(), &after(events))
}

const CALLED: Action = Action::Execute { step: 0, attempt: 1 };
const WAITS: Action = Action::Wait { step: 0 };

#[test]
fn a_step_that_waits_is_called_again_by_its_time_or_by_its_signal_only() {
    assert_eq!(action(&[started(), waiting(0, 1)]), WAITS);
    assert_eq!(action(&[started(), waiting(0, 1), signal("other")]), WAITS);
    assert_eq!(action(&[started(), waiting(0, 1), signal("go")]), CALLED);
    let over = Event::TimerFired { step: 0, attempt: 1 };
    assert_eq!(action(&[started(), waiting(0, 1), over.clone()]), CALLED);
    // It may wait again; what had come before then is behind.
    assert_eq!(action(&[started(), waiting(0, 1), signal("go"), waiting(0, 1)]), WAITS);
    assert_eq!(action(&[started(), waiting(0, 1), over, waiting(0, 1)]), WAITS);
    assert_eq!(action(&[started(), signal("go"), waiting(0, 1)]), WAITS);
}

#[test]
fn signals_are_kept_in_their_order_whether_or_not_anything_waits() {
    let state = after(&[started(), signal("x"), signal("go"), done(0), signal("x")]);
    let kept: Vec<(i32, &str)> =
        state.signals.iter().map(|it| (it.seq, it.name.as_str())).collect();
    assert_eq!(kept, [(2, "x"), (3, "go"), (5, "x")]);
}

#[test]
fn a_takeover_is_no_attempt_of_a_step_that_waits() {
    let taken = Event::TakenUp { replica: "x".to_owned(), handed_over: false };
    assert_eq!(action(&[started(), waiting(0, 1), taken]), WAITS);
}

#[test]
fn a_paused_saga_begins_nothing_but_its_way_back() {
    assert_eq!(action(&[started(), paused()]), Action::Pause);
    assert_eq!(action(&[started(), waiting(0, 1), paused(), signal("go")]), Action::Pause);
    assert_eq!(action(&[started(), paused(), resumed(None)]), CALLED);
    let cancelled = Event::CancelRequested { by: "ada".to_owned(), reason: None };
    assert!(matches!(action(&[started(), paused(), cancelled]), Action::TurnBack { .. }));
    assert!(matches!(
        action(&[started(), paused(), refused(0, 1, false)]),
        Action::TurnBack { .. }
    ));
    let back = Event::Compensating { cause: "no".to_owned() };
    assert!(matches!(action(&[started(), done(0), back, paused()]), Action::Compensate { .. }));
}

#[test]
fn what_was_left_of_a_wait_runs_on_after_a_pause() {
    let state = after(&[started(), waiting(0, 1), paused(), resumed(Some(77))]);
    assert_eq!(state.steps[0].wait.as_ref().unwrap().until_ms, Some(77));
    assert_eq!(state.paused_ms, 30);
    let state = after(&[started(), waiting(0, 1), paused(), resumed(None)]);
    assert_eq!(state.steps[0].wait.as_ref().unwrap().until_ms, Some(1_700_000_000_123));
}

#[test]
fn a_deadline_turns_back_whatever_waits_and_nothing_behind_the_pivot() {
    let turns_back = Action::TurnBack { cause: TIMED_OUT.to_owned() };
    assert_eq!(action(&[started(), Event::DeadlinePassed]), turns_back);
    assert_eq!(action(&[started(), waiting(0, 1), Event::DeadlinePassed]), turns_back);
    assert!(after(&[started(), done(0), done(1)]).apply(&Event::DeadlinePassed).is_err());
}

#[test]
fn a_person_settles_what_is_open_and_nothing_else() {
    let happened = || Settlement::Done { output: serde_json::json!({ "receipt": "r" }) };
    let parked = |step| Event::Parked {
        step,
        attempt: 2,
        reason: "odd".to_owned(),
        detail: String::new(),
        retry_in_ms: 1,
    };
    let state = after(&[started(), parked(0), settled(0, 2, happened())]);
    assert_eq!((state.steps[0].progress, state.cursor), (Progress::Done, 1));
    assert_eq!(state.output("a"), Some(r#"{"receipt":"r"}"#));
    let not = || Settlement::Refused { code: "no".to_owned() };
    let state = after(&[started(), parked(0), settled(0, 2, not())]);
    assert_eq!(state.compensating(), None, "nothing is in doubt any more");
    let done_already = after(&[started(), done(0)]).apply(&settled(0, 2, happened()));
    assert!(done_already.is_err());
    let mut behind_the_pivot: State = after(&[started(), done(0), done(1), waiting(2, 1)]);
    assert!(behind_the_pivot.apply(&settled(2, 1, not())).is_ok(), "the saga can go on without it");
    let back = Event::Compensating { cause: "no".to_owned() };
    let mut going_back = after(&[started(), done(0), back, parked(0)]);
    assert!(going_back.clone().apply(&settled(0, 3, not())).is_err(), "it was done");
    going_back.apply(&settled(0, 3, happened())).unwrap();
    assert_eq!(decide(&shape(), &going_back), Action::Close);
}
