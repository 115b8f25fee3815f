//! Pauses, pickup times, and persons who have to say a word.

use super::{CAN_CANCEL, NEXT, at, order, why};
use crate::{
    saga::history::StepStatus,
    shop::{
        view::{OrderView, PausedOut, WaitOut},
        why::WaitsFor,
    },
};

fn waiting(what: &str, until: Option<&str>, signals: &[&str]) -> OrderView {
    let mut order = order("PAID", 1);
    let step = &mut order.steps[1];
    (step.state, step.attempts, step.started_at) = (StepStatus::Waiting, 0, Some(at(super::BEGUN)));
    let (what, until) = (what.to_owned(), until.map(at));
    let signals = signals.iter().map(|it| (*it).to_owned()).collect();
    step.waits_for = Some(WaitOut { what, until, signals });
    order
}

fn says(order: &OrderView, waits_for: WaitsFor, sentence: &str) {
    let why = why(order);
    assert_eq!((why.why.as_str(), why.waits_for), (sentence, waits_for));
}

fn paused(mut order: OrderView, reason: Option<&str>) -> OrderView {
    let (by, reason) = ("ada".to_owned(), reason.map(str::to_owned));
    order.paused = Some(PausedOut { by, reason, at: at(NEXT) });
    order
}

#[test]
fn a_pre_order_says_when_it_is_begun() {
    let mut order = waiting("for the time to begin", Some(NEXT), &["pickup_at"]);
    order.pickup_at = Some(at("2026-03-01T09:12:00Z"));
    says(
        &order,
        WaitsFor::Time,
        &format!(
            "It is to be ready at 2026-03-01T09:12:00Z and will be begun at 2026-03-01T09:02:00Z; \
             it can be moved until then; {CAN_CANCEL}."
        ),
    );
}

#[test]
fn a_large_order_says_whose_word_it_waits_for() {
    let mut order = waiting("for a person to approve 120.00 EUR", Some(NEXT), &["approval"]);
    order.attention = Some("approval".to_owned());
    says(
        &order,
        WaitsFor::Person,
        &format!(
            "It waits for a person to approve 120.00 EUR since 2026-03-01T09:00:05Z, until \
             2026-03-01T09:02:00Z at most, by the link in the list of what needs attention; \
             {CAN_CANCEL}."
        ),
    );
}

#[test]
fn an_order_that_waits_for_a_signal_says_for_which() {
    let order = waiting("for the barista", None, &["task"]);
    says(
        &order,
        WaitsFor::Signal,
        &format!("It waits for the barista since 2026-03-01T09:00:05Z; {CAN_CANCEL}."),
    );
}

#[test]
fn a_paused_order_says_who_paused_it_and_why() {
    says(
        &paused(order("PAID", 1), Some("the till is being moved")),
        WaitsFor::Resumption,
        &format!(
            "It was paused at 2026-03-01T09:02:00Z by ada (“the till is being moved”), and no step \
             is begun before it is resumed; {CAN_CANCEL}."
        ),
    );
    let waiting = waiting("for the time to begin", Some(NEXT), &["pickup_at"]);
    says(
        &paused(waiting, None),
        WaitsFor::Resumption,
        &format!(
            "It was paused at 2026-03-01T09:02:00Z by ada, and no step is begun before it is \
             resumed; {CAN_CANCEL}."
        ),
    );
}
