//! Going back in an order's life, and looking ahead: `order diff`, `order replay`, and dry runs.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::Value;

use super::{
    answers::{Diff, DryRun, Replay, Replayed, StockChange},
    client::Client,
    error::CliError,
    show::{self, clean, money, table, to_right},
};

/// Shows what changed between two lines of an order's journal.
pub(super) async fn diff(
    client: &Client,
    id: &str,
    lines: [u32; 2],
    json: bool,
) -> Result<(), CliError> {
    let [from, to] = lines.map(|it| it.to_string());
    let query = [("from", from.as_str()), ("to", to.as_str())];
    let answer = client.get(&["v1", "orders", id, "diff"], &query).await?;
    if json {
        return Ok(show::json(&answer)?);
    }
    let diff: Diff = client.read(&answer)?;
    let mut rows = table(&["operation", "member", "value"]);
    for change in &diff.patch {
        let value = change.value.as_ref().map(Value::to_string).unwrap_or_default();
        rows.add_row([clean(&change.op), clean(&change.path), clean(&value)]);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{rows}")?;
    let (captured, refunded) = (diff.money.captured, diff.money.refunded);
    writeln!(out, "captured {captured:+}, refunded {refunded:+} (minor units)")?;
    Ok(())
}

/// Shows an order's journal as it folds, and whether its end is what is stored.
pub(super) async fn replay(client: &Client, id: &str, json: bool) -> Result<ExitCode, CliError> {
    let answer = client.get(&["v1", "orders", id, "replay"], &[]).await?;
    let replay: Replay = client.read(&answer)?;
    let exit = ExitCode::from(u8::from(!replay.equal));
    if json {
        show::json(&answer)?;
        return Ok(exit);
    }
    let mut out = io::stdout().lock();
    for line in &replay.lines {
        writeln!(out, "{}", folded(line))?;
    }
    if replay.equal {
        writeln!(out, "replay: equal")?;
        return Ok(exit);
    }
    writeln!(out, "replay: not equal")?;
    for it in &replay.differences {
        let [journal, stored] = [&it.journal, &it.stored].map(|it| clean(&it.to_string()));
        let what = clean(&it.what);
        writeln!(out, "  {what}: the journal says {journal}, stored is {stored}")?;
    }
    Ok(exit)
}

/// A line and what it leads to.
fn folded(replayed: &Replayed) -> String {
    let line = &replayed.line;
    let mut text = format!("{:>4} {:<19}", line.seq, line.kind);
    text += &format!(" {:<13}", line.step.as_deref().unwrap_or_default());
    text += &format!(" -> {:<9}", replayed.status);
    let (captured, refunded) = (replayed.money.captured, replayed.money.refunded);
    text += &format!(" captured {captured}, refunded {refunded}");
    if let Some(attention) = &replayed.attention {
        text += &format!(", needs attention: {attention}");
    }
    clean(&text)
}

/// Shows what placing an order would do.
pub(super) fn dry_placing(client: &Client, answer: &Value, json: bool) -> Result<(), CliError> {
    let dry = read(client, answer)?;
    if json {
        return Ok(show::json(answer)?);
    }
    if dry.replayed {
        writeln!(io::stdout().lock(), "dry run: this key has placed an order already")?;
        return Ok(show::order(&dry.order)?);
    }
    let mut steps = table(&["step", "what it does", "then"]);
    for step in &dry.steps {
        let does = step.does.as_deref().unwrap_or_default();
        let then = step.status_done.as_deref().unwrap_or_default();
        steps.add_row([clean(&step.name), clean(does), clean(then)]);
    }
    let total = clean(&money(dry.order.total, &dry.order.currency));
    let mut out = io::stdout().lock();
    writeln!(out, "dry run: it would be accepted, for {total}; nothing was placed")?;
    writeln!(out, "{steps}\n{}", stock("reserved", &dry.stock))?;
    Ok(())
}

/// Shows what cancelling an order would do.
pub(super) fn dry_cancellation(
    client: &Client,
    answer: &Value,
    json: bool,
) -> Result<(), CliError> {
    let dry = read(client, answer)?;
    if json {
        return Ok(show::json(answer)?);
    }
    let mut out = io::stdout().lock();
    let ends_as = clean(&dry.ends_as.join(" or "));
    let because = clean(dry.closed_reason.as_deref().unwrap_or("no reason"));
    writeln!(out, "dry run: it would end as {ends_as} ({because}); nothing was cancelled")?;
    let refund = &dry.refund;
    let amount = clean(&money(refund.amount, &refund.currency));
    match refund.at_most {
        None => writeln!(out, "returned would be what the payment provider captured")?,
        Some(most) if most == refund.amount => writeln!(out, "returned would be {amount}")?,
        Some(most) => {
            let most = clean(&money(most, &refund.currency));
            writeln!(out, "returned would be {amount} to {most}: the payment has no answer yet")?;
        }
    }
    let mut steps = table(&["compensated", "how", "it happened"]);
    for step in &dry.steps {
        let does = step.does.as_deref().unwrap_or("there is nothing to take back");
        let certain = if step.certain { "yes" } else { "maybe" };
        steps.add_row([clean(&step.name), clean(does), certain.to_owned()]);
    }
    writeln!(out, "{steps}\n{}", stock("given back", &dry.stock))?;
    Ok(())
}

fn read(client: &Client, answer: &Value) -> Result<DryRun, CliError> {
    let dry: DryRun = client.read(answer)?;
    if dry.dry_run {
        return Ok(dry);
    }
    Err(client.did_it(answer.get("id").and_then(Value::as_str).unwrap_or_default()))
}

fn stock(what: &str, changes: &[StockChange]) -> comfy_table::Table {
    let mut rows = table(&["ingredient", what, "left"]);
    for it in changes {
        let quantity = format!("{} {}", it.reserved.abs(), it.unit);
        rows.add_row([clean(&it.ingredient), clean(&quantity), it.left.to_string()]);
    }
    to_right(&mut rows, &[1, 2]);
    rows
}
