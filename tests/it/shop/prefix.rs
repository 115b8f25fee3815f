//! Puts an order back to where it stood after some line of its journal: our books, and the participants' memory.
//! Everything is down meanwhile, as after a crash just then.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::world::house::House;

/// Where an order is put back to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    /// Lines that its journal keeps.
    pub(super) lines: usize,
    /// Lines that the participants' ledger keeps of it.
    pub(super) deeds: usize,
    /// How many of them the journal does not tell of yet.
    pub(super) ahead: usize,
}

/// Every place where an order can have been when its replica died. The participants are where the journal is,
/// or ahead of it by what the attempt at hand did, a deed at a time.
pub(super) fn every_cut(history: &[Value], ledger: &[Value]) -> Vec<Cut> {
    let done_by = |lines: usize| {
        let told: Vec<&str> = history[..lines].iter().flat_map(deeds_behind).copied().collect();
        let is_told = |it: &&Value| told.contains(&it["kind"].as_str().unwrap());
        match lines == history.len() {
            true => ledger.len(),
            false => ledger.iter().filter(is_told).count(),
        }
    };
    let mut cuts = Vec::new();
    for lines in 1..=history.len() {
        // Of the end nothing is ahead: its notice goes out after its commit.
        let ahead = if lines + 1 < history.len() { lines + 1 } else { lines };
        let told = done_by(lines);
        let all = told..=done_by(ahead);
        cuts.extend(all.map(|deeds| Cut { lines, deeds, ahead: deeds - told }));
    }
    cuts
}

/// What participants have done by the time that this line is written.
fn deeds_behind(line: &Value) -> &'static [&'static str] {
    match (line["kind"].as_str().unwrap(), line["step"].as_str()) {
        ("attempt_failed" | "step_given_up" | "step_done", Some("payment")) => &["captured"],
        ("attempt_failed" | "step_reached", Some("preparation")) => &["ticket"],
        ("step_done", Some("preparation")) => &["ticket", "prepared"],
        ("step_done", Some("notification")) => &["notice"],
        // A ticket that is called off before anybody looked is made by then.
        ("compensation_done", Some("preparation")) => &["prepared", "call_off"],
        ("compensation_done", Some("payment")) => &["voided", "refunded"],
        _ => &[],
    }
}

/// Puts the orders back. No replica runs.
pub(super) async fn put_back(house: &House, orders: &[(String, Cut)]) {
    let mut connection = house.connection().await;
    for (id, cut) in orders {
        let (id, lines) = (id.parse().unwrap(), i32::try_from(cut.lines).unwrap());
        put_books_back(&mut connection, id, lines).await;
    }
    let path = house.place.base().join("rehearsal/rehearsal.jsonl");
    let mut left: HashMap<&str, usize> =
        orders.iter().map(|(id, cut)| (id.as_str(), cut.deeds)).collect();
    let mut kept = String::new();
    for text in std::fs::read_to_string(&path).unwrap().lines() {
        let line: Value = serde_json::from_str(text).unwrap();
        let left = line["order_id"].as_str().and_then(|it| left.get_mut(it));
        match left {
            Some(0) => continue,
            Some(left) => *left -= 1,
            None => {}
        }
        kept.push_str(text);
        kept.push('\n');
    }
    std::fs::write(&path, kept).unwrap();
}

/// Undoes, in the order's rows, what committed with the lines that go.
async fn put_books_back(connection: &mut PgConnection, id: Uuid, lines: i32) {
    for sql in [
        "delete from journal where saga_id = $1 and seq > $2",
        "delete from ledger l
          where order_id = $1 and $2 > 0 and not exists (
                select from journal j where j.saga_id = $1 and j.step = 'payment'
                   and (j.kind = 'compensation_done' or l.kind = 'capture' and j.kind = 'step_done'))",
        "with undone as (
             delete from stock_move m
              where order_id = $1 and phase = 2 and $2 > 0 and not exists (
                    select from journal j where j.saga_id = $1
                       and case m.kind when 'release' then j.kind = 'closed'
                                       else j.kind = 'step_done' and j.step = 'inventory' end)
             returning kind, ingredients, quantities)
         update stock s
            set reserved = s.reserved + x.quantity,
                on_hand = s.on_hand + case u.kind when 'deduct' then x.quantity else 0 end
           from undone u, unnest(u.ingredients, u.quantities) as x (ingredient, quantity)
          where s.ingredient = x.ingredient",
        "insert into pickup_code (code, order_id)
         select pickup_code, order_id from orders
          where order_id = $1 and $2 > 0
            and not exists (select from journal where saga_id = $1 and kind = 'closed')
         on conflict do nothing",
        "delete from outbox
          where order_id = $1 and $2 > 0
            and not exists (select from journal where saga_id = $1 and kind = 'closed')",
        "update saga
            set seq = $2, version = $2, wake_at = null, attention = null, closed_status = null,
                closed_reason = null,
                cursor = (select count(*) from journal where saga_id = $1 and kind = 'step_done'),
                past_pivot = exists (select from journal where saga_id = $1
                                        and kind = 'step_done' and step = 'inventory'),
                label = (select case when kind = 'started' then 'PENDING' when step = 'payment' then 'PAID'
                                     when kind = 'step_reached' then data->>'label' else 'READY' end
                           from journal
                          where saga_id = $1 and (kind in ('started', 'step_reached')
                                or kind = 'step_done' and step in ('payment', 'inventory'))
                          order by seq desc limit 1)
          where saga_id = $1
            and not exists (select from journal where saga_id = $1 and kind = 'closed')",
    ] {
        sqlx::query(sql).bind(id).bind(lines).execute(&mut *connection).await.unwrap();
    }
}
