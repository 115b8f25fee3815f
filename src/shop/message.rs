//! What customers are told: one text for each way an order can end.

use serde_json::json;
use uuid::Uuid;

use super::{books::Notice, order::Order};

/// How an order ended, as far as its customer cares.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The final status.
    pub status: &'static str,
    /// Why it did not complete, in a stable code.
    pub reason: Option<&'a str>,
    /// What whoever cancelled it gave as the reason.
    pub words: Option<&'a str>,
    /// What went back, in minor units and ISO 4217, if anything did: not always the order's total.
    pub returned: Option<(i64, &'a str)>,
}

impl End<'_> {
    /// The good end.
    pub const COMPLETED: Self =
        Self { status: "COMPLETED", reason: None, words: None, returned: None };
}

/// The notice of an order's end. Its id is the same whenever it is made, so that whoever receives it twice
/// knows the repeat; its body says when the order was placed, not when it is sent, for the same reason.
pub fn notice(order_id: Uuid, order: &Order, end: End<'_>) -> Notice {
    let status = end.status;
    let body = json!({
        "type": format!("order.{}", status.to_lowercase()),
        "timestamp": super::view::placed_at(order_id),
        "data": {
            "order_id": order_id,
            "customer_id": order.customer_id,
            "status": status,
            "reason": end.reason,
            "reason_given": end.words,
            "text": text(order, end),
            "pickup_code": (status == "COMPLETED").then_some(&order.pickup_code),
            "total": order.total,
            "currency": order.currency,
            "returned": end.returned.map(|(amount, currency)| {
                json!({ "amount": amount, "currency": currency })
            }),
        },
    });
    let message_id = format!("{order_id}/{}", status.to_lowercase());
    let (channel, body) = (order.channel, body.to_string());
    Notice { message_id, channel, body, given_up_after: None }
}

/// What happened, whether money was returned, and the pickup code where there is one.
fn text(order: &Order, end: End<'_>) -> String {
    let words = end.words.map(|it| format!(" ({it})")).unwrap_or_default();
    let why = format!("{}{words}", why(end.reason));
    let was_cancelled = end.reason.is_some_and(|it| it.starts_with("cancelled_"));
    let what = match end.status {
        "COMPLETED" => {
            return format!("Your order is ready. Pick it up with code {}.", order.pickup_code);
        }
        _ if was_cancelled => "Your order was cancelled",
        "REFUNDED" => "We could not complete your order",
        _ => "We could not take your order",
    };
    match end.returned {
        Some((minor, currency)) => {
            format!("{what}: {why}. {} have been returned to you.", amount(minor, currency))
        }
        None => format!("{what}: {why}. You were not charged."),
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
        Some("not_approved") => "the shop could not confirm it",
        _ => "something went wrong",
    }
}

/// An amount for people. Minor units are hundredths in the currencies that a coffee shop of this version
/// takes (ISO 4217, exponent 2).
pub(super) fn amount(minor: i64, currency: &str) -> String {
    format!("{}.{:02} {currency}", minor / 100, minor % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_of_its_own() {
        const REASONS: [&str; 9] = [
            "payment_declined",
            "payment_refused",
            "payment_unavailable",
            "preparation_failed",
            "inventory_failed",
            "cancelled_by_customer",
            "cancelled_by_shop",
            "timed_out",
            "not_approved",
        ];
        let words: std::collections::HashSet<&str> =
            REASONS.into_iter().map(|it| why(Some(it))).chain([why(None)]).collect();
        assert_eq!(words.len(), REASONS.len() + 1);
    }

    #[test]
    fn amounts_are_read_as_people_write_them() {
        assert_eq!(amount(451, "EUR"), "4.51 EUR");
        assert_eq!(amount(5, "EUR"), "0.05 EUR");
        assert_eq!(amount(120_000, "CHF"), "1200.00 CHF");
    }
}
