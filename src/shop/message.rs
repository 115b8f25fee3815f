//! What customers are told: one text for each way an order can end.

use serde_json::json;
use uuid::Uuid;

use super::{books::Notice, order::Order};

/// The notice of an order's end. Its id is the same whenever it is made, so that whoever receives it twice
/// knows the repeat; its body says when the order was placed, not when it is sent, for the same reason.
pub fn notice(order_id: Uuid, order: &Order, status: &'static str, reason: Option<&str>) -> Notice {
    let body = json!({
        "type": format!("order.{}", status.to_lowercase()),
        "timestamp": super::view::placed_at(order_id),
        "data": {
            "order_id": order_id,
            "customer_id": order.customer_id,
            "status": status,
            "reason": reason,
            "text": text(order, status, reason),
            "pickup_code": (status == "COMPLETED").then_some(&order.pickup_code),
            "total": order.total,
            "currency": order.currency,
        },
    });
    let message_id = format!("{order_id}/{}", status.to_lowercase());
    let (channel, body) = (order.channel, body.to_string());
    Notice { message_id, channel, body, given_up_after: None }
}

/// What happened, whether money was returned, and the pickup code where there is one.
pub fn text(order: &Order, status: &str, reason: Option<&str>) -> String {
    let amount = amount(order.total, &order.currency);
    let why = why(reason);
    match status {
        "COMPLETED" => {
            format!("Your order is ready. Pick it up with code {}.", order.pickup_code)
        }
        "REFUNDED" => {
            format!("We could not complete your order: {why}. {amount} have been returned to you.")
        }
        "CANCELLED" => format!("Your order was cancelled: {why}. You were not charged."),
        _ => format!("We could not take your order: {why}. You were not charged."),
    }
}

fn why(reason: Option<&str>) -> &str {
    match reason {
        Some("payment_declined") => "your payment was declined",
        Some("payment_refused") => "your payment was refused",
        Some("payment_unavailable") => "the payment provider did not answer",
        Some("preparation_failed") => "the kitchen could not make it",
        Some("inventory_failed") => "we ran out of an ingredient",
        Some("cancelled_by_customer") => "you asked for it",
        Some("cancelled_by_shop") => "the shop had to",
        Some("timed_out") => "it took too long",
        _ => "something went wrong",
    }
}

/// An amount for people. Minor units are hundredths in the currencies that a coffee shop of this version
/// takes (ISO 4217, exponent 2).
pub(super) fn amount(minor: i64, currency: &str) -> String {
    format!("{}.{:02} {currency}", minor / 100, minor % 100)
}
