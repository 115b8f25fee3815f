//! Orders that are paused, or wait for a time, a signal or a person.

use jiff::Timestamp;

use super::{WaitsFor, at_hand, outlook, quoted, second, words::clean};
use crate::shop::view::{OrderView, PausedOut, WaitOut};

/// The sentence, what is waited for, since when, and when it goes on by itself.
pub(super) fn of(order: &OrderView) -> Option<(String, WaitsFor, Timestamp, Option<Timestamp>)> {
    if let Some(paused) = &order.paused {
        let told = format!("{}; {}.", told_pause(paused), outlook(order));
        return Some((told, WaitsFor::Resumption, paused.at, None));
    }
    let step = at_hand(order)?;
    let wait = step.waits_for.as_ref()?;
    let since = step.started_at.unwrap_or(order.updated_at);
    let needs_a_person = order.attention.is_some();
    let waits_for = match (needs_a_person, wait.signals.is_empty(), order.pickup_at) {
        (true, _, _) => WaitsFor::Person,
        (false, _, Some(_)) | (false, true, None) => WaitsFor::Time,
        (false, false, None) => WaitsFor::Signal,
    };
    let told = format!("{}; {}.", told_wait(order, wait, since), outlook(order));
    Some((told, waits_for, since, wait.until))
}

fn told_pause(paused: &PausedOut) -> String {
    let reason = paused.reason.as_deref().map(|it| format!(" ({})", quoted(it)));
    format!(
        "it was paused at {} by {}{}, and no step is begun before it is resumed",
        second(paused.at),
        clean(&paused.by),
        reason.unwrap_or_default()
    )
}

fn told_wait(order: &OrderView, wait: &WaitOut, since: Timestamp) -> String {
    let until = wait.until.map(|it| format!(", until {} at most", second(it)));
    let until = until.unwrap_or_default();
    match (&order.attention, order.pickup_at, wait.until) {
        (Some(_), _, _) => {
            format!(
                "it waits {} since {}{until}, by the link in the list of what needs attention",
                clean(&wait.what),
                second(since)
            )
        }
        (None, Some(pickup_at), Some(begin)) => format!(
            "it is to be ready at {} and will be begun at {}; it can be moved until then",
            second(pickup_at),
            second(begin)
        ),
        (None, _, _) => format!("it waits {} since {}{until}", clean(&wait.what), second(since)),
    }
}
