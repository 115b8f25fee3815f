//! What a dry run answers.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    saga::{Policy, Step, dry_run::StepOutline, event::Kind},
    shop::{
        saga::{Inventory, Notification, Payment, Preparation},
        view::OrderView,
    },
};

/// What placing an order would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryPlacing {
    /// Always true: nothing was placed.
    pub dry_run: bool,
    /// Whether an earlier request with this key has placed the order already; then it is that one.
    pub replayed: bool,
    /// The order as it would be accepted. Its id is all zeros and its pickup code empty, for nothing has them.
    pub order: OrderView,
    /// Minor units.
    pub total: i64,
    /// The steps that would follow, in order.
    pub steps: Vec<PredictedStep>,
    /// What would be reserved.
    pub stock: Vec<StockChange>,
}

/// What cancelling an order would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryCancellation {
    /// Always true: nothing was cancelled.
    pub dry_run: bool,
    /// The order as the answer would show it.
    pub order: OrderView,
    /// The status it would end with. Several where that hangs on what a participant has not answered yet.
    #[schema(example = json!(["REFUNDED"]))]
    pub ends_as: Vec<String>,
    /// Why it would end so, in a stable code.
    pub closed_reason: Option<String>,
    /// The steps that would be compensated, in the order of that.
    pub steps: Vec<PredictedCompensation>,
    /// What would be returned.
    pub refund: PredictedRefund,
    /// What would be given back.
    pub stock: Vec<StockChange>,
}

/// A step that would follow.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictedStep {
    /// Its name.
    #[schema(example = "payment")]
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// What its compensation does, if it has one.
    pub compensation: Option<&'static str>,
    /// The order's status once it is done, if that changes.
    pub status_done: Option<&'static str>,
    /// Whether nothing goes back any more once it is done.
    pub pivot: bool,
    /// Whether the order goes on without it when it fails.
    pub best_effort: bool,
    /// How long it is tried, and how often.
    pub policy: PolicyView,
}

/// A step that would be compensated.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictedCompensation {
    /// Its name.
    #[schema(example = "payment")]
    pub name: &'static str,
    /// What its compensation does.
    pub does: Option<&'static str>,
    /// Whether the step certainly happened. One that runs, or that nobody has an answer of, is compensated as if it
    /// had.
    pub certain: bool,
    /// How long the compensation is tried; how often has no end.
    pub policy: PolicyView,
}

/// How long a step is tried, and how often.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyView {
    /// Attempts at most.
    pub attempts_max: u32,
    /// Milliseconds for one attempt.
    pub start_to_close_ms: u64,
    /// Milliseconds of silence that end an attempt; null where it need not say anything.
    pub heartbeat_ms: Option<u64>,
    /// Milliseconds before the second attempt.
    pub backoff_ms: u64,
    /// By which that grows from attempt to attempt.
    pub backoff_factor: f64,
    /// Milliseconds between two attempts at most, before jitter.
    pub backoff_max_ms: u64,
}

/// Money that would be returned, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictedRefund {
    /// What is known to be captured, and would be returned.
    pub amount: i64,
    /// What may turn out to be captured, and would then be returned; null where the provider says that it captured
    /// another amount than it was asked for.
    pub at_most: Option<i64>,
    /// ISO 4217.
    pub currency: String,
}

/// What an order would change in the stock.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockChange {
    /// The ingredient.
    pub ingredient: String,
    /// What quantities count.
    pub unit: String,
    /// What would be reserved; negative where it is given back.
    pub reserved: i64,
    /// What others could have after that.
    pub left: i64,
}

impl PredictedStep {
    pub(super) fn of(outline: StepOutline) -> Self {
        Self {
            name: outline.name,
            does: does(outline.name),
            compensation: compensation(outline.name),
            status_done: outline.label_done,
            pivot: outline.kind == Kind::Pivot,
            best_effort: outline.kind == Kind::BestEffort,
            policy: PolicyView::of(outline.policy),
        }
    }
}

impl PredictedCompensation {
    pub(super) fn of((outline, certain): (StepOutline, bool)) -> Self {
        let (name, policy) = (outline.name, PolicyView::of(outline.policy));
        Self { name, does: compensation(name), certain, policy }
    }
}

impl PolicyView {
    fn of(policy: Policy) -> Self {
        let ms = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
        Self {
            attempts_max: policy.attempts_max,
            start_to_close_ms: ms(policy.start_to_close),
            heartbeat_ms: policy.heartbeat.map(ms),
            backoff_ms: ms(policy.backoff),
            backoff_factor: policy.backoff_factor,
            backoff_max_ms: ms(policy.backoff_max),
        }
    }
}

fn does(step: &str) -> &'static str {
    match step {
        Payment::NAME => "captures the total with the payment provider",
        Preparation::NAME => "has the kitchen make it",
        Inventory::NAME => "uses up what was reserved",
        Notification::NAME => "tells the customer that it is ready",
        _ => "is not known to this version",
    }
}

fn compensation(step: &str) -> Option<&'static str> {
    match step {
        Payment::NAME => {
            Some("returns what was captured; a capture without an answer is voided first")
        }
        Preparation::NAME => Some("calls the ticket off; what was made already is waste"),
        _ => None,
    }
}
