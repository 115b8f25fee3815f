//! Which event may follow which, and what is decided then: everything that is not listed is illegal.

use super::{about_saga, about_step, after, all_events, refused, shape};
use crate::saga::{
    decide::{Action, decide},
    event::{Event, State},
};

/// A word for an event: its kind, and its step if it is about one.
fn word(event: &Event) -> String {
    match event.step() {
        Some(step) => format!("{} {step}", event.kind()),
        None => event.kind().to_owned(),
    }
}

fn legal(state: &State) -> Vec<String> {
    let mut words: Vec<String> =
        all_events(1).iter().filter(|event| state.clone().apply(event).is_ok()).map(word).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The event with this word.
fn event(wanted: &str) -> Event {
    all_events(1).into_iter().find(|it| word(it) == wanted).unwrap()
}

fn history(words: &[&str]) -> State {
    after(&words.iter().map(|it| event(it)).collect::<Vec<_>>())
}

/// Legal while the saga is open, wherever it stands.
const ALWAYS: [&str; 6] =
    ["cancel_requested", "crash_loop", "paused", "retry_requested", "signal_received", "taken_up"];

/// Legal too while the saga goes forward and the pivot is not behind.
const TURN: [&str; 2] = ["compensating", "deadline_passed"];

fn expect(words: &[&str], action: &Action, follows: &[&str]) {
    let state = history(words);
    let mut expected: Vec<&str> = follows.to_vec();
    expected.sort_unstable();
    assert_eq!(legal(&state), expected, "after {words:?}");
    assert_eq!(decide(&shape(), &state), *action, "after {words:?}");
}

fn open(step: u8, and: &[&'static str]) -> Vec<String> {
    let kinds = ["step_reached", "step_done", "step_refused", "attempt_failed", "step_given_up"];
    let about = kinds
        .iter()
        .chain(&["parked", "settled", "step_waiting"])
        .map(|kind| format!("{kind} {step}"));
    about.chain(ALWAYS.iter().chain(and).map(|it| (*it).to_owned())).collect()
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn execute(step: u8, attempt: u32) -> Action {
    Action::Execute { step, attempt }
}

fn back(step: u8, attempt: u32) -> Action {
    Action::Compensate { step, attempt }
}

fn turn_back(cause: &str) -> Action {
    Action::TurnBack { cause: cause.to_owned() }
}

#[test]
fn before_the_first_line_only_the_start_is_legal() {
    assert_eq!(legal(&State::new(shape())), ["started"]);
}

#[test]
fn forward_the_step_at_hand_decides() {
    let first = open(0, &TURN);
    expect(&["started"], &execute(0, 1), &strs(&first));
    expect(&["started", "attempt_failed 0"], &execute(0, 2), &strs(&first));
    expect(&["started", "taken_up"], &execute(0, 2), &strs(&first));
    expect(&["started", "parked 0"], &execute(0, 1), &strs(&first));
    expect(&["started", "parked 0", "retry_requested"], &execute(0, 1), &strs(&first));
    let second = open(1, &TURN);
    expect(&["started", "step_done 0"], &execute(1, 1), &strs(&second));
    let behind = ["started", "step_done 0", "step_done 1"];
    expect(&behind, &execute(2, 1), &strs(&open(2, &[])));
}

#[test]
fn what_cannot_be_done_turns_the_saga_back() {
    let follows: Vec<&str> = ALWAYS.into_iter().chain(TURN).collect();
    expect(&["started", "step_refused 0"], &turn_back("no"), &follows);
    expect(&["started", "step_refused 0", "taken_up"], &turn_back("no"), &follows);
    expect(&["started", "step_given_up 0"], &turn_back("a_unavailable"), &follows);
    let pivot = ["started", "step_done 0", "step_given_up 1"];
    expect(&pivot, &turn_back("p_unavailable"), &follows);
    let first = open(0, &TURN);
    expect(&["started", "cancel_requested"], &turn_back("cancelled"), &strs(&first));
}

#[test]
fn a_step_that_is_nice_to_have_is_left_behind() {
    let follows: Vec<&str> = ALWAYS.into_iter().chain(["closed"]).collect();
    for settled in ["step_done 2", "step_refused 2", "step_given_up 2"] {
        let words = ["started", "step_done 0", "step_done 1", settled];
        expect(&words, &Action::Close, &follows);
    }
    let cancelled = ["started", "step_done 0", "step_done 1", "cancel_requested"];
    assert_eq!(decide(&shape(), &history(&cancelled)), execute(2, 1), "too late");
}

#[test]
fn backwards_the_last_that_may_have_happened_comes_first() {
    let undo = |step| {
        let kinds = ["compensation_done", "compensation_failed", "parked", "settled"];
        let about = kinds.map(|kind| format!("{kind} {step}"));
        about.into_iter().chain(ALWAYS.map(str::to_owned)).collect::<Vec<_>>()
    };
    let both = ["started", "step_done 0", "attempt_failed 1", "compensating"];
    expect(&both, &back(1, 1), &strs(&undo(1)));
    let mut words = both.to_vec();
    words.push("compensation_failed 1");
    expect(&words, &back(1, 2), &strs(&undo(1)));
    words.push("taken_up");
    expect(&words, &back(1, 3), &strs(&undo(1)));
    words.push("compensation_done 1");
    expect(&words, &back(0, 1), &strs(&undo(0)));
    words.push("compensation_done 0");
    let end: Vec<&str> = ALWAYS.into_iter().chain(["closed"]).collect();
    expect(&words, &Action::Close, &end);
    words.push("closed");
    expect(&words, &Action::Rest, &[]);
    let nothing = ["started", "step_refused 0", "compensating"];
    expect(&nothing, &Action::Close, &end);
}

#[test]
fn a_step_that_was_refused_after_a_doubt_is_compensated_by_key() {
    for doubt in ["attempt_failed 0", "taken_up", "parked 0"] {
        let mut state = history(&["started", doubt]);
        state.apply(&refused(0, 2, true)).unwrap();
        assert_eq!(decide(&shape(), &state), turn_back("no"), "{doubt}");
        state.apply(&event("compensating")).unwrap();
        assert_eq!(decide(&shape(), &state), back(0, 1), "{doubt}");
        assert!(state.clone().apply(&event("closed")).is_err(), "nothing was taken back yet");
        state.apply(&event("compensation_failed 0")).unwrap();
        state.apply(&event("compensation_done 0")).unwrap();
        assert_eq!(decide(&shape(), &state), Action::Close);
    }
    // A milestone of the attempt that is refused is no doubt about it.
    for certain in [&["started"][..], &["started", "step_reached 0"]] {
        assert!(history(certain).apply(&refused(0, 1, true)).is_err(), "nothing is in doubt");
    }
}

#[test]
fn a_journal_from_before_the_doubt_was_written_down_folds_as_it_stands() {
    let data = r#"{"code":"no","detail":"it broke"}"#;
    let line = Event::read(&shape(), "step_refused", Some("a"), Some(2), data).unwrap();
    let mut state = history(&["started", "attempt_failed 0"]);
    for event in [line, event("compensating"), event("closed")] {
        state.apply(&event).unwrap();
    }
    assert_eq!(decide(&shape(), &state), Action::Rest);
    assert_eq!((state.seq, state.compensating()), (5, None));
}

#[test]
fn an_illegal_line_changes_nothing() {
    let before = history(&["started", "step_done 0"]);
    let mut state = before.clone();
    for event in about_step(0, 1).iter().chain(&about_saga()[..1]) {
        let illegal = state.apply(event).unwrap_err();
        assert!(illegal.to_string().starts_with("line 3: "), "{illegal}");
    }
    assert_eq!(format!("{state:?}"), format!("{before:?}"));
}

#[test]
fn attention_is_there_until_something_happens() {
    let attention = |words: &[&str]| history(words).attention;
    assert_eq!(attention(&["started", "parked 0"]).as_deref(), Some("odd"));
    assert_eq!(attention(&["started", "crash_loop"]).as_deref(), Some("crash_loop"));
    for next in ["step_done 0", "step_refused 0", "step_given_up 0", "retry_requested"] {
        assert_eq!(attention(&["started", "parked 0", next]), None, "{next}");
    }
    assert_eq!(attention(&["started", "parked 0", "compensating"]), None);
    let parked = ["started", "step_done 0", "compensating", "parked 0"];
    assert_eq!(attention(&parked).as_deref(), Some("odd"));
    assert_eq!(attention(&[&parked[..], &["compensation_done 0"]].concat()), None);
}

#[test]
fn only_takeovers_from_the_dead_count_and_only_in_a_row() {
    let taken = |handed_over| Event::TakenUp { replica: "x".to_owned(), handed_over };
    let started = event("started");
    let twice = [started.clone(), taken(false), taken(true), taken(false)];
    assert_eq!(after(&twice).takeovers_in_a_row, 2);
    let mut progress = twice.to_vec();
    progress.push(event("attempt_failed 0"));
    assert_eq!(after(&progress).takeovers_in_a_row, 0);
}
