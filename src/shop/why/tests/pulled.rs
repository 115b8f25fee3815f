//! Orders whose tickets workers pull.

use super::*;

fn ticket(queue: &str, before: i64, unasked_s: Option<f64>) -> Awaited {
    let (worker, progress, in_flight, max_in_flight) = (None, None, 0, None);
    let queue = queue.to_owned();
    Awaited { queue, worker, progress, before, unasked_s, in_flight, max_in_flight }
}

fn in_hand(worker: &str, progress: Option<&str>) -> Awaited {
    let (worker, progress) = (Some(worker.to_owned()), progress.map(str::to_owned));
    Awaited { worker, progress, in_flight: 1, ..ticket("bar", 0, Some(1.0)) }
}

/// An order that waits for workers, and what is said of it.
fn says(awaited: &[Awaited], sentence: &str) {
    let order = forward(1, StepStatus::Waiting, 0, None);
    let why = Why::of(&order, &Policies::default(), None, awaited);
    assert_eq!(why.why, format!("{sentence}; it is given up at {NEXT}; {CAN_CANCEL}."));
    assert_eq!((why.waits_for, why.next_at), (WaitsFor::Worker, Some(at(NEXT))));
    assert_eq!(why.since, at(BEGUN));
}

#[test]
fn a_ticket_that_waits_says_what_is_before_it_and_whether_anybody_asks_for_it() {
    says(
        &[ticket("bar", 3, Some(40.2))],
        "It waits for a barista: 3 tickets are before it in bar; nobody has asked for work in bar for 40 s",
    );
    says(&[ticket("bar", 1, Some(2.0))], "It waits for a barista: 1 ticket is before it in bar");
    says(
        &[ticket("bar", 0, None)],
        "It waits for a barista: none is before it in bar; nobody has ever asked for work in bar",
    );
    // Who has work in hand asks for none.
    let busy = Awaited { in_flight: 2, ..ticket("bar", 0, Some(300.0)) };
    says(&[busy], "It waits for a barista: none is before it in bar");
}

#[test]
fn a_full_queue_is_what_a_ticket_waits_for() {
    let full = Awaited { in_flight: 7, max_in_flight: Some(5), ..ticket("bar", 2, None) };
    says(
        &[full],
        "It waits for a barista: 2 tickets are before it in bar; all places of bar are taken (7/5)",
    );
}

#[test]
fn a_ticket_in_hand_says_in_whose_and_how_far_it_is() {
    says(&[in_hand("ada", None)], "Ada is making it at bar");
    says(&[in_hand("ada", Some("{\"percent\":40}"))], "Ada is making it at bar, and is 40 % done");
    says(
        &[in_hand("ada", None), ticket("bar", 1, Some(1.0)), ticket("pastry", 0, None)],
        "Ada is making it at bar; 1 of its 2 tickets waits for a barista: 1 ticket is before it in bar; \
         it waits for a barista: none is before it in pastry; nobody has ever asked for work in pastry",
    );
}

#[test]
fn an_order_that_needs_a_person_says_that_first() {
    let order = parked(forward(1, StepStatus::Waiting, 0, None), "crash_loop");
    let why = Why::of(&order, &Policies::default(), None, &[ticket("bar", 0, None)]);
    assert_eq!(why.waits_for, WaitsFor::Person);
}
