//! Every situation an order can be in, and the sentence that says so.

mod back;
mod held;
mod pulled;
mod suspended;

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::shop::view::MoneyView;

const PLACED: &str = "2026-03-01T09:00:00Z";
const BEGUN: &str = "2026-03-01T09:00:05.4Z";
const NEXT: &str = "2026-03-01T09:02:00Z";
const ENDED: &str = "2026-03-01T09:05:00Z";
const CAN_CANCEL: &str = "the customer or the shop can still cancel";
const RETRY_OR_CANCEL: &str =
    "an operator can retry now, and the customer or the shop can still cancel";
const TOO_LATE: &str = "it is too late to cancel";
const STEPS: [&str; 4] = ["payment", "preparation", "inventory", "notification"];

fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

/// An order whose first `done` steps are done.
fn order(status: &str, done: usize) -> OrderView {
    let steps = STEPS.iter().enumerate().map(|(index, name)| StepOut {
        name,
        state: if index < done { StepStatus::Done } else { StepStatus::Pending },
        attempts: u32::from(index < done),
        started_at: None,
        ended_at: None,
        last_error: None,
        next_attempt_at: None,
        waits_for: None,
        progress: None,
        compensation: None,
    });
    OrderView {
        id: Uuid::nil(),
        customer_id: "ada".to_owned(),
        status: status.to_owned(),
        closed_reason: None,
        attention: None,
        cancellation: None,
        version: 1,
        pickup_code: "KM47".to_owned(),
        collected_at: None,
        pickup_at: None,
        ready_by: None,
        paused: None,
        items: Vec::new(),
        currency: "EUR".to_owned(),
        total: 750,
        money: MoneyView { captured: if done > 0 { 750 } else { 0 }, refunded: 0 },
        attributes: BTreeMap::new(),
        rehearsal: true,
        steps: steps.collect(),
        actions: if done < 3 { vec!["cancel"] } else { Vec::new() },
        created_at: at(PLACED),
        updated_at: at(BEGUN),
        closed_at: None,
    }
}

/// The same with its step at hand in this state.
fn forward(done: usize, state: StepStatus, attempts: u32, error: Option<&str>) -> OrderView {
    let statuses = ["PENDING", "PAID", "PREPARING", "READY"];
    let mut order = order(statuses[done], done);
    let step = &mut order.steps[done];
    (step.state, step.attempts) = (state, attempts);
    step.started_at = Some(at(BEGUN));
    step.last_error = error.map(str::to_owned);
    if state == StepStatus::Waiting {
        step.next_attempt_at = Some(at(NEXT));
        order.actions.push("retry");
    }
    order
}

fn running(done: usize, attempts: u32, error: Option<&str>) -> OrderView {
    forward(done, StepStatus::Running, attempts, error)
}

fn waiting(done: usize, attempts: u32) -> OrderView {
    forward(done, StepStatus::Waiting, attempts, Some("503 from the participant"))
}

fn parked(mut order: OrderView, reason: &str) -> OrderView {
    order.attention = Some(reason.to_owned());
    order
}

fn cancelled(mut order: OrderView) -> OrderView {
    order.cancellation = Some("requested");
    order.actions.retain(|it| *it != "cancel");
    order
}

/// An order that goes back: the step at `failed` was refused, or is in doubt, and the compensation of the step at
/// `undoing` stands so.
fn backward(
    failed: (usize, StepStatus),
    undoing: usize,
    state: StepStatus,
    attempts: u32,
) -> OrderView {
    let mut order = order("PAID", failed.0);
    order.actions.clear();
    let step = &mut order.steps[failed.0];
    (step.state, step.last_error) = (failed.1, Some("no answer within 30 s".to_owned()));
    let waits = state == StepStatus::Waiting;
    order.steps[undoing].compensation = Some(CompensationOut {
        state,
        attempts,
        last_error: (attempts > 1 || waits).then(|| "502".to_owned()),
        next_attempt_at: waits.then(|| at(NEXT)),
    });
    if waits {
        order.actions.push("retry");
    }
    order
}

fn closed(status: &str, reason: Option<&str>, captured: i64) -> OrderView {
    let mut order = order(status, if status == "COMPLETED" { 4 } else { 0 });
    order.closed_at = Some(at(ENDED));
    order.closed_reason = reason.map(str::to_owned);
    order.money =
        MoneyView { captured, refunded: if status == "COMPLETED" { 0 } else { captured } };
    order.actions.clear();
    order
}

fn why(order: &OrderView) -> Why {
    Why::of(order, &Policies::default(), None, &[])
}

fn says(order: &OrderView, sentence: &str) {
    assert_eq!(why(order).why, capitalised(sentence));
}

#[test]
fn a_step_that_runs_says_who_was_asked_for_what_and_since_when() {
    let since = "since 2026-03-01T09:00:05Z";
    let asked = [
        ("the payment provider", "take 7.50 EUR", " of 3", CAN_CANCEL),
        ("the kitchen", "make the order", " of 3", CAN_CANCEL),
        ("the stock", "give up the ingredients", "", CAN_CANCEL),
        ("the notifier", "tell the customer", " of 5", TOO_LATE),
    ];
    for (done, (who, what, of, outlook)) in asked.into_iter().enumerate() {
        let sentence =
            format!("{who} has been asked to {what} {since} (attempt 1{of}); {outlook}.");
        says(&running(done, 1, None), &sentence);
        let again = format!(
            "{who} has been asked to {what} {since} (attempt 2{of}); the attempt before ended with “504”; {outlook}."
        );
        says(&running(done, 2, Some("504")), &again);
    }
}

#[test]
fn a_step_that_waits_says_when_it_goes_on_and_how_many_attempts_it_had() {
    let asked = [
        ("the payment provider", "take 7.50 EUR", " of 3", CAN_CANCEL),
        ("the kitchen", "make the order", " of 3", CAN_CANCEL),
        ("the stock", "give up the ingredients", "", CAN_CANCEL),
        ("the notifier", "tell the customer", " of 5", TOO_LATE),
    ];
    for (done, (who, what, of, outlook)) in asked.into_iter().enumerate() {
        let sentence = format!(
            "{who} will be asked again to {what} at {NEXT}, after 2{of} attempts since \
             2026-03-01T09:00:05Z: the last one ended with “503 from the participant”; an operator can \
             retry now, and {outlook}."
        );
        let order = waiting(done, 2);
        says(&order, &sentence);
        assert_eq!(why(&order).waits_for, WaitsFor::NextAttempt);
        assert_eq!(why(&order).next_at, Some(at(NEXT)));
    }
}

#[test]
fn progress_of_the_kitchen_is_told() {
    let mut order = running(1, 1, None);
    order.steps[1].progress = Some(json!({ "percent": 40 }));
    says(
        &order,
        "the kitchen has been asked to make the order since 2026-03-01T09:00:05Z (attempt 1 of 3), and is \
         40 % done; the customer or the shop can still cancel.",
    );
}

#[test]
fn a_cancellation_under_way_is_told() {
    let outlook = "a cancellation was accepted and follows once this attempt has ended";
    for done in 0..3 {
        let sentence = why(&cancelled(running(done, 1, None))).why;
        assert!(sentence.ends_with(&format!("; {outlook}.")), "{sentence}");
    }
    says(
        &cancelled(waiting(0, 1)),
        &format!(
            "the payment provider will be asked again to take 7.50 EUR at {NEXT}, after 1 of 3 attempts since \
             2026-03-01T09:00:05Z: the last one ended with “503 from the participant”; an operator can retry \
             now, and {outlook}."
        ),
    );
}

#[test]
fn a_parked_order_says_that_a_person_is_needed_and_whether_it_goes_on_meanwhile() {
    let payment = parked(waiting(0, 1), "amount_mismatch");
    says(
        &payment,
        &format!(
            "A person is needed (amount_mismatch): the payment provider was asked to take 7.50 EUR, in vain \
             (“503 from the participant”); the next attempt is at {NEXT}; {RETRY_OR_CANCEL}."
        ),
    );
    assert_eq!(why(&payment).waits_for, WaitsFor::Person);
    says(
        &parked(waiting(2, 4), "inventory_failed"),
        &format!(
            "A person is needed (inventory_failed): the stock was asked to give up the ingredients, in vain \
             (“503 from the participant”); the next attempt is at {NEXT}; {RETRY_OR_CANCEL}."
        ),
    );
    says(
        &parked(running(1, 1, None), "crash_loop"),
        &format!(
            "A person is needed: replicas died again and again while the kitchen was asked to make the order, \
             so it was set aside and nothing happens by itself; {CAN_CANCEL}."
        ),
    );
    says(
        &parked(running(1, 1, None), "journal_unreadable"),
        &format!(
            "A person is needed: this binary cannot read the order's journal, so it was set aside; {CAN_CANCEL}."
        ),
    );
    says(
        &parked(waiting(1, 1), "transition_impossible"),
        &format!(
            "A person is needed: the database refuses what should be written after the kitchen was asked to \
             make the order (“503 from the participant”); {RETRY_OR_CANCEL}."
        ),
    );
}
