//! Why an order stands where it does: one true sentence, from data.
//!
//! Pure: it is made of the order as it is shown and of the steps' policies, and knows no clock. What it says
//! is what the order says of itself, put together: what is waited for, since when, what was tried, what
//! happens next and when, and who can change it. It is never empty.

mod held;
mod pulled;
mod rests;
mod suspended;
#[cfg(test)]
mod tests;
mod words;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::held::HeldUp;
use self::rests::{ends, rests};
use self::{
    pulled::{is_pulled, pulled, whether_to_cancel},
    words::{Task, capitalised, cause, ended, quoted, second, task, undoing},
};
use super::{
    saga::Policies,
    view::{CompensationOut, OrderView, StepOut},
};
use crate::saga::{history::StepStatus, journal::task::look::Awaited};

/// Why an order stands where it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Why {
    /// The order.
    pub order_id: Uuid,
    /// Its status.
    pub status: String,
    /// One sentence, for people.
    pub why: String,
    /// What has to happen before the order goes on.
    pub waits_for: WaitsFor,
    /// Since when it stands so.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When the service does the next thing by itself; null when that depends on others.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// Who can change it, and how.
    pub actions: Vec<&'static str>,
}

/// What has to happen before an order goes on. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// The answer of a participant, or of our own books.
    Answer,
    /// The time of the next attempt.
    NextAttempt,
    /// A worker has to ask for it, or to make it.
    Worker,
    /// As many calls of its participant are in flight as may be.
    Slot,
    /// As many calls of its participant have gone out as may a second.
    Rate,
    /// Its participant does not answer, so that it is not called.
    Circuit,
    /// The time to begin.
    Time,
    /// A signal, or the time after which none is waited for.
    Signal,
    /// Somebody paused it, and has to resume it.
    Resumption,
    /// A person has to look; attempts may go on meanwhile.
    Person,
    /// The customer has to collect it.
    Collection,
    /// Nothing: it has ended.
    Nothing,
}

/// Attempts of a step at most; `None` when it is tried until it succeeds.
fn attempts_max(policies: &Policies, step: &str) -> Option<u32> {
    match step {
        "payment" => Some(policies.payment.attempts_max),
        "preparation" => Some(policies.preparation.attempts_max),
        "notification" => Some(policies.notification.attempts_max),
        _ => None,
    }
}

impl Why {
    /// Why this order stands where it does, what keeps its step at hand from being called, if that is so, and which
    /// tickets are open that workers pull.
    pub fn of(
        order: &OrderView,
        policies: &Policies,
        held_up: Option<&HeldUp>,
        awaited: &[Awaited],
    ) -> Self {
        let (sentence, waits_for, since, next_at) = if let Some(closed_at) = order.closed_at {
            let waits = ends(order);
            (ended(order, closed_at), waits, closed_at, None)
        } else if let Some((step, undo)) = compensating(order) {
            let held_up = held_up.filter(|_| undo.state == StepStatus::Running);
            let (waits, next_at) = held_up.map_or_else(
                || rests(order, undo.state, undo.next_attempt_at),
                |it| (it.waits_for(), it.next_at()),
            );
            (going_back(order, step, undo, held_up), waits, order.updated_at, next_at)
        } else if let Some(step) =
            at_hand(order).filter(|it| is_pulled(order, it, awaited) && order.paused.is_none())
        {
            let since = step.started_at.unwrap_or(order.updated_at);
            (pulled(order, step, awaited), WaitsFor::Worker, since, step.next_attempt_at)
        } else if let Some(suspended) = suspended::of(order) {
            suspended
        } else if let Some(step) = at_hand(order) {
            let held_up = held_up.filter(|_| step.state == StepStatus::Running);
            let (waits, next_at) = held_up.map_or_else(
                || rests(order, step.state, step.next_attempt_at),
                |it| (it.waits_for(), it.next_at()),
            );
            let since = step.started_at.unwrap_or(order.updated_at);
            let max = attempts_max(policies, step.name);
            (going_on(order, step, max, held_up), waits, since, next_at)
        } else {
            let sentence = format!(
                "Every step is behind, and the end is being written down since {}.",
                second(order.updated_at)
            );
            (sentence, WaitsFor::Answer, order.updated_at, None)
        };
        Self {
            order_id: order.id,
            status: order.status.clone(),
            why: capitalised(&sentence),
            waits_for,
            since,
            next_at,
            actions: order.actions.clone(),
        }
    }
}

/// The step that is being executed or compensated, or is about to be.
pub(super) fn running_step(order: &OrderView) -> Option<&'static str> {
    if order.closed_at.is_some() {
        return None;
    }
    if let Some((step, undo)) = compensating(order) {
        return (undo.state == StepStatus::Running).then_some(step.name);
    }
    at_hand(order).filter(|it| it.state == StepStatus::Running).map(|it| it.name)
}

/// The step at hand while the order goes forward.
fn at_hand(order: &OrderView) -> Option<&StepOut> {
    let is_open = |it: &&StepOut| matches!(it.state, StepStatus::Running | StepStatus::Waiting);
    order.steps.iter().find(is_open)
}

/// The compensation at hand while it goes backwards: the last one that is not done.
fn compensating(order: &OrderView) -> Option<(&StepOut, &CompensationOut)> {
    let open = |step: &'_ StepOut| {
        step.compensation.as_ref().is_some_and(|it| it.state != StepStatus::Done)
    };
    let step = order.steps.iter().rev().find(|it| open(it))?;
    Some((step, step.compensation.as_ref()?))
}

fn going_on(
    order: &OrderView,
    step: &StepOut,
    max: Option<u32>,
    held_up: Option<&HeldUp>,
) -> String {
    let Task { who, what } = task(step.name, order);
    let since = second(step.started_at.unwrap_or(order.updated_at));
    let error = step.last_error.as_deref().map(quoted);
    let of = max.map(|it| format!(" of {it}")).unwrap_or_default();
    let attempts = step.attempts;
    if let Some(held_up) = held_up {
        return format!("{}; {}.", held_up.told(&who, &what, error.as_deref()), outlook(order));
    }
    let told = match (&order.attention, step.state) {
        (Some(reason), _) => parked(reason, &who, &what, error.as_deref(), step.next_attempt_at),
        (None, StepStatus::Waiting) => {
            let next = step.next_attempt_at.map(second).unwrap_or_else(|| "once".to_owned());
            let because = error.map(|it| format!(": the last one ended with {it}"));
            format!(
                "{who} will be asked again to {what} at {next}, after {attempts}{of} attempts since {since}{}",
                because.unwrap_or_default()
            )
        }
        (None, _) => {
            let progress = step.progress.as_ref().and_then(|it| it.get("percent")?.as_f64());
            let progress = progress.map(|it| format!(", and is {it} % done"));
            let after = error.map(|it| format!("; the attempt before ended with {it}"));
            format!(
                "{who} has been asked to {what} since {since} (attempt {attempts}{of}){}{}",
                progress.unwrap_or_default(),
                after.unwrap_or_default()
            )
        }
    };
    format!("{told}; {}.", outlook(order))
}

/// What can still be done about an order that goes forward.
fn outlook(order: &OrderView) -> String {
    let cancel = whether_to_cancel(order);
    match order.actions.contains(&"retry") {
        true => format!("an operator can retry now, and {cancel}"),
        false => cancel.to_owned(),
    }
}

fn going_back(
    order: &OrderView,
    step: &StepOut,
    undo: &CompensationOut,
    held_up: Option<&HeldUp>,
) -> String {
    let Task { who, what } = undoing(step.name, order);
    let cause = cause(order);
    let error = undo.last_error.as_deref().map(quoted);
    let told = match (&order.attention, undo.state) {
        (_, StepStatus::Running) if let Some(held_up) = held_up => {
            held_up.told(&who, &what, error.as_deref())
        }
        (Some(reason), _) => parked(reason, &who, &what, error.as_deref(), undo.next_attempt_at),
        (None, StepStatus::Waiting) => {
            let next = undo.next_attempt_at.map(second).unwrap_or_else(|| "once".to_owned());
            let because = error.map(|it| format!(": the last one ended with {it}"));
            format!(
                "{who} will be asked again to {what} at {next}, after {} attempts{}",
                undo.attempts,
                because.unwrap_or_default()
            )
        }
        (None, _) => {
            let after = error.map(|it| format!("; the attempt before ended with {it}"));
            format!(
                "{who} has been asked to {what} since {} (attempt {}){}",
                second(order.updated_at),
                undo.attempts,
                after.unwrap_or_default()
            )
        }
    };
    let retry =
        if order.actions.contains(&"retry") { ", and an operator can retry now" } else { "" };
    format!(
        "The order is being taken back because {cause}: {told}; this goes on until it succeeds{retry}."
    )
}

fn parked(
    reason: &str,
    who: &str,
    what: &str,
    error: Option<&str>,
    next_at: Option<Timestamp>,
) -> String {
    let error = error.map(|it| format!(" ({it})")).unwrap_or_default();
    match reason {
        "crash_loop" => format!(
            "a person is needed: replicas died again and again while {who} was asked to {what}, so it was \
             set aside and nothing happens by itself"
        ),
        "journal_unreadable" => {
            "a person is needed: this binary cannot read the order's journal, so it was set aside"
                .to_owned()
        }
        "transition_impossible" => format!(
            "a person is needed: the database refuses what should be written after {who} was asked to {what}{error}"
        ),
        reason => {
            let next = next_at.map(|it| format!("; the next attempt is at {}", second(it)));
            format!(
                "a person is needed ({reason}): {who} was asked to {what}, in vain{error}{}",
                next.unwrap_or_default()
            )
        }
    }
}
