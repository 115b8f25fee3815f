//! The order saga: the list, and how it ends. Its steps stand in the same order.

mod go_ahead;
mod steps;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::Notify;

pub use self::{
    go_ahead::{
        APPROVAL_SIGNAL, Decision, GoAhead, GoAheadPolicy, Moved, PICKUP_SIGNAL, RESERVED_SIGNALS,
        WentAhead, pickup_at,
    },
    steps::{Deducted, Inventory, Notification, Payment, Preparation},
};
use super::{
    books::{Effect, Notice},
    kitchen::Kitchen,
    message::{self, End},
    notices::Notifier,
    order::{Channel, Order},
    participant::Call,
    payments::Payments,
};
use crate::saga::{
    Close, Definitions, Ending, Lane, Policy, Saga, Step, StepError, decide::CANCELLED,
    event::Progress,
};

/// The definition's name and its newest version: what a new order is pinned to.
pub const ORDER_SAGA: (&str, i32) = ("order", 2);

/// The name of the participant that customers are told by.
pub(super) const NOTIFIER: &str = "notifier";

/// Whether a notice goes to the notifier: what is only logged calls nobody, and an endpoint with a name of its own
/// is another service.
pub(super) fn calls_notifier(order: &Order) -> bool {
    order.channel == Channel::Webhook && order.notify_to.is_none()
}

/// The services an order needs.
#[derive(Debug, Clone)]
pub struct Participants {
    /// Takes and returns money.
    pub payments: Payments,
    /// Makes what is ordered.
    pub kitchen: Kitchen,
    /// Tells the customer.
    pub notices: Notices,
}

/// Where notices go, by what the order says.
#[derive(Debug, Clone)]
pub struct Notices {
    /// Signed webhooks of orders that name no endpoint.
    pub webhook: Notifier,
    /// The endpoints that orders may name.
    pub endpoints: BTreeMap<String, Notifier>,
}

impl Notices {
    /// Whether orders may name this endpoint.
    pub fn has(&self, endpoint: &str) -> bool {
        self.endpoints.contains_key(endpoint)
    }

    /// Sends by the order's channel and endpoint. One that is not set up any more may be again: then it is
    /// sent with a later attempt.
    pub async fn send(&self, order: &Order, call: Call<'_>, body: &str) -> Result<(), StepError> {
        match (order.channel, &order.notify_to) {
            (Channel::Log, _) => Notifier::Log.send(call, body).await,
            (Channel::Webhook, None) => self.webhook.send(call, body).await,
            (Channel::Webhook, Some(to)) => match self.endpoints.get(to) {
                Some(endpoint) => endpoint.send(call, body).await,
                None => Err(StepError::in_doubt(format!("no endpoint `{to}` is set up here"))),
            },
        }
    }
}

/// The policies of the order saga's steps.
#[derive(Debug, Clone, Copy)]
pub struct Policies {
    /// What an order may have to wait for before it is made.
    pub go_ahead: GoAheadPolicy,
    /// Captures and refunds.
    pub payment: Policy,
    /// Tickets.
    pub preparation: Policy,
    /// The notice of completion.
    pub notification: Policy,
}

impl Default for Policies {
    fn default() -> Self {
        let payment = Policy::default();
        let minutes = |it: u64| Duration::from_secs(it * 60);
        // The kitchen's progress is its heartbeat: ten seconds without any end a try long before the
        // quarter of an hour that a busy bar may take.
        let silence = Some(Duration::from_secs(10));
        let preparation = Policy { start_to_close: minutes(15), heartbeat: silence, ..payment };
        let notification =
            Policy { start_to_close: Duration::from_secs(10), attempts_max: 5, ..payment };
        Self { go_ahead: GoAheadPolicy::default(), payment, preparation, notification }
    }
}

/// Every version of the order saga that orders may be pinned to.
pub fn definitions(
    participants: Participants,
    policies: Policies,
    notices_due: Arc<Notify>,
) -> Definitions<Effect> {
    let first = first(participants.clone(), policies, notices_due.clone());
    Definitions::default().register(first).register(order_saga(participants, policies, notices_due))
}

/// Version 1: what is paid is made at once. Orders of it are finished as they were begun.
fn first(
    Participants { payments, kitchen, notices }: Participants,
    policies: Policies,
    notices_due: Arc<Notify>,
) -> Saga<Order, Effect> {
    Saga::new(ORDER_SAGA.0, 1, "PENDING", told(notices_due))
        .step(Payment { payments, policy: policies.payment })
        .step(Preparation { kitchen, policy: policies.preparation })
        .pivot(Inventory)
        .best_effort(Notification { notices, policy: policies.notification })
}

/// The order saga, version 2: what is paid may have to wait before it is made, and an order may be worth
/// having until some time only. `notices_due` is told of every notice that a closing commit will hold.
pub fn order_saga(
    Participants { payments, kitchen, notices }: Participants,
    policies: Policies,
    notices_due: Arc<Notify>,
) -> Saga<Order, Effect> {
    Saga::new(ORDER_SAGA.0, ORDER_SAGA.1, "PENDING", told(notices_due))
        .deadline(|order: &Order, _| order.ready_by)
        .step(Payment { payments, policy: policies.payment })
        .step(GoAhead { policy: policies.go_ahead })
        .step(Preparation { kitchen, policy: policies.preparation })
        .pivot(Inventory)
        .best_effort(Notification { notices, policy: policies.notification })
}

fn told(notices_due: Arc<Notify>) -> impl Fn(&Order, &Ending<'_>) -> Close<Effect> + Send + Sync {
    move |order, ending| {
        let close = closing(order, ending);
        if close.status != "COMPLETED" {
            notices_due.notify_one();
        }
        close
    }
}

/// The end of an order: REFUNDED when money had been captured, else CANCELLED or FAILED by the cause. The
/// reservation goes back and the customer is told in the commit that closes it.
fn closing(order: &Order, ending: &Ending<'_>) -> Close<Effect> {
    let Some(cause) = ending.cause else {
        let effects = untold(order, ending).into_iter().collect();
        return Close { status: "COMPLETED", reason: None, effects, lane: Lane::Own };
    };
    let undone = ending.compensated(Payment::NAME).unwrap_or_default();
    let refunded = undone.get("refunded").and_then(Value::as_i64).filter(|it| *it > 0);
    let currency = undone.get("currency").and_then(Value::as_str).unwrap_or(&order.currency);
    let reason = reason(cause, ending.cancelled_by);
    let status = match (refunded.is_some(), cause) {
        (true, _) => "REFUNDED",
        (false, CANCELLED) => "CANCELLED",
        (false, _) => "FAILED",
    };
    let returned = refunded.map(|it| (it, currency));
    let words = ending.cancel_reason.filter(|_| cause == CANCELLED);
    let end = End { status, reason: Some(&reason), words, returned };
    let effects = vec![
        Effect::Release { needs: order.needs.clone(), pickup_code: order.pickup_code.clone() },
        Effect::Notice(message::notice(ending.saga_id, order, end)),
    ];
    Close { status, reason: Some(reason), effects, lane: Lane::Shared }
}

/// The notice of completion, should the customer not have got it: listed, for people to see to.
fn untold(order: &Order, ending: &Ending<'_>) -> Option<Effect> {
    let step = ending.state.named(Notification::NAME)?;
    let was_told = step.progress == Progress::Done;
    let notice = message::notice(ending.saga_id, order, End::COMPLETED);
    let given_up_after = Some(step.attempts);
    (!was_told).then_some(Effect::Notice(Notice { given_up_after, ..notice }))
}

/// The stable code for why an order did not complete.
fn reason(cause: &str, cancelled_by: Option<&str>) -> String {
    let code = match (cause, cancelled_by) {
        (CANCELLED, Some("shop")) => "cancelled_by_shop",
        (CANCELLED, _) => "cancelled_by_customer",
        ("payment_declined" | "payment_unavailable", _) => cause,
        (other, _) if other.starts_with("payment_") => "payment_refused",
        (other, _) if other.starts_with("preparation_") => "preparation_failed",
        (other, _) if other.starts_with("inventory_") => "inventory_failed",
        ("approval_refused", _) => "not_approved",
        ("approval_timed_out", _) => "not_approved",
        (other, _) => other,
    };
    code.to_owned()
}
