//! Answers as people read them.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::Value;

use super::answers::{History, Order, Page, Step, Why};

/// A text of the server without what could steer a terminal: control characters, and those that
/// turn the direction of writing.
pub(super) fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The answer as the server gave it, in JSON that steers no terminal and means the same.
pub(super) fn json(value: &Value) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    let mut out = io::stdout().lock();
    for c in text.chars() {
        // Those below U+0020 are escaped already.
        if c.is_control() {
            write!(out, "\\u{:04x}", u32::from(c))?;
        } else {
            write!(out, "{c}")?;
        }
    }
    writeln!(out)
}

pub(super) fn order(order: &Order) -> io::Result<()> {
    let mut facts = table(&[]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.add_row([name.to_owned(), clean(&value)]);
        }
    };
    fact("order", order.id.clone());
    fact("customer", order.customer_id.clone());
    fact("status", order.status.clone());
    fact("because", order.closed_reason.clone().unwrap_or_default());
    fact("attention", order.attention.as_ref().map(plain).unwrap_or_default());
    fact("cancellation", order.cancellation.clone().unwrap_or_default());
    fact("pickup code", order.pickup_code.clone().unwrap_or_default());
    fact("total", money(order.total, &order.currency));
    fact("captured", money(order.money.captured, &order.currency));
    fact("refunded", money(order.money.refunded, &order.currency));
    fact("placed", order.created_at.clone());

    let mut items = table(&["item", "quantity", "total"]);
    for line in &order.items {
        let total = money(line.line_total, &order.currency);
        items.add_row([clean(&line.item), line.quantity.to_string(), clean(&total)]);
    }
    let mut steps = table(&["step", "state"]);
    for step in &order.steps {
        steps.add_row([clean(&step.name), state(step)]);
    }
    to_right(&mut items, &[1, 2]);
    writeln!(io::stdout().lock(), "{facts}\n{items}\n{steps}")
}

pub(super) fn why(why: &Why) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", clean(&why.why))
}

pub(super) fn page(page: &Page) -> io::Result<()> {
    let mut rows = table(&["order", "status", "customer", "total", "pickup code", "placed"]);
    for order in &page.orders {
        let parked = if order.attention.as_ref().is_some_and(|a| !a.is_null()) { " !" } else { "" };
        rows.add_row([
            clean(&order.id),
            clean(&order.status) + parked,
            clean(&order.customer_id),
            clean(&money(order.total, &order.currency)),
            clean(order.pickup_code.as_deref().unwrap_or_default()),
            clean(&order.created_at),
        ]);
    }
    to_right(&mut rows, &[3]);
    let mut out = io::stdout().lock();
    writeln!(out, "{rows}")?;
    match &page.next_cursor {
        Some(cursor) => writeln!(out, "more: --cursor {}", clean(cursor)),
        None => Ok(()),
    }
}

pub(super) fn history(history: &History) -> io::Result<()> {
    let mut rows = table(&["seq", "at", "event", "step", "attempt"]);
    for event in &history.events {
        rows.add_row([
            event.seq.to_string(),
            clean(&event.at),
            clean(&event.kind),
            clean(event.step.as_deref().unwrap_or_default()),
            event.attempt.map(|n| n.to_string()).unwrap_or_default(),
        ]);
    }
    to_right(&mut rows, &[0, 4]);
    writeln!(io::stdout().lock(), "{rows}")
}

/// How a step stands, in one line.
pub(super) fn state(step: &Step) -> String {
    let mut text = step.state.clone();
    if step.attempts > 1 {
        text += &format!(", attempt {}", step.attempts);
    }
    let running = matches!(step.state.as_str(), "running" | "waiting");
    let percent = step.progress.as_ref().and_then(|p| p.get("percent")).and_then(Value::as_f64);
    if let (true, Some(percent)) = (running, percent) {
        text += &format!(", {percent:.0} %");
    }
    if let (true, Some(error)) = (step.state != "done", &step.last_error) {
        text += &format!(": {}", plain(error));
    }
    if let Some(compensation) = &step.compensation {
        text += &format!("; compensation {}", compensation.state);
        if compensation.attempts > 1 {
            text += &format!(", attempt {}", compensation.attempts);
        }
    }
    clean(&text)
}

/// An amount of minor units in the currency's own decimals (ISO 4217).
pub(super) fn money(minor: i64, currency: &str) -> String {
    let decimals = match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, rest) = digits.split_at(digits.len() - decimals);
    let sign = if minor < 0 { "-" } else { "" };
    let point = if decimals > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{rest} {currency}")
}

/// A value that is a text as that text, and any other as JSON; nothing for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    if !header.is_empty() {
        table.set_header(header);
    }
    table
}

pub(super) fn to_right(table: &mut Table, columns: &[usize]) {
    for index in columns {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_its_currencys_decimals() {
        assert_eq!(money(750, "EUR"), "7.50 EUR");
        assert_eq!(money(5, "EUR"), "0.05 EUR");
        assert_eq!(money(-5, "EUR"), "-0.05 EUR");
        assert_eq!(money(750, "JPY"), "750 JPY");
        assert_eq!(money(750, "BHD"), "0.750 BHD");
    }

    #[test]
    fn texts_of_the_server_steer_no_terminal() {
        assert_eq!(
            clean("a\x1b[2J\u{9b}b\nc\u{202e}d é☕"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}c\u{fffd}d é☕"
        );
    }

    #[test]
    fn a_step_stands_in_one_line() {
        let step = |json: &str| state(&serde_json::from_str(json).unwrap());
        assert_eq!(step(r#"{"state":"done","attempts":1,"last_error":"x"}"#), "done");
        assert_eq!(
            step(
                r#"{"state":"running","attempts":2,"last_error":"cut","progress":{"percent":40}}"#
            ),
            "running, attempt 2, 40 %: cut"
        );
        assert_eq!(
            step(
                r#"{"state":"done","attempts":1,"compensation":{"state":"running","attempts":3}}"#
            ),
            "done; compensation running, attempt 3"
        );
    }
}
