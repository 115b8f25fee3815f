//! Orders that go back, and ends.

use super::*;

#[test]
fn an_order_that_goes_back_says_why_and_what_is_taken_back() {
    let failures = [
        (
            0,
            StepStatus::InDoubt,
            "the payment provider gave no answer to the request to take 7.50 EUR",
        ),
        (1, StepStatus::Refused, "the kitchen refused to make the order"),
        (1, StepStatus::InDoubt, "the kitchen gave no answer to the request to make the order"),
        (2, StepStatus::Refused, "the stock refused to give up the ingredients"),
    ];
    for (failed, state, cause) in failures {
        let undo = match failed {
            0 => "say whether it took the money, and to return it if so",
            _ => "return 7.50 EUR",
        };
        let begins =
            format!("The order is being taken back because {cause} (“no answer within 30 s”): ");
        let ends = "this goes on until it succeeds";
        says(
            &backward((failed, state), 0, StepStatus::Running, 1),
            &format!(
                "{begins}the payment provider has been asked to {undo} since 2026-03-01T09:00:05Z (attempt \
                 1); {ends}."
            ),
        );
        says(
            &backward((failed, state), 0, StepStatus::Running, 3),
            &format!(
                "{begins}the payment provider has been asked to {undo} since 2026-03-01T09:00:05Z (attempt \
                 3); the attempt before ended with “502”; {ends}."
            ),
        );
        let order = backward((failed, state), 0, StepStatus::Waiting, 3);
        says(
            &order,
            &format!(
                "{begins}the payment provider will be asked again to {undo} at {NEXT}, after 3 attempts: the \
                 last one ended with “502”; {ends}, and an operator can retry now."
            ),
        );
        assert_eq!(why(&order).next_at, Some(at(NEXT)));
        let order = parked(order, "payment_compensation");
        says(
            &order,
            &format!(
                "{begins}a person is needed (payment_compensation): the payment provider was asked to {undo}, \
                 in vain (“502”); the next attempt is at {NEXT}; {ends}, and an operator can retry now."
            ),
        );
        assert_eq!(why(&order).waits_for, WaitsFor::Person);
    }
}

#[test]
fn the_last_step_that_may_have_happened_is_taken_back_first() {
    let mut order = backward((2, StepStatus::Refused), 1, StepStatus::Running, 1);
    order.steps[0].compensation = Some(CompensationOut {
        state: StepStatus::Pending,
        attempts: 0,
        last_error: None,
        next_attempt_at: None,
    });
    says(
        &order,
        "The order is being taken back because the stock refused to give up the ingredients (“no answer within \
         30 s”): the kitchen has been asked to call the ticket off since 2026-03-01T09:00:05Z (attempt 1); \
         this goes on until it succeeds.",
    );
}

#[test]
fn a_cancelled_order_goes_back_because_it_was_cancelled() {
    let mut order = backward((1, StepStatus::InDoubt), 0, StepStatus::Running, 1);
    order.cancellation = Some("requested");
    let sentence = why(&order).why;
    assert!(
        sentence.starts_with("The order is being taken back because it was cancelled: "),
        "{sentence}"
    );
}

#[test]
fn every_end_says_why_and_where_the_money_is() {
    let reasons = [
        ("payment_declined", "the payment was declined"),
        ("payment_refused", "the payment was refused"),
        ("payment_unavailable", "the payment provider gave no answer"),
        ("preparation_failed", "the kitchen could not make it"),
        ("inventory_failed", "an ingredient had run out"),
        ("cancelled_by_customer", "the customer cancelled it"),
        ("cancelled_by_shop", "the shop cancelled it"),
        ("timed_out", "it took too long"),
        ("something_new", "something_new"),
    ];
    for (reason, because) in reasons {
        for status in ["FAILED", "CANCELLED"] {
            let order = closed(status, Some(reason), 0);
            says(
                &order,
                &format!("It ended {status} at {ENDED} because {because}; no money is held."),
            );
            assert_eq!(why(&order).waits_for, WaitsFor::Nothing);
        }
        says(
            &closed("REFUNDED", Some(reason), 750),
            &format!(
                "It ended REFUNDED at {ENDED} because {because}; 7.50 EUR of 7.50 EUR taken were returned."
            ),
        );
    }
}

#[test]
fn a_completed_order_waits_to_be_collected() {
    let mut order = closed("COMPLETED", None, 750);
    says(
        &order,
        &format!(
            "It was completed at {ENDED}, the customer was told, and it waits to be collected with code KM47."
        ),
    );
    assert_eq!(why(&order).waits_for, WaitsFor::Collection);
    order.steps[3].state = StepStatus::GivenUp;
    (order.steps[3].attempts, order.steps[3].last_error) =
        (5, Some("connection refused".to_owned()));
    says(
        &order,
        &format!(
            "It was completed at {ENDED}, the customer could not be told in 5 attempts (“connection refused”), \
             and it waits to be collected with code KM47."
        ),
    );
    order.collected_at = Some(at("2026-03-01T09:07:00Z"));
    assert_eq!(why(&order).waits_for, WaitsFor::Nothing);
    assert!(why(&order).why.ends_with("and it was collected at 2026-03-01T09:07:00Z."));
}

#[test]
fn an_order_between_its_last_step_and_its_end_says_so() {
    says(
        &order("READY", 4),
        "Every step is behind, and the end is being written down since 2026-03-01T09:00:05Z.",
    );
}

#[test]
fn what_a_participant_says_stays_on_one_line_and_short() {
    let said = format!("a\nb\u{1b}[31m{}", "x".repeat(1_000));
    let sentence = why(&running(0, 2, Some(&said))).why;
    assert!(sentence.contains("“a b [31mxx") && sentence.contains("x…”"), "{sentence}");
    assert!(sentence.len() < 500 && !sentence.chars().any(char::is_control));
}

#[test]
fn whatever_is_pending_the_sentence_is_never_empty() {
    for done in 0..=4 {
        for status in ["PENDING", "PAID", "PREPARING", "READY"] {
            assert!(!why(&order(status, done)).why.is_empty());
        }
    }
}
