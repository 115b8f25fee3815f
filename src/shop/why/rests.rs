//! What has to happen before an order goes on, by how its step at hand stands.

use jiff::Timestamp;

use super::WaitsFor;
use crate::{saga::history::StepStatus, shop::view::OrderView};

pub(super) fn ends(order: &OrderView) -> WaitsFor {
    match (order.status.as_str(), order.collected_at) {
        ("COMPLETED", None) => WaitsFor::Collection,
        _ => WaitsFor::Nothing,
    }
}

pub(super) fn rests(
    order: &OrderView,
    state: StepStatus,
    next_at: Option<Timestamp>,
) -> (WaitsFor, Option<Timestamp>) {
    match (&order.attention, state) {
        (Some(_), _) => (WaitsFor::Person, next_at),
        (None, StepStatus::Waiting) => (WaitsFor::NextAttempt, next_at),
        (None, _) => (WaitsFor::Answer, None),
    }
}
