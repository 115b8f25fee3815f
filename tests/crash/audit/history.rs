//! What the customers were told, against what became of it.

use std::collections::{HashMap, HashSet};

use super::{Ended, Violation};
use crate::customers::{Record, Seen, Told, is_final};

pub(super) fn check(orders: &[Ended], records: &[Record]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut of: HashMap<&str, Vec<&Ended>> = HashMap::new();
    for order in orders {
        of.entry(&order.customer_id).or_default().push(order);
    }
    for record in records {
        let ended = of.remove(record.customer.as_str()).unwrap_or_default();
        for text in one(record, &ended) {
            let order = record.id().or(ended.first().map(|it| it.order_id));
            found.push((order, format!("{}: {text}", record.customer)));
        }
    }
    for (customer, _) in of {
        found.push((None, format!("an order of {customer}, who placed none")));
    }
    found
}

fn one(record: &Record, ended: &[&Ended]) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |text: String| found.push(text);
    let placed: HashSet<_> = record
        .placings
        .iter()
        .filter_map(|it| if let Told::Ok(id) = it { Some(*id) } else { None })
        .collect();
    if placed.len() > 1 || ended.len() > 1 {
        say(format!("answered {placed:?} for one order, and {} are there", ended.len()));
    }
    for id in &placed {
        if !ended.iter().any(|it| it.order_id == *id) {
            say("answered 201, and is not there".to_owned());
        }
    }
    let may_be = record.placings.iter().any(|it| matches!(it, Told::Ok(_) | Told::Info));
    if !may_be && !ended.is_empty() {
        say(format!("was refused {:?}, and is there", record.placings));
    }
    if let Some(refusal) = record.placings.iter().find(|it| matches!(it, Told::Fail(..))) {
        say(format!("nothing here is to be refused: {refusal:?}"));
    }
    if record.missing > 0 {
        say(format!("{} looks found nothing after a 201", record.missing));
    }
    if let [order] = ended {
        if order.total != record.total {
            say(format!("costs {} and was ordered for {}", order.total, record.total));
        }
        cancels(record, order, &mut say);
        reads(record, order, &mut say);
    }
    found
}

fn cancels(record: &Record, order: &Ended, say: &mut impl FnMut(String)) {
    for told in &record.cancels {
        match told {
            Told::Ok(_) if order.status == "COMPLETED" || !order.cancelled => {
                say(format!("cancelled ({told:?}) and {}", order.status));
            }
            Told::Fail(_, Some(at)) if matches!(at.as_str(), "READY" | "COMPLETED") => {
                if order.status != "COMPLETED" {
                    say(format!("too late to cancel at {at}, and {}", order.status));
                }
            }
            Told::Fail(_, Some(at)) if is_final(at) && *at != order.status => {
                say(format!("too late to cancel, being {at}, and {}", order.status));
            }
            Told::Fail(code, _) if code != "too_late" => say(format!("a cancel was told {code}")),
            _ => {}
        }
    }
}

/// A look that began after another had ended shows nothing older, whichever replica answered.
fn reads(record: &Record, order: &Ended, say: &mut impl FnMut(String)) {
    let mut reads: Vec<&Seen> = record.reads.iter().collect();
    reads.sort_by_key(|it| it.begin);
    for (index, later) in reads.iter().enumerate() {
        for earlier in reads[..index].iter().filter(|it| it.end <= later.begin) {
            let (from, to) = (earlier.status.as_str(), later.status.as_str());
            if !may_follow(from, to) || later.version < earlier.version {
                let versions = (earlier.version, later.version);
                say(format!("was {from} and then {to} (versions {versions:?})"));
            }
        }
        if !may_follow(&later.status, &order.status) || later.version > order.version {
            say(format!("was seen {} and ended {}", later.status, order.status));
        }
    }
}

fn may_follow(from: &str, to: &str) -> bool {
    const GRAPH: [&str; 5] = ["PENDING", "PAID", "PREPARING", "READY", "COMPLETED"];
    let place = |it: &str| GRAPH.iter().position(|status| *status == it);
    match (place(from), place(to)) {
        (Some(from), Some(to)) => from <= to,
        // Past the pivot there is only completion; before it, any other end.
        (Some(from), None) => from < 3,
        (None, _) => from == to,
    }
}
