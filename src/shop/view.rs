//! An order as it is shown: its facts, and what its saga's journal adds up to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    books::orders::Extra,
    order::{Order, OrderLine},
    saga::{GoAhead, PICKUP_SIGNAL, pickup_at},
};
use crate::saga::{
    Step, Wait,
    event::Paused,
    history::{CompensationView, SagaView, StepStatus, StepView},
};

/// An order on the wire. Fields may be added; these keep name and meaning.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OrderView {
    /// UUIDv7.
    pub id: Uuid,
    /// Who ordered.
    pub customer_id: String,
    /// `PENDING`, `PAID`, `PREPARING`, `READY`, `COMPLETED`, `FAILED`, `CANCELLED` or `REFUNDED`.
    #[schema(example = "PREPARING")]
    pub status: String,
    /// Why it ended without being completed, in a stable code.
    pub closed_reason: Option<String>,
    /// Why a person is needed, if one is.
    pub attention: Option<String>,
    /// `requested` or `done`, if a cancellation was accepted.
    pub cancellation: Option<&'static str>,
    /// Rises with every visible change; it is the ETag.
    pub version: i64,
    /// What the customer says at the counter.
    #[schema(example = "KM47")]
    pub pickup_code: String,
    /// When it was collected.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub collected_at: Option<Timestamp>,
    /// What was ordered.
    pub items: Vec<OrderLine>,
    /// ISO 4217.
    #[schema(example = "EUR")]
    pub currency: String,
    /// Minor units.
    pub total: i64,
    /// When it is to be ready, of a pre-order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pickup_at: Option<Timestamp>,
    /// Until when it is worth having.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ready_by: Option<Timestamp>,
    /// Who paused it, while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedOut>,
    /// What was taken and returned, by our books.
    pub money: MoneyView,
    /// What it can be found by.
    pub attributes: BTreeMap<String, String>,
    /// Whether stand-ins play the participants.
    pub rehearsal: bool,
    /// The saga's steps.
    pub steps: Vec<StepOut>,
    /// What can be asked of it now.
    pub actions: Vec<&'static str>,
    /// When it was placed.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
}

/// Money by our books, in minor units.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct MoneyView {
    /// Taken.
    pub captured: i64,
    /// Returned.
    pub refunded: i64,
}

/// One step of an order's saga.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StepOut {
    /// `payment`, `go_ahead`, `preparation`, `inventory` or `notification`.
    #[schema(example = "payment")]
    pub name: &'static str,
    /// Where it stands.
    #[schema(value_type = String, example = "done")]
    pub state: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// When it became the step at hand.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was settled.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// What it waits for, while it is suspended for a time, a signal or a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitOut>,
    /// How far the running attempt has come, where the replica that runs it is asked.
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Value>,
    /// Its compensation, if one is due or done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CompensationOut>,
}

/// The compensation of a step.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CompensationOut {
    /// `pending`, `running`, `waiting` or `done`.
    #[schema(value_type = String, example = "done")]
    pub state: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
}

/// What a step waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WaitOut {
    /// In words.
    #[schema(example = "for the time to begin")]
    pub what: String,
    /// Until when; null when only a signal ends it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The signals that end it.
    pub signals: Vec<String>,
}

impl WaitOut {
    fn of(wait: Wait, until: Option<Timestamp>) -> Self {
        Self { what: wait.what, until, signals: wait.signals }
    }
}

/// A pause.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PausedOut {
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl PausedOut {
    fn of(paused: Paused) -> Self {
        let at = Timestamp::from_millisecond(paused.at_ms).unwrap_or_default();
        Self { by: paused.by, reason: paused.reason, at }
    }
}

/// When an order was placed: the time in its id (RFC 9562, UUIDv7: milliseconds in the first 48 bits).
pub fn placed_at(order_id: Uuid) -> Timestamp {
    let millis = order_id.as_u128() >> 80;
    i64::try_from(millis)
        .ok()
        .and_then(|it| Timestamp::from_millisecond(it).ok())
        .unwrap_or_default()
}

/// Statuses in the order of an order's life.
pub const GRAPH: [&str; 5] = ["PENDING", "PAID", "PREPARING", "READY", "COMPLETED"];
/// The ends that follow no particular status.
pub const OTHER_ENDS: [&str; 3] = ["FAILED", "CANCELLED", "REFUNDED"];

const STEPS: [&str; 5] = ["payment", "go_ahead", "preparation", "inventory", "notification"];

impl OrderView {
    /// An order at the moment it was accepted. The same for ever, so a repeated request gets the answer
    /// of the first.
    pub fn accepted(order_id: Uuid, order: &Order) -> Self {
        let at = placed_at(order_id);
        let steps = STEPS.iter().enumerate().map(|(index, name)| StepOut {
            name,
            state: if index == 0 { StepStatus::Running } else { StepStatus::Pending },
            attempts: u32::from(index == 0),
            started_at: (index == 0).then_some(at),
            ended_at: None,
            last_error: None,
            next_attempt_at: None,
            waits_for: None,
            progress: None,
            compensation: None,
        });
        Self {
            id: order_id,
            customer_id: order.customer_id.clone(),
            status: "PENDING".to_owned(),
            closed_reason: None,
            attention: None,
            cancellation: None,
            version: 1,
            pickup_code: order.pickup_code.clone(),
            collected_at: None,
            items: order.items.clone(),
            currency: order.currency.clone(),
            total: order.total,
            pickup_at: order.pickup_at,
            ready_by: order.ready_by,
            paused: None,
            money: MoneyView::default(),
            attributes: order.attributes.clone(),
            rehearsal: order.rehearsal,
            steps: steps.collect(),
            actions: vec!["cancel"],
            created_at: at,
            updated_at: at,
            closed_at: None,
        }
    }

    /// An order as it stands.
    pub(super) fn of(
        saga: SagaView,
        order: Order,
        extra: &Extra,
        progress: Option<&Value>,
    ) -> Self {
        let row = &saga.row;
        let collected_at = extra.collected_at.map(|it| it.to_jiff());
        let is_closed = row.closed_status.is_some();
        let cancellation = match (row.cancel_requested, is_closed) {
            (false, _) => None,
            (true, false) => Some("requested"),
            (true, true) => Some("done"),
        };
        let mut actions = Vec::new();
        if !is_closed && !row.past_pivot && !row.cancel_requested {
            actions.push("cancel");
        }
        let waits = saga.steps.iter().find(|it| it.wait.is_some());
        let is_retried = waits.is_none() && saga.paused.is_none();
        if is_retried && (row.attention.is_some() || row.wake_at.is_some()) {
            actions.push("retry");
        }
        if row.attention.is_some() && is_retried {
            actions.push("resolve");
        }
        if !is_closed {
            actions.push(if saga.paused.is_some() { "resume" } else { "pause" });
        }
        if waits.is_some_and(|it| it.name == GoAhead::NAME) {
            actions.push("move");
        }
        if collected_at.is_none() && is_collectable(&row.label) {
            actions.push("collect");
        }
        let moved = saga.signals.iter().filter(|it| it.name == PICKUP_SIGNAL);
        let pickup_at = pickup_at(moved.map(|it| it.data.get()), &order);
        let updated_at = row.updated_at.to_jiff();
        Self {
            id: row.saga_id,
            customer_id: order.customer_id,
            status: row.label.clone(),
            closed_reason: row.closed_reason.clone(),
            attention: row.attention.clone(),
            cancellation,
            version: row.version,
            pickup_code: order.pickup_code,
            collected_at,
            items: order.items,
            currency: order.currency,
            total: order.total,
            pickup_at,
            ready_by: order.ready_by,
            paused: saga.paused.map(PausedOut::of),
            money: MoneyView { captured: extra.captured, refunded: extra.refunded },
            attributes: order.attributes,
            rehearsal: order.rehearsal,
            steps: saga.steps.into_iter().map(|it| step_out(it, progress)).collect(),
            actions,
            created_at: placed_at(row.saga_id),
            updated_at,
            closed_at: saga.closed_at,
        }
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.closed_at.is_some()
    }
}

/// Whether an order with this status stands on the pickup screen until it is collected.
pub fn is_collectable(status: &str) -> bool {
    matches!(status, "READY" | "COMPLETED")
}

fn step_out(step: StepView, progress: Option<&Value>) -> StepOut {
    let is_running = step.status == StepStatus::Running;
    StepOut {
        name: step.name,
        state: step.status,
        attempts: step.attempts,
        started_at: step.started_at,
        ended_at: step.ended_at,
        last_error: step.last_error,
        next_attempt_at: step.next_attempt_at.filter(|_| step.wait.is_none()),
        waits_for: step.wait.map(|it| WaitOut::of(it, step.next_attempt_at)),
        progress: progress.filter(|_| is_running).cloned(),
        compensation: step.compensation.map(|it: CompensationView| CompensationOut {
            state: it.status,
            attempts: it.attempts,
            last_error: it.last_error,
            next_attempt_at: it.next_attempt_at,
        }),
    }
}

/// The smallest id of an order placed at this time, for lists by time.
pub fn id_floor(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_millisecond()).unwrap_or(0) & 0xffff_ffff_ffff;
    Uuid::from_u128(millis << 80)
}
