//! Orders that stand before a participant that may not be called.

use super::*;

const SINCE: &str = "2026-03-01T09:00:30Z";

fn held_up(order: &OrderView, by: &HeldUp) -> Why {
    Why::of(order, &Policies::default(), Some(by), &[])
}

fn slot(in_use: u32, max: u32) -> HeldUp {
    HeldUp::Slot { participant: "payment", in_use, max }
}

fn circuit(next_probe_at: Option<&str>, held: bool) -> HeldUp {
    let (since, next_probe_at) = (at(SINCE), next_probe_at.map(at));
    HeldUp::Circuit { participant: "payment", since, next_probe_at, held }
}

#[test]
fn an_order_that_waits_for_a_slot_says_how_many_are_taken() {
    let why = held_up(&running(0, 1, None), &slot(7, 7));
    assert_eq!(
        why.why,
        format!(
            "Waiting for a slot: 7 of 7 in payment; then the payment provider is asked to take 7.50 EUR; \
             {CAN_CANCEL}."
        )
    );
    assert_eq!((why.waits_for, why.next_at), (WaitsFor::Slot, None));
    let why = held_up(&running(0, 2, Some("504")), &slot(0, 0));
    assert_eq!(
        why.why,
        format!(
            "Waiting for a slot: an operator lets nobody call payment; then the payment provider is asked to \
             take 7.50 EUR; the attempt before ended with “504”; {CAN_CANCEL}."
        )
    );
}

#[test]
fn an_order_that_waits_for_the_rate_says_what_it_is() {
    let rate = |rate| HeldUp::Rate { participant: "kitchen", rate };
    let why = held_up(&running(1, 1, None), &rate(10.0));
    assert_eq!(
        why.why,
        format!(
            "Waiting for the rate of kitchen (10 a second); then the kitchen is asked to make the order; \
             {CAN_CANCEL}."
        )
    );
    assert_eq!(why.waits_for, WaitsFor::Rate);
    assert!(held_up(&running(1, 1, None), &rate(0.5)).why.contains("(0.5 a second)"));
}

#[test]
fn an_order_before_an_open_circuit_says_since_when_and_when_it_is_tried() {
    let why = held_up(&running(0, 1, None), &circuit(Some(NEXT), false));
    assert_eq!(
        why.why,
        format!(
            "Payment's circuit is open since {SINCE}; the next probe is at {NEXT}; then the payment provider \
             is asked to take 7.50 EUR when it answers; {CAN_CANCEL}."
        )
    );
    assert_eq!((why.waits_for, why.next_at), (WaitsFor::Circuit, Some(at(NEXT))));
    let why = held_up(&running(0, 1, None), &circuit(None, false));
    assert!(why.why.contains(&format!("since {SINCE}; a probe is under way; then")), "{}", why.why);
    let why = held_up(&running(0, 1, None), &circuit(None, true));
    assert_eq!(
        why.why,
        format!(
            "An operator holds payment's circuit open since {SINCE}; then the payment provider is asked to \
             take 7.50 EUR when it is closed; {CAN_CANCEL}."
        )
    );
}

#[test]
fn an_order_that_goes_back_waits_as_well() {
    let order = backward((1, StepStatus::Refused), 0, StepStatus::Running, 2);
    let why = held_up(&order, &slot(7, 7));
    assert!(
        why.why.contains(
            ": waiting for a slot: 7 of 7 in payment; then the payment provider is asked to return 7.50 EUR; the \
             attempt before ended with “502”; this goes on until it succeeds."
        ),
        "{}",
        why.why
    );
    assert_eq!(why.waits_for, WaitsFor::Slot);
}

#[test]
fn an_order_whose_time_has_not_come_waits_for_that_first() {
    let why = held_up(&waiting(0, 1), &slot(7, 7));
    assert_eq!((why.waits_for, why.next_at), (WaitsFor::NextAttempt, Some(at(NEXT))));
    assert_eq!(running_step(&waiting(0, 1)), None);
    assert_eq!(running_step(&running(2, 1, None)), Some("inventory"));
    assert_eq!(running_step(&closed("COMPLETED", None, 750)), None);
    let back = backward((1, StepStatus::Refused), 0, StepStatus::Running, 2);
    assert_eq!(running_step(&back), Some("payment"));
}
