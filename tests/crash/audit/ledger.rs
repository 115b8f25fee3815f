//! What the participants wrote down themselves, against what our books say.

use std::collections::{HashMap, HashSet};

use crema::rehearsal::{Kind, Line};
use uuid::Uuid;

use super::{Ended, Violation};

/// One order's lines, added up.
#[derive(Default)]
struct Account<'a> {
    captures: Vec<&'a Line>,
    refunds: Vec<&'a Line>,
    voids: Vec<&'a Line>,
    tickets: Vec<&'a Line>,
    prepared: Vec<&'a Line>,
    called_off: Vec<&'a Line>,
}

impl<'a> Account<'a> {
    fn add(&mut self, line: &'a Line) {
        match line.kind {
            Kind::Captured => self.captures.push(line),
            Kind::Refunded => self.refunds.push(line),
            Kind::Voided => self.voids.push(line),
            Kind::Ticket => self.tickets.push(line),
            Kind::Prepared => self.prepared.push(line),
            Kind::CallOff => self.called_off.push(line),
            Kind::Declined | Kind::OutOfIngredients | Kind::Notice => {}
        }
    }
}

fn sum(lines: &[&Line]) -> i64 {
    lines.iter().filter_map(|it| it.amount).sum()
}

pub(super) fn check(orders: &[Ended], ledger: &[Line]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut accounts: HashMap<Uuid, Account<'_>> = HashMap::new();
    for (line, n) in ledger.iter().zip(1..) {
        if line.n != n {
            found.push((line.order_id, format!("the ledger's line {n} says {}", line.n)));
        }
        if let Some(order) = line.order_id {
            accounts.entry(order).or_default().add(line);
        }
    }
    let known: HashSet<Uuid> = orders.iter().map(|it| it.order_id).collect();
    for order in accounts.keys().filter(|it| !known.contains(it)) {
        found.push((Some(*order), "a participant worked for an order that is not there".into()));
    }
    let nothing = Account::default();
    for order in orders {
        let account = accounts.get(&order.order_id).unwrap_or(&nothing);
        let mut say = |text: String| found.push((Some(order.order_id), text));
        money(order, account, &mut say);
        work(order, account, &mut say);
    }
    found
}

fn money(order: &Ended, account: &Account<'_>, say: &mut impl FnMut(String)) {
    let (captured, refunded) = (sum(&account.captures), sum(&account.refunds));
    let status = &order.status;
    if account.captures.len() > 1 || account.refunds.len() > 1 {
        let (c, r) = (account.captures.len(), account.refunds.len());
        say(format!("{c} captures and {r} refunds"));
    }
    let surplus = i64::from(order.mood("payment") == Some("wrong_amount"));
    if captured != 0 && captured != order.total + surplus {
        say(format!("{captured} captured of a total of {}", order.total));
    }
    let held = if status == "COMPLETED" { order.total } else { 0 };
    if captured - refunded != held {
        say(format!("{status}, and {captured} − {refunded} is held"));
    }
    if (captured, refunded) != (order.captured, order.refunded) {
        let books = (order.captured, order.refunded);
        say(format!("our books say {books:?}, the ledger {:?}", (captured, refunded)));
    }
    let after = |a: &[&Line], b: &[&Line]| a.iter().any(|a| b.iter().any(|b| a.n > b.n));
    if after(&account.captures, &account.voids) {
        say("captured after it was voided".to_owned());
    }
    if after(&account.captures, &account.refunds) {
        say("captured after it was refunded".to_owned());
    }
}

fn work(order: &Ended, account: &Account<'_>, say: &mut impl FnMut(String)) {
    let first = account.captures.first().map(|it| it.n);
    let unpaid = |it: &&&Line| first.is_none_or(|paid| it.n < paid);
    let made = account.tickets.iter().chain(&account.prepared);
    if let Some(line) = made.clone().find(unpaid) {
        say(format!("{:?} before it was paid", line.kind));
    }
    if account.tickets.len() > 1 || account.prepared.len() > 1 || account.called_off.len() > 1 {
        say(format!("{} tickets", account.tickets.len()));
    }
    let is_made = !account.prepared.is_empty();
    let is_called_off = !account.called_off.is_empty();
    match order.status.as_str() {
        "COMPLETED" if !is_made => say("completed, and never made".to_owned()),
        "COMPLETED" if is_called_off => say("completed, and called off".to_owned()),
        "COMPLETED" => {}
        _ if !account.tickets.is_empty() && !is_called_off => {
            say(format!("{}, and its ticket stands", order.status));
        }
        _ => {}
    }
}
