//! The order saga's steps, in the order of the list, each with its compensation beside it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{NOTIFIER, Notices, calls_notifier};
use crate::{
    saga::{Cx, Done, Policy, Step, StepError},
    shop::{
        books::{Effect, Money},
        kitchen::{Kitchen, Ticket, TicketItem},
        message::{self, End},
        order::{Order, OrderLine},
        participant::Call,
        payments::{Payments, Receipt},
        pull,
    },
};

/// Captures the total; its compensation voids or refunds.
pub struct Payment {
    pub(super) payments: Payments,
    pub(super) policy: Policy,
}

impl Step for Payment {
    const NAME: &'static str = "payment";
    const LABEL_DONE: Option<&'static str> = Some("PAID");
    const PARTICIPANT: Option<&'static str> = Some("payment");
    type Input = Order;
    type Output = Receipt;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        self.policy
    }

    fn calls(&self, order: &Order) -> bool {
        order.total != 0
    }

    /// An order that costs nothing is paid without a call: a provider may refuse to take 0.
    async fn execute(&self, cx: &Cx, order: &Order) -> Result<Done<Receipt, Effect>, StepError> {
        if order.total == 0 {
            let (receipt, currency) = ("nothing to pay".to_owned(), order.currency.clone());
            return Ok(Done::new(Receipt { receipt, amount: 0, currency }));
        }
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
        if order.total == 0 {
            return Ok(Done::new(returned(0, &order.currency)));
        }
        let key = cx.key();
        if let Some(receipt) = receipt {
            let refund = self.refund(cx, order, receipt.amount, &receipt.currency).await?;
            let Receipt { amount, currency, .. } = receipt;
            return Ok(Done::new(returned(amount, &currency)).with(refund));
        }
        let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("refund") };
        let voided = self.payments.void(call).await?;
        let Some(amount) = voided.captured.filter(|it| *it > 0) else {
            return Ok(Done::new(json!({ "refunded": 0 })));
        };
        let currency = voided.currency.unwrap_or_else(|| order.currency.clone());
        let refund = self.refund(cx, order, amount, &currency).await?;
        let capture = Effect::Capture(money("found by void", amount, &currency));
        Ok(Done::new(returned(amount, &currency)).with(capture).with(refund))
    }

    fn settled(&self, _: &Order, receipt: Receipt) -> Done<Receipt, Effect> {
        let money = money(&receipt.receipt, receipt.amount, &receipt.currency);
        Done::new(receipt).with(Effect::Capture(money))
    }

    /// A person gave the money back, or knows that there was none: `{"refunded":450,"receipt":"by hand 7"}`.
    fn compensation_settled(
        &self,
        order: &Order,
        captured: Option<Receipt>,
        left: Value,
    ) -> Result<Done<Value, Effect>, StepError> {
        let unfit = |it: &str| StepError::refused("settlement_unfit", it);
        let refunded = left.get("refunded").and_then(Value::as_i64);
        let amount =
            refunded.ok_or_else(|| unfit("say how much was `refunded`, in minor units"))?;
        let known = captured.as_ref().map(|it| it.amount);
        if amount < 0 || known.is_some_and(|it| it != amount) {
            return Err(unfit("what was captured is what is refunded, all of it"));
        }
        let currency = captured.map_or_else(|| order.currency.clone(), |it| it.currency);
        let done = Done::new(returned(amount, &currency));
        if amount == 0 {
            return Ok(done);
        }
        let receipt = left.get("receipt").and_then(Value::as_str);
        let receipt = receipt.ok_or_else(|| unfit("name the `receipt` of the refund"))?;
        let refund = Effect::Refund(money(receipt, amount, &currency));
        Ok(match known {
            Some(_) => done.with(refund),
            // It was in doubt whether anything had been captured.
            None => done.with(Effect::Capture(money(receipt, amount, &currency))).with(refund),
        })
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

/// What a compensation of a payment leaves in the journal: the end follows from it.
fn returned(amount: i64, currency: &str) -> Value {
    json!({ "refunded": amount, "currency": currency })
}

fn money(receipt: &str, amount: i64, currency: &str) -> Money {
    Money { amount, currency: currency.to_owned(), receipt: receipt.to_owned() }
}

/// Has it made; its compensation calls the ticket off.
pub struct Preparation {
    pub(super) kitchen: Kitchen,
    pub(super) policy: Policy,
}

impl Step for Preparation {
    const NAME: &'static str = "preparation";
    const PARTICIPANT: Option<&'static str> = Some("kitchen");
    type Input = Order;
    type Output = Ticket;
    type Effect = Effect;

    /// What workers pull calls nobody.
    fn calls(&self, order: &Order) -> bool {
        order.items.iter().any(|it| it.queue.is_none())
    }

    fn policy(&self) -> Policy {
        self.policy
    }

    /// What the kitchen makes it is handed, and watched over; what workers pull becomes tasks, and is waited for.
    /// Where an order has both, the kitchen has its ticket before the tasks are made, and is looked after when they
    /// have ended.
    async fn execute(&self, cx: &Cx, order: &Order) -> Result<Done<Ticket, Effect>, StepError> {
        let (key, items) = (ticket_key(cx), ticket_items(order));
        let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("kitchen") };
        let named = |error: StepError| match error {
            StepError::Refused { code, detail } => {
                StepError::refused(format!("preparation_{code}"), detail)
            }
            other => other,
        };
        let tasks = pull::tasks(cx.saga_id, order, self.policy.attempts_max);
        if !tasks.is_empty() {
            if !items.is_empty() && cx.waits_until().is_none() {
                self.kitchen.start(call, &items).await.map_err(named)?;
            }
            if pull::are_begun(cx) {
                cx.reached("PREPARING").await;
            }
            if let Some(wait) = pull::wait(cx, &tasks, self.policy.start_to_close)? {
                return Ok(Done::waiting(wait).with(Effect::Tasks(tasks)));
            }
            if items.is_empty() {
                return Ok(Done::new(Ticket::pulled()));
            }
        }
        self.kitchen.prepare(cx, call, &items).await.map(Done::new).map_err(named)
    }

    /// Withdraws what workers pull, in the commit of this; calls off what the kitchen makes. What had been made of
    /// either is wasted.
    async fn compensate(
        &self,
        cx: &Cx,
        order: &Order,
        _: Option<Ticket>,
    ) -> Result<Done<Value, Effect>, StepError> {
        let is_pulled = order.items.iter().any(|it| it.queue.is_some());
        let mut wasted = is_pulled && pull::any_done(cx);
        if order.items.iter().any(|it| it.queue.is_none()) {
            let key = ticket_key(cx);
            let call = Call { key: &key, order_id: cx.saga_id, rehearse: order.mood("kitchen") };
            wasted |= self.kitchen.call_off(call).await?.prepared;
        }
        let done = Done::new(json!({ "wasted": wasted }));
        Ok(if is_pulled { done.with(Effect::Withdraw) } else { done })
    }
}

/// The kitchen's key carries the ticket's generation: a new ticket would need a new one, and only after the
/// call-off of the last is confirmed. This version of the saga makes one ticket an order.
fn ticket_key(cx: &Cx) -> String {
    format!("{}/1", cx.key())
}

/// What the kitchen is handed.
fn ticket_items(order: &Order) -> Vec<TicketItem> {
    order.items.iter().filter(|it| it.queue.is_none()).map(ticket_item).collect()
}

fn ticket_item(line: &OrderLine) -> TicketItem {
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
    const IS_LOCAL: bool = true;
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
    pub(super) notices: Notices,
    pub(super) policy: Policy,
}

impl Step for Notification {
    const NAME: &'static str = "notification";
    const PARTICIPANT: Option<&'static str> = Some(NOTIFIER);
    type Input = Order;
    type Output = Value;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        self.policy
    }

    fn calls(&self, order: &Order) -> bool {
        calls_notifier(order)
    }

    async fn execute(&self, cx: &Cx, order: &Order) -> Result<Done<Value, Effect>, StepError> {
        let notice = message::notice(cx.saga_id, order, End::COMPLETED);
        let rehearse = order.mood("notification");
        let call = Call { key: &notice.message_id, order_id: cx.saga_id, rehearse };
        self.notices.send(order, call, &notice.body).await?;
        Ok(Done::new(json!({ "message_id": notice.message_id })))
    }
}
