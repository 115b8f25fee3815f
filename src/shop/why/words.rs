//! The words that sentences about orders are made of.

use jiff::{Timestamp, Unit};

use crate::{
    saga::history::StepStatus,
    shop::{
        message::amount,
        view::{OrderView, StepOut},
    },
};

/// Errors of participants are cut to this many characters.
const ERROR_CHARACTERS_MAX: usize = 160;

/// Who is asked, and for what.
pub(super) struct Task {
    pub who: String,
    pub what: String,
}

impl Task {
    fn new(who: &str, what: impl Into<String>) -> Self {
        Self { who: who.to_owned(), what: what.into() }
    }
}

/// What a step asks for.
pub(super) fn task(step: &str, order: &OrderView) -> Task {
    match step {
        "payment" => {
            let total = amount(order.total, &order.currency);
            Task::new("the payment provider", format!("take {total}"))
        }
        "preparation" => Task::new("the kitchen", "make the order"),
        "go_ahead" => Task::new("the shop", "let it be made"),
        "inventory" => Task::new("the stock", "give up the ingredients"),
        "notification" => Task::new("the notifier", "tell the customer"),
        other => Task::new("a participant", format!("do `{other}`")),
    }
}

/// What its compensation asks for.
pub(super) fn undoing(step: &str, order: &OrderView) -> Task {
    match step {
        "payment" if order.money.captured > 0 => {
            let captured = amount(order.money.captured, &order.currency);
            Task::new("the payment provider", format!("return {captured}"))
        }
        "payment" => Task::new(
            "the payment provider",
            "say whether it took the money, and to return it if so",
        ),
        "preparation" => Task::new("the kitchen", "call the ticket off"),
        other => Task::new("a participant", format!("take `{other}` back")),
    }
}

/// Why an order goes backwards.
pub(super) fn cause(order: &OrderView) -> String {
    if order.cancellation.is_some() {
        return "it was cancelled".to_owned();
    }
    let failed = |it: &&StepOut| matches!(it.state, StepStatus::Refused | StepStatus::InDoubt);
    let Some(step) = order.steps.iter().find(failed) else {
        return "a step could not be done".to_owned();
    };
    let Task { who, what } = task(step.name, order);
    let error = step.last_error.as_deref().map(|it| format!(" ({})", quoted(it)));
    let error = error.unwrap_or_default();
    match step.state {
        StepStatus::Refused => format!("{who} refused to {what}{error}"),
        _ => format!("{who} gave no answer to the request to {what}{error}"),
    }
}

/// How an order ended.
pub(super) fn ended(order: &OrderView, closed_at: Timestamp) -> String {
    let at = second(closed_at);
    let reason = order.closed_reason.as_deref().map(because);
    let reason = reason.unwrap_or("a step could not be done");
    match order.status.as_str() {
        "COMPLETED" => completed(order, &at),
        "REFUNDED" => format!(
            "It ended REFUNDED at {at} because {reason}; {} of {} taken were returned.",
            amount(order.money.refunded, &order.currency),
            amount(order.money.captured, &order.currency),
        ),
        status => format!("It ended {status} at {at} because {reason}; no money is held."),
    }
}

fn completed(order: &OrderView, at: &str) -> String {
    let notification = order.steps.iter().find(|it| it.name == "notification");
    let told = match notification.filter(|it| it.state != StepStatus::Done) {
        None => "the customer was told".to_owned(),
        Some(step) => {
            let error = step.last_error.as_deref().map(|it| format!(" ({})", quoted(it)));
            let error = error.unwrap_or_default();
            format!("the customer could not be told in {} attempts{error}", step.attempts)
        }
    };
    match order.collected_at {
        Some(collected) => {
            format!(
                "It was completed at {at}, {told}, and it was collected at {}.",
                second(collected)
            )
        }
        None => format!(
            "It was completed at {at}, {told}, and it waits to be collected with code {}.",
            order.pickup_code
        ),
    }
}

fn because(reason: &str) -> &str {
    match reason {
        "payment_declined" => "the payment was declined",
        "payment_refused" => "the payment was refused",
        "payment_unavailable" => "the payment provider gave no answer",
        "preparation_failed" => "the kitchen could not make it",
        "inventory_failed" => "an ingredient had run out",
        "cancelled_by_customer" => "the customer cancelled it",
        "cancelled_by_shop" => "the shop cancelled it",
        "timed_out" => "it took too long",
        "not_approved" => "nobody of the shop approved it",
        other => other,
    }
}

/// A sentence as sentences begin.
pub(super) fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

/// A time to the second, in UTC.
pub(super) fn second(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// What a participant said, within bounds and on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .take(ERROR_CHARACTERS_MAX)
        .collect();
    if text.chars().nth(ERROR_CHARACTERS_MAX).is_some() {
        line.push('…');
    }
    format!("“{line}”")
}
