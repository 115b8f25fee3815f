//! What is said of an order whose tickets workers pull.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Awaited, OrderView, StepOut, StepStatus, words::second};
use crate::saga::UNSERVED_AFTER;

/// Whether what the step at hand waits for is workers.
pub(super) fn is_pulled(order: &OrderView, step: &StepOut, awaited: &[Awaited]) -> bool {
    let waits = step.name == "preparation" && step.state == StepStatus::Waiting;
    waits && order.attention.is_none() && !awaited.is_empty()
}

/// Who is at work, or why nobody is, queue by queue.
pub(super) fn pulled(order: &OrderView, step: &StepOut, awaited: &[Awaited]) -> String {
    let mut queues: BTreeMap<&str, Vec<&Awaited>> = BTreeMap::new();
    for ticket in awaited {
        queues.entry(&ticket.queue).or_default().push(ticket);
    }
    let mut told: Vec<String> =
        queues.into_iter().map(|(queue, of)| of_queue(queue, &of)).collect();
    if let Some(until) = step.next_attempt_at {
        told.push(format!("it is given up at {}", second(until)));
    }
    told.push(whether_to_cancel(order).to_owned());
    format!("{}.", told.join("; "))
}

fn of_queue(queue: &str, tickets: &[&Awaited]) -> String {
    let mut told: Vec<String> = tickets.iter().filter_map(|it| at_work(queue, it)).collect();
    let waiting: Vec<&&Awaited> = tickets.iter().filter(|it| it.worker.is_none()).collect();
    if let Some(first) = waiting.first() {
        let what = match (waiting.len(), tickets.len()) {
            (1, 1) => "it waits for a barista".to_owned(),
            (1, all) => format!("1 of its {all} tickets waits for a barista"),
            (n, all) => format!("{n} of its {all} tickets wait for a barista"),
        };
        let before = match first.before {
            0 => format!("none is before it in {queue}"),
            1 => format!("1 ticket is before it in {queue}"),
            n => format!("{n} tickets are before it in {queue}"),
        };
        told.push(format!("{what}: {before}{}", held_up(queue, first)));
    }
    told.join("; ")
}

/// A worker and how far it is.
fn at_work(queue: &str, ticket: &Awaited) -> Option<String> {
    let worker = ticket.worker.as_ref()?;
    let progress = ticket.progress.as_ref();
    let progress: Option<Value> = progress.and_then(|it| serde_json::from_str(it).ok());
    let percent = progress.as_ref().and_then(|it| it.get("percent")?.as_f64());
    let percent = percent.map(|it| format!(", and is {it} % done")).unwrap_or_default();
    Some(format!("{worker} is making it at {queue}{percent}"))
}

/// What keeps a queue from being worked off, if anything does.
fn held_up(queue: &str, ticket: &Awaited) -> String {
    if let Some(max) = ticket.max_in_flight.filter(|it| i64::from(*it) <= ticket.in_flight) {
        return format!("; all places of {queue} are taken ({}/{max})", ticket.in_flight);
    }
    let is_served = ticket.in_flight > 0;
    match ticket.unasked_s {
        _ if is_served => String::new(),
        None => format!("; nobody has ever asked for work in {queue}"),
        Some(s) if s > UNSERVED_AFTER.as_secs_f64() => {
            format!("; nobody has asked for work in {queue} for {s:.0} s")
        }
        Some(_) => String::new(),
    }
}

/// Whether it is too late to cancel.
pub(super) fn whether_to_cancel(order: &OrderView) -> &'static str {
    match order.cancellation {
        Some(_) => "a cancellation was accepted and follows once this attempt has ended",
        None if order.actions.contains(&"cancel") => "the customer or the shop can still cancel",
        None => "it is too late to cancel",
    }
}
