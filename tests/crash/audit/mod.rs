//! What must be true when everything has come to its end, whatever happened on the way.
//!
//! `books` asks the database, `ledger` compares it with what the participants wrote down themselves, and
//! `history` with what the customers were told.

mod books;
mod history;
mod ledger;
mod takeover;

use crema::rehearsal::Line;
use sqlx::PgPool;
use uuid::Uuid;

pub(crate) use self::takeover::Takeover;
use crate::customers::Record;

/// An order as it ended.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Ended {
    pub(crate) order_id: Uuid,
    pub(crate) customer_id: String,
    pub(crate) status: String,
    pub(crate) total: i64,
    pub(crate) attributes: Option<serde_json::Value>,
    pub(crate) cancelled: bool,
    pub(crate) version: i64,
    pub(crate) captured: i64,
    pub(crate) refunded: i64,
}

impl Ended {
    fn mood(&self, of: &str) -> Option<&str> {
        self.attributes.as_ref()?.get(format!("rehearse.{of}"))?.as_str()
    }
}

/// Something that must not be, and the order that it is about.
type Violation = (Option<Uuid>, String);

/// Fails with everything that is wrong, and with the journals of the first orders that it is about.
pub(crate) async fn audit(
    db: &PgPool,
    ledger: &[Line],
    records: &[Record],
    takeovers: &[Takeover],
) {
    books::settle(db).await;
    let orders = books::orders(db).await;
    let mut found = books::check(db).await;
    found.extend(written_too_late(db, takeovers).await);
    found.extend(ledger::check(&orders, ledger));
    found.extend(history::check(&orders, records));
    if found.is_empty() {
        let placed = records.iter().filter(|it| it.id().is_some()).count();
        println!("{} orders, {placed} of them answered 201: {}", orders.len(), tally(&orders));
        return;
    }
    let mut told = format!("{} violations:\n", found.len());
    for (order, text) in found.iter().take(40) {
        let of = order.map(|it| it.to_string()).unwrap_or_default();
        told.push_str(&format!("- {text} {of}\n"));
    }
    for order in found.iter().filter_map(|it| it.0).take(3) {
        told.push_str(&books::journal(db, order).await);
        let lines = ledger.iter().filter(|it| it.order_id == Some(order));
        told.extend(lines.map(|it| format!("  ledger {} {:?} {:?}\n", it.n, it.kind, it.amount)));
    }
    panic!("{told}");
}

fn tally(orders: &[Ended]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for order in orders {
        *counts.entry(order.status.as_str()).or_insert(0) += 1;
    }
    format!("{counts:?}")
}

async fn written_too_late(db: &PgPool, takeovers: &[Takeover]) -> Vec<Violation> {
    let mut found = Vec::new();
    for takeover in takeovers {
        let orders = takeover.written_after(db).await;
        let what = "written by an owner that was one no more";
        found.extend(orders.into_iter().map(|it| (Some(it), what.to_owned())));
    }
    found
}

/// What is known of orders that are still open.
pub(crate) async fn stuck(db: &PgPool, takeovers: &[Takeover]) -> String {
    let late = written_too_late(db, takeovers).await;
    let late: String = late.iter().map(|(order, what)| format!("{what}: {order:?}\n")).collect();
    late + &books::stuck(db).await
}
