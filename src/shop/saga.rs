//! The order saga: the list, then its steps in the same order.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    books::{Effect, Money, Notice},
    kitchen::{Kitchen, Ticket, TicketItem},
    message,
    notices::Notifier,
    order::{Channel, Order},
    participant::Call,
    payments::{Payments, Receipt},
};
use crate::saga::{
    Close, Cx, Done, Ending, Lane, Policy, Saga, Step, StepError, decide::CANCELLED,
    event::Progress,
};

/// The definition's name and version: what an order is pinned to.
pub const ORDER_SAGA: (&str, i32) = ("order", 1);

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

/// Where notices go, by the order's channel.
#[derive(Debug, Clone)]
pub struct Notices {
    /// Signed webhooks.
    pub webhook: Notifier,
}

impl Notices {
    /// Sends by the channel.
    pub async fn send(
        &self,
        channel: Channel,
        call: Call<'_>,
        body: &str,
    ) -> Result<(), StepError> {
        match channel {
            Channel::Webhook => self.webhook.send(call, body).await,
            Channel::Log => Notifier::Log.send(call, body).await,
        }
    }
}

/// The policies of the order saga's steps.
#[derive(Debug, Clone, Copy)]
pub struct Policies {
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
        // The kitchen's progress is its heartbeat: ten seconds of silence end a try long before the
        // quarter of an hour that a busy bar may take.
        let silence = Some(Duration::from_secs(10));
        let preparation = Policy { start_to_close: minutes(15), heartbeat: silence, ..payment };
        let notification =
            Policy { start_to_close: Duration::from_secs(10), attempts_max: 5, ..payment };
        Self { payment, preparation, notification }
    }
}

/// The order saga, version 1.
pub fn order_saga(participants: Participants, policies: Policies) -> Saga<Order, Effect> {
    let Participants { payments, kitchen, notices } = participants;
    Saga::new(ORDER_SAGA.0, ORDER_SAGA.1, "PENDING", closing)
        .step(Payment { payments, policy: policies.payment })
        .step(Preparation { kitchen, policy: policies.preparation })
        .pivot(Inventory)
        .best_effort(Notification { notices, policy: policies.notification })
}

/// Captures the total; its compensation voids or refunds.
pub struct Payment {
    payments: Payments,
    policy: Policy,
}

impl Step for Payment {
    const NAME: &'static str = "payment";
    const LABEL_DONE: Option<&'static str> = Some("PAID");
    type Input = Order;
    type Output = Receipt;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        self.policy
    }

    async fn execute(&self, cx: &Cx, order: &Order) -> Result<Done<Receipt, Effect>, StepError> {
        let key = cx.key();
        let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("payment") };
        let captured =
            self.payments.capture(call, order.total, &order.currency, &order.method_token).await;
        let receipt = captured.map_err(|error| match error {
            StepError::Refused { code, detail } => {
                StepError::refused(format!("payment_{code}"), detail)
            }
            other => other,
        })?;
        let money = Effect::Capture(money(&receipt.receipt, receipt.amount, &receipt.currency));
        Ok(Done::new(receipt).with(money))
    }

    /// A capture that answered is refunded; one that did not is voided first, which tells what had
    /// happened and keeps a late capture from ever happening.
    async fn compensate(
        &self,
        cx: &Cx,
        order: &Order,
        receipt: Option<Receipt>,
    ) -> Result<Done<Value, Effect>, StepError> {
        let key = cx.key();
        if let Some(receipt) = receipt {
            let refund = self.refund(cx, order, receipt.amount, &receipt.currency).await?;
            return Ok(Done::new(json!({ "refunded": receipt.amount })).with(refund));
        }
        let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("refund") };
        let voided = self.payments.void(call).await?;
        let Some(amount) = voided.captured.filter(|it| *it > 0) else {
            return Ok(Done::new(json!({ "refunded": 0 })));
        };
        let currency = voided.currency.unwrap_or_else(|| order.currency.clone());
        let refund = self.refund(cx, order, amount, &currency).await?;
        let capture = Effect::Capture(money("found by void", amount, &currency));
        Ok(Done::new(json!({ "refunded": amount })).with(capture).with(refund))
    }
}

impl Payment {
    async fn refund(
        &self,
        cx: &Cx,
        order: &Order,
        amount: i64,
        currency: &str,
    ) -> Result<Effect, StepError> {
        let key = format!("{}/refund", cx.saga_id);
        let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("refund") };
        let refund = self.payments.refund(call, amount, currency).await?;
        Ok(Effect::Refund(money(&refund.receipt, amount, currency)))
    }
}

fn money(receipt: &str, amount: i64, currency: &str) -> Money {
    Money { amount, currency: currency.to_owned(), receipt: receipt.to_owned() }
}

/// Has it made; its compensation calls the ticket off.
pub struct Preparation {
    kitchen: Kitchen,
    policy: Policy,
}

impl Step for Preparation {
    const NAME: &'static str = "preparation";
    type Input = Order;
    type Output = Ticket;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        self.policy
    }

    async fn execute(&self, cx: &Cx, order: &Order) -> Result<Done<Ticket, Effect>, StepError> {
        let key = ticket_key(cx);
        let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("kitchen") };
        let items: Vec<TicketItem> = order.items.iter().map(ticket_item).collect();
        let ticket = self.kitchen.prepare(cx, call, &items).await;
        ticket.map(Done::new).map_err(|error| match error {
            StepError::Refused { code, detail } => {
                StepError::refused(format!("preparation_{code}"), detail)
            }
            other => other,
        })
    }

    async fn compensate(
        &self,
        cx: &Cx,
        order: &Order,
        _: Option<Ticket>,
    ) -> Result<Done<Value, Effect>, StepError> {
        let key = ticket_key(cx);
        let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("kitchen") };
        let called_off = self.kitchen.call_off(call).await?;
        Ok(Done::new(json!({ "wasted": called_off.prepared })))
    }
}

/// The kitchen's key carries the ticket's generation: a new ticket would need a new one, and only after the
/// call-off of the last is confirmed. This version of the saga makes one ticket an order.
fn ticket_key(cx: &Cx) -> String {
    format!("{}/1", cx.key())
}

fn ticket_item(line: &super::order::OrderLine) -> TicketItem {
    TicketItem {
        item: line.item.clone(),
        quantity: u32::try_from(line.quantity).unwrap_or(u32::MAX),
        note: line.note.clone(),
    }
}

/// Uses up what was reserved, in the journal's own commit: the pivot.
pub struct Inventory;

impl Step for Inventory {
    const NAME: &'static str = "inventory";
    const LABEL_DONE: Option<&'static str> = Some("READY");
    type Input = Order;
    type Output = Deducted;
    type Effect = Effect;

    async fn execute(&self, _: &Cx, order: &Order) -> Result<Done<Deducted, Effect>, StepError> {
        if order.mood("inventory").is_some() {
            return Err(StepError::refused("inventory_refused", "the rehearsal refuses it"));
        }
        let ingredients = order.needs.len();
        Ok(Done::new(Deducted { ingredients }).with_shared(Effect::Deduct(order.needs.clone())))
    }
}

/// What the inventory step leaves in the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deducted {
    /// Kinds of ingredients that were deducted.
    pub ingredients: usize,
}

/// Tells the customer that the order is ready. Given up after its attempts: a dead notifier fails no order.
pub struct Notification {
    notices: Notices,
    policy: Policy,
}

impl Step for Notification {
    const NAME: &'static str = "notification";
    type Input = Order;
    type Output = Value;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        self.policy
    }

    async fn execute(&self, cx: &Cx, order: &Order) -> Result<Done<Value, Effect>, StepError> {
        let notice = message::notice(cx.saga_id, order, "COMPLETED", None);
        let rehearse = order.mood("notification");
        let call = Call { key: &notice.message_id, order_id: cx.saga_id, rehearse };
        self.notices.send(order.channel, call, &notice.body).await?;
        Ok(Done::new(json!({ "message_id": notice.message_id })))
    }
}

/// The end of an order: REFUNDED when money had been captured, else CANCELLED or FAILED by the cause. The
/// reservation goes back and the customer is told in the commit that closes it.
fn closing(order: &Order, ending: &Ending<'_>) -> Close<Effect> {
    let Some(cause) = ending.cause else {
        let effects = untold(order, ending).into_iter().collect();
        return Close { status: "COMPLETED", reason: None, effects, lane: Lane::Own };
    };
    let refunded =
        ending.compensated(Payment::NAME).and_then(|it| it.get("refunded")?.as_i64()).unwrap_or(0);
    let reason = reason(cause, ending.cancelled_by);
    let status = match (refunded > 0, cause) {
        (true, _) => "REFUNDED",
        (false, CANCELLED) => "CANCELLED",
        (false, _) => "FAILED",
    };
    let saga_id = ending.saga_id;
    let effects = vec![
        Effect::Release { needs: order.needs.clone(), pickup_code: order.pickup_code.clone() },
        Effect::Notice(message::notice(saga_id, order, status, Some(&reason))),
    ];
    Close { status, reason: Some(reason), effects, lane: Lane::Shared }
}

/// The notice of completion, should the customer not have got it: listed, for people to see to.
fn untold(order: &Order, ending: &Ending<'_>) -> Option<Effect> {
    let step = ending.state.named(Notification::NAME)?;
    let was_told = step.progress == Progress::Done;
    let notice = message::notice(ending.saga_id, order, "COMPLETED", None);
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
        (other, _) => other,
    };
    code.to_owned()
}
